"""Sums conversations up by the values of a column, the most frequent ones apart and the rest together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from exporter.report.histogram import THOUSANDTH, Histogram, merged, quantile, scaled
from exporter.report.model import NAME_CHARACTERS, Count, Group

#: The most groups of a column that are told apart.
MOST_GROUPS: Final = 50
#: The code of the rows of all other groups.
REST: Final = -1

T = TypeVar("T")
#: The rows of each bucket, by the code of a group.
Histograms: TypeAlias = Mapping[int, Histogram]


@dataclass(frozen=True)
class Ranked:
    """Holds the names of a column from the most rows to the fewest, at most `MOST_GROUPS`, and the rows of each.

    In queries, a name is its place here, and `REST` stands for `rest_names` others with `rest` rows. `agents` are those
    that the names belong to, where they are versions.
    """

    names: tuple[str | None, ...]
    rows: tuple[int, ...]
    rest: int = 0
    rest_names: int = 0
    agents: tuple[str | None, ...] = ()

    @classmethod
    def of(cls, counted: Iterable[tuple[str | None, int, str | None]], most: int = MOST_GROUPS) -> "Ranked":
        """Ranks names, each with its rows and its agent."""
        found = sorted(counted, key=lambda one: (-one[1], one[0] is None, one[0] or ""))
        some, others = found[:most], found[most:]
        return cls(
            names=tuple(name for name, _, _ in some),
            rows=tuple(rows for _, rows, _ in some),
            rest=sum(rows for _, rows, _ in others),
            rest_names=len(others),
            agents=tuple(agent if name is not None else None for name, _, agent in some),
        )

    @property
    def total(self) -> int:
        return sum(self.rows) + self.rest

    @property
    def codes(self) -> list[int]:
        """Returns the codes of all groups that have rows."""
        return [*range(len(self.names)), *([REST] if self.rest_names else [])]

    def name_of(self, code: int) -> str | None:
        return None if code == REST else cut(self.names[code])

    def counts(self) -> tuple[Count, ...]:
        """Returns the rows of each name."""
        return tuple(
            Count(name=self.name_of(code), count=rows, share=share_of(rows, self.total), is_rest=code == REST)
            for code, rows in zip(self.codes, (*self.rows, self.rest), strict=False)
        )


@dataclass
class Spoken:
    """Counts what agents said in a group: `messages`, those `interrupted`, and end-to-end latencies in milliseconds."""

    messages: int = 0
    interrupted: int = 0
    latency: dict[int, int] = field(default_factory=dict)

    def add(self, interrupted: bool | None, milliseconds: int | None, number: int) -> None:
        """Takes a number of messages that are alike."""
        self.messages += number
        self.interrupted += number if interrupted else 0
        if milliseconds is not None:
            self.latency[milliseconds] = self.latency.get(milliseconds, 0) + number

    @property
    def is_spoken(self) -> bool:
        """Returns whether anything says that there was a voice, which alone can be interrupted."""
        return bool(self.latency or self.interrupted)

    @property
    def rate(self) -> float | None:
        """Returns the share of messages that were interrupted."""
        return share_of(self.interrupted, self.messages) if self.messages else None


def make_groups(
    ranked: Ranked,
    durations: Histograms | None,
    user_turns: Histograms | None,
    spoken: Mapping[int, Spoken] | None,
    *,
    with_agents: bool = False,
) -> tuple[Group, ...]:
    """Returns the groups of a column. What is None is not in the export."""
    found = []
    for code, rows in zip(ranked.codes, (*ranked.rows, ranked.rest), strict=False):
        duration, turns = (None if one is None else one.get(code, {}) for one in (durations, user_turns))
        said = None if spoken is None else spoken.get(code, Spoken())
        found.append(
            Group(
                name=ranked.name_of(code),
                agent_id=cut(ranked.agents[code]) if with_agents and code != REST else None,
                conversations=rows,
                share=share_of(rows, ranked.total),
                duration_p50=_quantile(duration, 0.5),
                duration_p95=_quantile(duration, 0.95),
                user_turns_p50=_quantile(turns, 0.5),
                user_turns_p95=_quantile(turns, 0.95),
                latency_count=None if said is None else sum(said.latency.values()),
                latency_p50=None if said is None else _quantile(said.latency, 0.5, THOUSANDTH),
                latency_p95=None if said is None else _quantile(said.latency, 0.95, THOUSANDTH),
                interruption_rate=said.rate if said is not None and said.is_spoken else None,
                is_rest=code == REST,
            )
        )
    return tuple(found)


def all_of(histograms: Histograms) -> Histogram:
    """Returns the values of all groups."""
    return merged(histograms.values())


def share_of(part: int, whole: int) -> float:
    """Returns a share, from 0 to 1."""
    return round(part / whole, 6) if whole else 0.0


def cut(name: str | None) -> str | None:
    """Returns a name of the API at a length that a page can show."""
    return name if name is None or len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"


def evenly(values: Sequence[T], most: int) -> list[T]:
    """Returns at most this many of `values`, evenly chosen, with the first and the last."""
    if len(values) <= most:
        return [*values]
    return [values[place * (len(values) - 1) // (most - 1)] for place in range(most)]


def _quantile(histogram: Histogram | None, share: float, unit: float = 1) -> float | None:
    return None if histogram is None else scaled(quantile(histogram, share), unit)
