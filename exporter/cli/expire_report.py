"""Reports what has expired: lines for people, figures for programs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exporter.cli.times import for_people, for_programs
from exporter.model import CONVERSATIONS, RECORDINGS
from exporter.store.location import Location, shell_word
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.expire import ExpireResult
    from exporter.jobs.status import Status

_DAY_SECONDS: Final = 86_400


def describe_expired(done: "ExpireResult", destination: Location, dry_run: bool) -> Iterator[str]:
    """Says what has gone, or would, and what is kept for how long."""
    counts = [
        count_of(number, what)
        for number, what in (
            (done.conversations, "conversation"),
            (done.recordings, "recording"),
            (done.quarantined, "row in quarantine"),
        )
        if number
    ]
    counts += [f"`{name}` of {count_of(rows, 'conversation')}" for name, rows in done.values.items()]
    if counts:
        yield f"{'would delete' if dry_run else 'deleted'} {', '.join(counts)}"
        yield f"  files     {done.deleted:,} deleted, {done.rewritten:,} rewritten"
    elif done.unkept:
        yield f"{'would delete' if dry_run else 'deleted'} {count_of(done.unkept, 'replaced file')}"
    else:
        yield "nothing has expired"
    if not done.retention:
        yield f"  keeps     everything; to set an age: exporter expire {shell_word(destination)} 90d"
    yield from describe_kept(done)


def describe_kept(found: "ExpireResult | Status") -> Iterator[str]:
    """Says for how long what is kept, and before which times it is gone."""
    if found.retention:
        ages = (f"{_called(name)} for {_age(seconds)}" for name, seconds in found.retention.items())
        yield f"  keeps     {', '.join(ages)}"
    if found.expired_before:
        floors = (f"{_called(name)} before {for_people(floor)}" for name, floor in found.expired_before.items())
        yield f"  expired   {', '.join(floors)} UTC"


def floor_figures(found: "ExpireResult | Status") -> dict[str, Any]:
    """Returns the instants before which what is gone, for programs: as the manifest has them."""
    return {"expired_before": {name: for_programs(floor) for name, floor in found.expired_before.items()}}


def expired_figures(done: "ExpireResult") -> dict[str, Any]:
    """Returns what has expired for programs, with times as in the manifest."""
    return {**msgspec.to_builtins(done), **floor_figures(done)}


def _called(name: str) -> str:
    return name if name in (CONVERSATIONS, RECORDINGS) else f"`{name}`"


def _age(seconds: int) -> str:
    days, rest = divmod(seconds, _DAY_SECONDS)
    years, left = divmod(days, 365)
    if not rest and days and not left:
        return count_of(years, "year")
    return count_of(days, "day") if not rest else count_of(seconds // 3600, "hour")
