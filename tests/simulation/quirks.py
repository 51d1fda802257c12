"""Defines what a world's server and clocks may do beyond what every world draws (source.md, 14, 15), and its endings.

A world ends `exact`, `named` if times are under `unproven`, or `refused`. A quirk names the worst ending that it
excuses; nothing excuses a row that is missing and not named, or is exported twice. Where `exact` is due, a time may
still be named if the server shows fewer rows at once than lie within `span` of it, because nothing can tell them apart,
and if hardly any other rows exist.

A quirk may be drawn if its name begins with one of the words in EXPORTER_WORLDS_DRAW. Quirks are drawn by numbers of
their own, so that a world stays the same whichever others are drawn.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from exporter.contract import DAY, HOUR, MINUTE, SECOND, Instant

Ending: TypeAlias = Literal["exact", "named", "refused"]
ENDINGS: Final[tuple[Ending, ...]] = ("exact", "named", "refused")

#: The words that apply unless the variable is set: those of all quirks that the exporter reads as it must.
DRAWN_BY_DEFAULT: Final = (
    "bounds pages-lowered pages-short pages-empty order-oldest order-shuffled order-changes clock moves"
)
DRAWN: Final = tuple(os.environ.get("EXPORTER_WORLDS_DRAW", DRAWN_BY_DEFAULT).replace(",", " ").split())
#: The likelihood with which a world has one quirk of a family that may be drawn.
_LIKELIHOOD: Final = 1 / 4
_PRECISIONS: Final = ("us", "ms", "s")


@dataclass(frozen=True)
class Quirk:
    """Describes a quirk. `switches` are those of the sandbox; the code that looks for its name does the rest."""

    name: str
    worst: Ending
    switches: Callable[[random.Random], dict[str, Any]] = field(default=lambda _: {})
    span: Instant = 0


def _apart(chance: random.Random, *words: str) -> dict[str, Any]:
    """Draws one of the readings, for all times or for some."""
    word = chance.choice(words)
    named = chance.choice(
        (
            (),
            ("cursor",),
            ("created_before",),
            ("created_after",),
            ("created_before", "cursor"),
            ("created_after", "created_before"),
            ("updated_after", "updated_before"),
        )
    )
    return {"reads": tuple(f"{name}:{word}" for name in named) or (word,)}


def _rounded(unit: str, *roundings: str) -> Callable[[random.Random], dict[str, Any]]:
    return lambda chance: _apart(chance, *(f"{rounding}-{unit}" for rounding in roundings))


def _exclusive(chance: random.Random) -> dict[str, Any]:
    created = chance.choice((("created_before",), ("created_after",), ("created_before", "created_after")))
    return {"excludes": created + chance.choice(((), ("updated_after",), ("updated_after", "updated_before")))}


def _shifted(chance: random.Random) -> dict[str, Any]:
    return _apart(chance, f"{chance.choice((-11, -5, -1, 1, 2, 8)):+d}h")


def _zone(chance: random.Random) -> dict[str, Any]:
    return _apart(chance, "as-Europe/Berlin", "in-Europe/Berlin", "as-America/New_York", "in-America/New_York")


def _changing(**values: tuple[Any, ...]) -> Callable[[random.Random], dict[str, Any]]:
    """Makes the switch of each name change after some requests."""
    return lambda chance: {
        "changes_after": chance.choice((2, 5, 10, 30)) * chance.randint(1, 3),
        "changes": tuple(f"{name}={chance.choice(values_of)}" for name, values_of in values.items()),
    }


def _ahead(*seconds: float, date: str = "steady") -> Callable[[random.Random], dict[str, Any]]:
    return lambda chance: {"date": date, "date_ahead": float(chance.choice(seconds))}


QUIRKS: Final = (
    Quirk("bounds-ms", "exact", _rounded("ms", "cut", "half-up", "up")),
    Quirk("bounds-s", "exact", _rounded("s", "cut", "half-up", "up"), 2 * SECOND),
    Quirk("bounds-minute", "exact", _rounded("minute", "cut", "half-up", "up"), 2 * MINUTE),
    Quirk("bounds-exclusive", "exact", _exclusive),
    Quirk("bounds-shifted", "exact", _shifted),
    Quirk("bounds-zone", "exact", _zone, HOUR),
    Quirk("bounds-day", "exact", _rounded("day", "cut", "half-up", "up"), 2 * DAY),
    Quirk("bounds-by-day", "exact", lambda _: {"reads": ("cut-day",), "compares": "day"}, 2 * DAY),
    Quirk("bounds-served", "exact", lambda _: {"compares": "served"}),
    Quirk("bounds-finer", "exact"),
    # A server whose every page has one row is refused.
    Quirk("pages-lowered", "refused", _changing(page_cap=(1, 2, 3, 5))),
    Quirk("pages-short", "named", lambda chance: {"short_pages": chance.choice((0.1, 0.5))}),
    Quirk("pages-empty", "refused", lambda chance: {"empty_pages": chance.choice((0.03, 0.3))}),
    Quirk("pages-filtered", "refused", lambda _: {"filters": "after-limit"}),
    Quirk("pages-odd", "named", lambda chance: {"odd_elements": chance.choice((0.1, 0.5))}),
    Quirk("order-oldest", "refused", lambda _: {"order": "oldest"}),
    Quirk("order-shuffled", "refused", lambda _: {"order": "shuffled"}),
    Quirk("order-none", "refused", lambda _: {"order": "unordered"}),
    Quirk("order-changes", "refused", _changing(order=("oldest", "shuffled", "unordered"))),
    Quirk("clock-absent", "exact", lambda _: {"date": "absent"}),
    Quirk("clock-malformed", "exact", lambda _: {"date": "malformed"}),
    Quirk("clock-frozen", "refused", lambda _: {"date": "frozen"}),
    Quirk("clock-seconds", "exact", _ahead(-59, -3, 2, 45)),
    Quirk("clock-minutes", "exact", _ahead(-1500, -130, 100, 900)),
    Quirk("clock-hours", "refused", _ahead(-86_400, -10_800, 3_700, 10_800, 86_400)),
    Quirk("clock-first", "refused", _ahead(-10_800, 900, 10_800, date="first")),
    Quirk("clock-jumps", "refused", _ahead(-10_800, 30, 900, 10_800, date="jumping")),
    Quirk("clock-machine", "refused"),
    Quirk("moves-created", "exact"),
    Quirk("moves-future", "exact"),
    Quirk("moves-still", "exact"),
    Quirk("moves-back", "exact"),
    Quirk("moves-return", "exact"),
    Quirk("precision-during", "named", _changing(precision=_PRECISIONS, rounding=("cut", "half-even", "half-up"))),
    Quirk("precision-between", "named"),
)


class Quirks:
    """Holds the quirks of the world `seed`. Nothing else draws from `chance`."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"{seed} quirks")
        self.drawn: list[Quirk] = []
        self.switches: dict[str, Any] = {}
        families: dict[str, list[Quirk]] = {}
        for quirk in QUIRKS:
            if quirk.name.startswith(DRAWN):
                families.setdefault(quirk.name.partition("-")[0], []).append(quirk)
        for name, family in families.items():
            chance = random.Random(f"{seed} {name}")
            if chance.random() < _LIKELIHOOD:
                quirk = chance.choice(family)
                self.drawn.append(quirk)
                switches = quirk.switches(chance)
                changes = (*self.switches.get("changes", ()), *switches.get("changes", ()))
                self.switches |= switches | ({"changes": changes} if changes else {})
        self.worst: Ending = max((quirk.worst for quirk in self.drawn), key=ENDINGS.index, default="exact")
        self.span = sum(quirk.span for quirk in self.drawn)
        self.machine_ahead = self.chance.choice((-10_800, -900, 30, 900, 10_800)) * SECOND * ("clock-machine" in self)

    def __contains__(self, name: str) -> bool:
        """Returns whether the name of one of the quirks begins with `name`."""
        return any(quirk.name.startswith(name) for quirk in self.drawn)

    def switches_of_a_run(self) -> dict[str, Any]:
        """Returns the switches of the server in one run."""
        if "precision-between" in self:
            return self.switches | {"precision": self.chance.choice(_PRECISIONS)}
        return self.switches
