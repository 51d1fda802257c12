"""Reports how rows are protected: lines for people. Never a value."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from exporter.layout import DROPPED
from exporter.store.location import Location, shell_word
from exporter.words import count_of, format_seconds

if TYPE_CHECKING:
    from exporter.jobs.protect import ProtectResult
    from exporter.jobs.protection_result import Encrypted, Protection
    from exporter.verification.unfinished import Rewriting

#: A fingerprint is told from others by so many of its digits.
_DIGITS = 8


def describe_protection(found: "Protection | None", destination: Location) -> Iterator[str]:
    """Says by which policy rows are protected, what its rules have done in this run, and which have found nothing."""
    if found is None:
        return
    key = "" if found.key is None else f" with the key {found.key}"
    rules = count_of(len(found.rules) + len(found.turns), "rule")
    yield f"  protected by the policy {found.fingerprint[:_DIGITS]} ({rules}){key}{_changed(found.changed)}"
    if found.odd:
        yield f"    dropped, because their rule cannot read them: {_counted(found.odd)}"
    if found.unmatched:
        yield f"    rules that found no value in this run, maybe for a slip in their path: {', '.join(found.unmatched)}"
    if found.pending_files:
        yield f"    not yet protected so: {count_of(found.pending_files, 'file')}, because a run was cut short."
        yield f"      This goes on with it: {rewriting('protect', destination)}"


def describe_encryption(found: "Encrypted | None", destination: Location) -> Iterator[str]:
    """Says with which key files are encrypted, whether audio is, and what a run that was cut short has left."""
    if found is None:
        return
    plain = f", except {', '.join(found.plain_columns)}" if found.plain_columns else ""
    audio = "" if found.recordings == "encrypted" else "; audio is not: it is kept as it was served"
    yield f"  encrypted with the key {found.key} ({found.mode}{plain}){audio}"
    if found.pending_files:
        yield f"    not yet encrypted so: {count_of(found.pending_files, 'file')}, because a run was cut short."
        yield f"      This goes on with it: {rewriting('rekey', destination, found.key)}"


def rewriting(command: "Rewriting", destination: Location, key: str = "") -> str:
    """Returns the command line that goes on with a protection, or with encryption with this key."""
    to = f" --to {key} --new-key-file FILE" if command == "rekey" else ""
    return f"exporter {command} {shell_word(destination)}{to}"


def describe_protected(done: "ProtectResult") -> Iterator[str]:
    """Says what was written again under a policy, what was deleted, and what remains."""
    found = done.protection
    name = f"the policy {found.fingerprint[:_DIGITS]}"
    if done.files:
        yield f"{count_of(done.files, 'file')} written again under {name}{_changed(found.changed)}"
        yield f"  took {format_seconds(done.seconds)}"
    else:
        yield f"nothing to write: all files follow {name}, {count_of(done.all_files, 'file')}"
    if found.odd:
        yield f"  dropped, because their rule cannot read them: {_counted(found.odd)}"
    if found.unmatched:
        yield f"  rules that found no value, maybe for a slip in their path: {', '.join(found.unmatched)}"
    if done.withheld_rows:
        yield f"  withheld: {count_of(done.withheld_rows, 'row')} in quarantine, of which a keyed hash is left"
    if done.forgotten:
        yield f"  deleted {count_of(done.forgotten, 'replaced file')} of earlier generations"
    if done.remaining:
        yield f"  still as they were served: {count_of(len(done.remaining), 'file')} in {DROPPED} that repairs have put"
        yield "    aside, and that may hold what is nowhere else. Read their times again, then exporter vacuum"


def _changed(changed: Mapping[str, int]) -> str:
    return f": {count_of(sum(changed.values()), 'value')} changed" if changed else ""


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{path} {count:,}" for path, count in counts.items())
