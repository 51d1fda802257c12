"""Knows the time zones by their IANA names, from the system's database, or otherwise from the package `tzdata`."""

from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from exporter.errors import UsageError
from exporter.words import nearest

UTC_NAME: Final = "UTC"
#: Other names of UTC, in lower case: they change nothing.
_SAME_AS_UTC: Final = frozenset({"utc", "uct", "zulu", "universal", "etc/utc", "etc/uct", "etc/zulu", "etc/universal"})
#: Names that stand for no place; the first differs from machine to machine.
_NO_ZONES: Final = frozenset({"localtime", "Factory"})


@lru_cache
def load_zone(name: str) -> ZoneInfo:
    """Returns the zone with this name. Raises `UsageError` if this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise UsageError(f"the time zone {name} is not known to this machine. Install a newer tzdata") from error


def check_zone(name: str, option: str) -> str:
    """Returns the name of a time zone as its database spells it. Raises `UsageError`, naming `option`."""
    folded = name.strip().replace(" ", "_").casefold()
    if folded in _SAME_AS_UTC:
        return UTC_NAME
    known = {each.casefold(): each for each in sorted(known_zones())}
    if folded in known:
        return known[folded]
    cities = {each.rpartition("/")[2]: each for each in known.values()}
    near = nearest(folded, known.values()) or cities.get(nearest(folded, cities) or "")
    advice = "Write its IANA name, such as Europe/Berlin" if near is None else f"Did you mean {near}?"
    raise UsageError(f"{option} {name!r}: no such time zone. {advice}")


@lru_cache
def known_zones() -> frozenset[str]:
    """Returns the names of all time zones."""
    return frozenset(available_timezones() - _NO_ZONES)
