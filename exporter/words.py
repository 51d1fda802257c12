"""Puts figures, counts and advice into words."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Final

_SHOWN_SPANS: Final = 3


def format_seconds(seconds: float) -> str:
    """Returns a duration such as `12 s`, `3 min 05 s` or `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, seconds_left = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {seconds_left:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_size(size_bytes: float) -> str:
    """Returns a size such as `512 bytes`, `1.5 kB` or `20.1 MB`, in powers of ten."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size_bytes /= 1000
        if size_bytes < 999.95:
            return f"{size_bytes:.1f} {unit}"
    return f"{size_bytes / 1000:,.1f} TB"


def count_of(number: int, noun: str) -> str:
    """Returns a count such as `1 row` or `2,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def any_of(names: Sequence[str]) -> str:
    """Returns names as a choice: `day, hour or month`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def nearest(name: str, known: Iterable[str], likeness: float = 0.7) -> str | None:
    """Returns the known name that `name` is most likely a slip of, if there is one; case, `-` and `_` do not matter.

    `likeness` is how much alike the two must be, from 0 to 1; at 0.85, they differ by a letter or two.
    """
    folded = {_fold(each): each for each in known}
    meant = _fold(name)
    found = get_close_matches(meant, folded, n=1, cutoff=likeness)
    # In a short word, two letters that are swapped leave little that is alike.
    found += [each for each in folded if len(each) == len(meant) > 2 and _are_swapped(meant, each)]
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean X?`, to follow a sentence that refuses `name`, or nothing."""
    found = nearest(name, known)
    return "" if found is None else f" Did you mean {found}?"


def _are_swapped(one: str, other: str) -> bool:
    """Returns whether two texts of one length differ by two neighbouring letters alone."""
    first, *more = [at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b] or [0]
    return more == [first + 1] and (one[first], one[more[0]]) == (other[more[0]], other[first])


def _fold(name: str) -> str:
    return name.strip().casefold().replace("-", "_")


def install_command(*packages: str) -> str:
    """Returns the command that adds packages to the environment in use, however the exporter was installed in it."""
    python = sys.executable
    # An environment that uv made has no pip.
    installer = [python, "-m", "pip", "install"] if find_spec("pip") else ["uv", "pip", "install", "--python", python]
    return shlex.join([*installer, *packages])


def describe_times(number: int, spans: Sequence[float | None], rows: int) -> str:
    """Returns unproven times in words, such as `2 intervals (41 min 00 s and 1 h 01 min, 675 rows read)`.

    `spans` are the seconds of those that are more than one instant; None is open below. `rows` were read there.
    """
    instants = number - len(spans)
    names = [count_of(instants, "timestamp")] if instants or not spans else []
    names += [count_of(len(spans), "interval")] if spans else []
    details = [_describe_spans(spans)] if spans else []
    details += [f"{count_of(rows, 'row')} read"] if rows else []
    return " and ".join(names) + (f" ({', '.join(details)})" if details else "")


def describe_span(seconds: float | None) -> str:
    """Returns how long an interval is."""
    if seconds is None:
        return "open below"
    if seconds < 1:
        return "less than 1 s"
    days = round(seconds / 86400)
    return count_of(days, "day") if days > 1 else format_seconds(seconds)


def _describe_spans(spans: Sequence[float | None]) -> str:
    if len(spans) <= _SHOWN_SPANS:
        *others, last = [describe_span(one) for one in spans]
        return f"{', '.join(others)} and {last}" if others else last
    longest = None if None in spans else max(one for one in spans if one is not None)
    return f"the longest {describe_span(longest)}"
