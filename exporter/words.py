"""Puts figures, counts and advice into words."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import Final, TypeVar

T = TypeVar("T")

_SHOWN_SPANS: Final = 3
#: With this many digits more, every byte of a terabyte can be seen.
_MOST_DIGITS: Final = 11
#: Fewer letters begin too many names.
_LEAST_BEGINNING: Final = 3
#: Characters that move a terminal, or that turn the direction of a line around; not the end of a line, nor a tab.
_OBEYED: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def format_seconds(seconds: float) -> str:
    """Returns a duration such as `12 s`, `3 min 05 s` or `2 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, seconds_left = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {seconds_left:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_size(size_bytes: float, more_digits: int = 0) -> str:
    """Returns a size such as `512 bytes`, `1.5 kB` or `20.1 MB`, in powers of ten; with more digits, if wanted."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} bytes"
    digits = 1 + more_digits
    for unit in ("kB", "MB", "GB"):
        size_bytes /= 1000
        if round(size_bytes, digits) < 1000:
            return f"{size_bytes:.{digits}f} {unit}"
    return f"{size_bytes / 1000:,.{digits}f} TB"


def told_apart(write: Callable[[T, int], str], *values: T) -> list[str]:
    """Returns values in words, with as few digits as tell those apart that differ.

    `write` puts one into words, with this many digits more than usual. A sentence that compares two values must not
    show the same text for both.
    """
    for more_digits in range(_MOST_DIGITS + 1):
        texts = [write(value, more_digits) for value in values]
        if len({*texts}) == len({*values}):
            break
    return texts


def count_of(number: int, noun: str) -> str:
    """Returns a count such as `1 row` or `2,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def percent_of(share: float) -> str:
    """Returns a share, from 0 to 1, in percent: rounded down, so that only a whole is `100 %`."""
    return f"{int(100 * share)} %"


def any_of(names: Sequence[str]) -> str:
    """Returns names as a choice: `day, hour or month`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def key_value(key: str, value: object) -> str:
    """Returns `key=value`; a value that could break the line or the terminal is quoted and escaped."""
    text = str(round(value, 3) if isinstance(value, float) else value)
    harmless = text and text.isprintable() and not set(text) & set(' "=')
    return f"{key}={text if harmless else json.dumps(text)}"


def harmless(text: str) -> str:
    """Returns a text with the numbers of characters that a terminal would obey in their place; its lines stay."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def nearest(name: str, known: Iterable[str], letters_per_edit: int = 3) -> str | None:
    """Returns the known name that `name` is most likely a slip of, if there is one; case and separators do not matter.

    A slip is a letter that is wrong, missing, too many, or swapped with its neighbour. There may be one, or one for
    each `letters_per_edit` letters of the shorter of the two names.
    """
    folded = {_fold(each): each for each in known}
    typed, slips = _fold(name), dict[str, int]()
    for each in folded:
        most = max(1, min(len(typed), len(each)) // letters_per_edit)
        if abs(len(typed) - len(each)) <= most and (edits := _edits(typed, each)) <= most:
            slips[each] = edits
    # People rarely miss the first letter.
    return folded[min(slips, key=lambda each: (slips[each], each[:1] != typed[:1]))] if slips else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean X?`, to follow a sentence that refuses `name`, or nothing."""
    known = tuple(known)
    found = nearest(name, known) or _begun(name, known)
    return "" if found is None else f" Did you mean {found}?"


def _begun(name: str, known: Iterable[str]) -> str | None:
    """Returns the shortest known name that begins with `name`, unless this is too short to mean one."""
    typed = _fold(name)
    begun = [each for each in known if _fold(each).startswith(typed)]
    return min(begun, key=len) if begun and len(typed) >= _LEAST_BEGINNING else None


def _fold(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _edits(one: str, other: str) -> int:
    """Returns how many slips lead from one text to the other (the optimal string alignment)."""
    before, above, row = [0], [0], list(range(len(other) + 1))
    for i, letter in enumerate(one):
        before, above, row = above, row, [i + 1]
        for j, there in enumerate(other):
            fewest = min(above[j] + (letter != there), above[j + 1] + 1, row[j] + 1)
            if i and j and letter == other[j - 1] and there == one[i - 1]:
                fewest = min(fewest, before[j - 1] + 1)
            row.append(fewest)
    return row[-1]


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
