"""Reports what became of recordings: lines for people, figures for programs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exporter.cli.advice import advise
from exporter.cli.times import for_people, for_programs
from exporter.layout import MEDIA
from exporter.options.recordings import RETRIED_BY_DEFAULT
from exporter.store.location import Location
from exporter.words import count_of, format_seconds, format_size

if TYPE_CHECKING:
    from exporter.jobs.recordings_result import RecordingsResult

_SHOWN_REASONS: Final = 3
#: Options that choose which recordings a run tries.
_STATUSES: Final = ("retry",)
_BOUNDS: Final = ("since", "until", "recording_filters")


def describe_recordings(done: "RecordingsResult", destination: Location) -> Iterator[str]:
    """Says how many recordings are kept, what this run has added, and what became of the others."""
    lacks = done.exit_status or done.left or done.expired or done.failed or done.refused
    yield f"{'! ' if lacks else '✔ '}kept  {kept_of(done.stored, done.recorded)}"
    new = f"{done.new_stored:,} new of {format_size(done.new_bytes)}"
    cost = f"{new} · {count_of(done.requests, 'request')} · {format_seconds(done.seconds)}"
    yield f"  this run  {cost if done.requests else 'nothing to do: nothing was left'}"
    yield f"  at        {destination / MEDIA} ({_files_of(done)})"
    yield from describe_others(done)
    yield from surprises_of(done)
    if done.exit_status == 1:
        yield "  This tries those again that failed, expired or are left:"
        yield f"    {advise('recordings', destination, without=_too_narrow(done))}"


def describe_others(done: "RecordingsResult") -> Iterator[str]:
    """Says how many recordings are not kept, and why."""
    others = [
        (done.left or 0, "left", ""),
        (done.gone, "gone from the source", "gone"),
        (done.expired, "whose link has expired", "expired"),
        (done.failed, "failed", "failed"),
        (done.refused, "refused", "refused"),
        (done.waiting, "waited for", ""),
    ]
    said = [f"{number:,} {what}{_reasons(done, status, number)}" for number, what, status in others if number]
    if said:
        has_rows = any(number for number, _, status in others if status)
        yield f"  others    {' · '.join(said)}{'; the table recordings says why' if has_rows else ''}"
    if done.oldest_left is not None:
        dies = (
            "" if done.oldest_dies_at is None else f"; the source deletes it at {for_people(done.oldest_dies_at)} UTC"
        )
        yield f"  oldest    none that is left is older than {for_people(done.oldest_left)} UTC{dies}"


def describe_beside(done: "RecordingsResult | None") -> Iterator[str]:
    """Says in a summary of conversations how many recordings are kept, and what became of the others."""
    if done is None:
        return
    new = f", {done.new_stored:,} new" if done.new_stored else ""
    yield f"  audio     {kept_of(done.stored, done.recorded)} kept{new} ({_files_of(done)})"
    yield from describe_others(done)
    yield from surprises_of(done)


def _files_of(done: "RecordingsResult") -> str:
    encrypted = {None: "", "encrypted": ", encrypted", "plain": ", not encrypted, as all else is"}[done.audio]
    return f"{count_of(done.files, 'file')}, {format_size(done.bytes)}{encrypted}"


def surprises_of(done: "RecordingsResult | None") -> Iterator[str]:
    """Says what nobody may miss: recordings that are lost or refused, and a host that does not answer."""
    if done is None:
        return
    if done.error:
        yield f"  recordings ended early: {done.error}"
    if done.lost:
        yield f"  older than the source keeps them, and lost: {count_of(done.lost, 'recording')}"
    if done.new_refused:
        yield f"  refused for good, with the reason in the table: {count_of(done.new_refused, 'recording')};"
        yield "    with another limit, host or network, --retry refused tries them again."
    if done.gave_up:
        yield f"  gave up: {done.gave_up}"
    if done.again:
        yield f"  failed, expired or left, and worth another run: {count_of(done.again, 'recording')}"


def recordings_figures(done: "RecordingsResult") -> dict[str, Any]:
    """Returns what became of recordings, for programs; `with` is the number that is known to exist."""
    figures = msgspec.to_builtins(done)
    return {
        "with": figures.pop("recorded"),
        **figures,
        "oldest_left": for_programs(done.oldest_left),
        "oldest_dies_at": for_programs(done.oldest_dies_at),
    }


def _reasons(done: "RecordingsResult", status: str, number: int) -> str:
    """Says why this run has not stored those of `number` recordings that it has tried."""
    reasons = done.new_reasons.get(status, {})
    if [*reasons.values()] == [number]:
        return f" ({', '.join(reasons)})"
    shown = [f"{reason}: {count:,}" for reason, count in reasons.items()]
    shown[_SHOWN_REASONS:] = ["…"] if shown[_SHOWN_REASONS:] else []
    if not shown:
        return ""
    return f" ({'' if sum(reasons.values()) == number else 'in this run '}{', '.join(shown)})"


def _too_narrow(done: "RecordingsResult") -> tuple[str, ...]:
    """Names the options that may keep the next run from what failed or expired."""
    tried = sum(sum(done.new_reasons.get(status, {}).values()) for status in RETRIED_BY_DEFAULT)
    return _STATUSES if tried == done.failed + done.expired else (*_STATUSES, *_BOUNDS)


def kept_of(stored: int, recorded: int | None) -> str:
    """Returns how many recordings are stored of those that are known to exist, if anybody knows."""
    return count_of(stored, "recording") if recorded is None else f"{stored:,} of {count_of(recorded, 'recording')}"
