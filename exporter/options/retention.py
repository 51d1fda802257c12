"""Defines `--expire`: what is kept for how long."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from exporter.contract import ALWAYS_FIELDS, FIELD_NAMES
from exporter.errors import UsageError
from exporter.model import CONVERSATIONS, RECORDINGS
from exporter.options.option import Group, Option
from exporter.options.times import to_seconds
from exporter.privacy import Retention
from exporter.store.location import quoted
from exporter.words import did_you_mean

_OPTION: Final = "--expire"
#: Lifts what is stored.
NEVER: Final = "never"
#: What may expire.
EXPIRABLE: Final = (CONVERSATIONS, RECORDINGS, *(name for name in FIELD_NAMES if name not in ALWAYS_FIELDS))
_YEARS: Final = re.compile(r"(\d{1,4})\s*y(?:ears?|rs?)?(?![A-Za-z])\s*", re.ASCII)
_YEAR_SECONDS: Final = 365 * 86_400
#: Nothing expires sooner: a number without a unit was meant to be one of days.
_LEAST_SECONDS: Final = 3600
_MOST_SECONDS: Final = 1000 * _YEAR_SECONDS

_of_privacy = partial(Option, group=Group.PRIVACY)
_Ages: TypeAlias = Sequence[str] | str | Mapping[str, int | str] | None


@dataclass(frozen=True, kw_only=True)
class RetentionOptions:
    """Says what is kept for how long."""

    expire: _Ages = _of_privacy(
        "Delete conversations once they are older than this, in this run and all later ones; or what is named: "
        "conversations=3y,recordings=30d or, by field, conversation=90d; never ends that; repeatable.",
        "AGE",
        otherwise="as before; at first never",
        values=(NEVER, *(f"{name}=" for name in EXPIRABLE)),
        repeats=True,
    ).field(None)


def to_ages(given: _Ages) -> Retention | None:
    """Returns for how many seconds what is kept, by name: 0 for ever. None is as before, and nothing all for ever.
    Raises `UsageError`.

    `given` are texts as on the command line, or ages by what expires.
    """
    if given is None:
        return None
    pairs = list(given.items()) if isinstance(given, Mapping) else [_pair(text) for text in _items(given)]
    ages: dict[str, int] = {}
    for name, age in pairs:
        if name == NEVER:
            if len(pairs) > 1:
                raise UsageError(f"{_OPTION} {NEVER}: lifts all ages; to lift one, write {CONVERSATIONS}={NEVER}")
            return {}
        if name not in EXPIRABLE:
            what = "always kept" if name in ALWAYS_FIELDS else "no table or field that can expire"
            raise UsageError(f"{_OPTION} {quoted(name)}: {what}.{did_you_mean(name, EXPIRABLE)}".rstrip("."))
        seconds = 0 if age == NEVER else _seconds(name, age)
        if name in ages:
            raise UsageError(f"{_OPTION} {name}: given twice")
        ages[name] = seconds
    if not ages:
        raise UsageError(f"{_OPTION}: names nothing; give an age such as 90d, or {NEVER}")
    return ages


def _items(given: Sequence[str] | str) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    return [item.strip() for text in texts for item in text.split(",")]


def _pair(item: str) -> tuple[str, str]:
    name, equals, age = item.partition("=")
    return (name.strip(), age.strip()) if equals else (NEVER, "") if item == NEVER else (CONVERSATIONS, item)


def _seconds(name: str, age: int | str) -> int:
    shown = f"{_OPTION} {quoted(str(age) if name == CONVERSATIONS else f'{name}={age}')}"
    years, rest = 0, age
    if isinstance(age, str) and (match := _YEARS.match(age.strip())):
        years, rest = int(match[1]), age.strip()[match.end() :]
    try:
        seconds = years * _YEAR_SECONDS + (to_seconds(rest, _OPTION) if rest != "" or not years else 0)
    except UsageError as error:
        near = did_you_mean(str(age), (NEVER,))
        raise UsageError(f"{shown}: must be an age such as 90d, 12w or 3y.{near}".rstrip(".")) from error
    if seconds < _LEAST_SECONDS:
        raise UsageError(f"{shown}: shorter than an hour; write days, such as 90d")
    if seconds > _MOST_SECONDS:
        raise UsageError(f"{shown}: longer than 1000 years; give {NEVER}, or leave it out")
    return seconds
