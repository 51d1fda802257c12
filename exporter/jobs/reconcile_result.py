"""Says how the platform's own totals and an export compare."""

from collections.abc import Iterable
from datetime import date, datetime

import msgspec

from exporter.jobs.reconcile_days import ComparedDay, Comparison, Pair
from exporter.jobs.reconcile_reading import Minutes
from exporter.jobs.reconcile_tally import Moment
from exporter.log.state import StateName


class CountedAs(msgspec.Struct, frozen=True, kw_only=True):
    """Says what the platform's totals were found to mean; None: what is stored does not tell.

    A day is one of the time `zone`, and that on which a conversation was created or ended. `token_created` and `email`
    say whether conversations of this status, and on this channel, count. `minutes` say whether each duration is rounded
    up to a minute.
    """

    zone: str | None
    moment: Moment | None
    token_created: bool | None
    email: bool | None
    minutes: Minutes | None

    @classmethod
    def of(cls, found: Comparison) -> "CountedAs":
        choices = msgspec.structs.asdict(found.reading) | {"minutes": found.minutes}
        return cls(**{name: None if name in found.undecided else value for name, value in choices.items()})


class ReconcileResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports what `exporter reconcile` has found from `start` to `end`. `state` is that of the export.

    `limits` say what cannot be compared, and why. If it is not `comparable`, the export has only what its filters
    leave: that it has no more than the platform counts is all that can be said.
    """

    state: StateName
    generation: int
    start: datetime | None
    end: datetime
    counted_as: CountedAs
    days: tuple[ComparedDay, ...]
    limits: tuple[str, ...]
    comparable: bool = True
    requests: int
    seconds: float

    @property
    def totals(self) -> dict[str, Pair]:
        """Returns each figure of all days that the platform lists."""
        listed = [day.figures for day in self.days if any(pair.there is not None for pair in day.figures.values())]
        names = dict.fromkeys(name for figures in listed for name in figures)
        return {name: _sum(figures[name] for figures in listed if name in figures) for name in names}

    @property
    def unexplained(self) -> tuple[date, ...]:
        """Returns the days that differ, and no fact of the export says why."""
        return tuple(day.day for day in self.days if not day.is_explained)

    @property
    def explained(self) -> bool:
        """Returns whether all that the platform counts is here, or missing for a known reason."""
        return self.comparable and not self.unexplained

    @property
    def agrees(self) -> bool:
        """Returns whether no day differs, not even for a known reason."""
        return self.comparable and not any(day.differing for day in self.days)

    @property
    def exit_status(self) -> int:
        return 3 if self.unexplained else 0


def _sum(pairs: Iterable[Pair]) -> Pair:
    pairs = list(pairs)
    told = [pair.there for pair in pairs if pair.there is not None]
    return Pair(round(sum(told), 2) if told else None, round(sum(pair.here for pair in pairs), 2))
