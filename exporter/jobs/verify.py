"""`exporter verify` checks that a destination holds what its log says. It asks the API nothing.

Without a repair it takes no lock, and changes nothing; the journal alone says that there was one. A repair takes out of
the export what cannot be trusted, by a commit, in the order that `log.publish` prescribes, and moves it aside; the next
export reads it again. While anything cannot be read, nothing is repaired, because the reader may then be what is wrong.
"""

import time
from collections.abc import Callable, Sequence

import msgspec

from exporter.contract import Instant
from exporter.coverage import Period
from exporter.encode.tables import Tables
from exporter.errors import DamagedLogError, DamagedPartError
from exporter.jobs.doubts import Accepted, accepted_of
from exporter.jobs.recording_repair import repair_recordings, sweep_media
from exporter.jobs.verify_plan import find_loss, plan_repair, recording_loss, repair_change
from exporter.keys import NO_KEYS, Keys
from exporter.lake.follow import write_tables
from exporter.layout import DROPPED
from exporter.log.publish import sweep
from exporter.log.state import State, StateName, state_name
from exporter.model import Change
from exporter.parts.cipher import using
from exporter.run.claim import holding
from exporter.run.encryption import find_cipher, find_cipher_if_here
from exporter.run.record import Run, note_checked, recorded
from exporter.settings import Request, RunSettings
from exporter.store.base import Store
from exporter.store.location import Location
from exporter.store.open import open_store
from exporter.verification.inspect import inspect, load_findings
from exporter.verification.inspection import Inspection
from exporter.verification.problems import LASTING, Problem
from exporter.verification.sample import Sample
from exporter.verification.unfinished import Rewriting


class VerifyResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports what a verification has found. `state` is that of the export in the end, or None if its log is damaged.

    `rows`, `files` and `bytes` are those of the log; `files_read`, `bytes_read` and `ids_compared` count what was
    looked into. `writer` is the run that was at work meanwhile, if any; then manifest, marks and left-over files were
    not judged. `drops` are the files that a repair has taken out of the export, or would take out, and `dropped_to` is
    the directory that it has moved them to. `uncovered` is what a repair has taken out of the coverage, with `dropped`
    data files. `new_doubts` counts what is in doubt and not named by `acceptances`. `unsettled` says that
    a run was cut short before it knew that each row is in one place, which the next run checks.

    `recordings` counts the rows of that table, and `media_files` and `media_bytes` what they name; `media_read` and
    `media_bytes_read` count the media whose bytes were read. `strays` are rows of recordings whose conversation is in
    no part, which is no problem. `dropped_recordings` are rows that a repair has taken out. `closed` counts the
    encrypted files whose content was not looked at, because there is no key for them; `bytes_only` says that none was
    to be. `unfinished_erasures` counts those of which something may still lie somewhere. `unfinished` is a command that
    was cut short: not all files are as the policy, or the encryption with `key`, wants them.
    `tables` are the Delta or Iceberg tables that were compared with the log.
    """

    state: StateName | None
    generation: int = 0
    rows: int = 0
    files: int = 0
    bytes: int = 0
    quarantine_files: int = 0
    files_read: int = 0
    bytes_read: int = 0
    ids_compared: int = 0
    writer: str | None = None
    problems: tuple[Problem, ...] = ()
    uncovered: tuple[Period, ...] = ()
    dropped: int = 0
    drops: tuple[str, ...] = ()
    dropped_to: str | None = None
    new_doubts: int = 0
    unsettled: bool = False
    acceptances: tuple[Accepted, ...] = ()
    recordings: int = 0
    media_files: int = 0
    media_bytes: int = 0
    media_read: int = 0
    media_bytes_read: int = 0
    strays: int = 0
    dropped_recordings: int = 0
    closed: int = 0
    bytes_only: bool = False
    unfinished_erasures: int = 0
    unfinished: Rewriting | None = None
    key: str = ""
    tables: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Returns whether nothing is wrong, or a repair has mended it. What a killed run has left is not wrong."""
        return all(problem.mended or not problem.is_damage for problem in self.problems)

    @property
    def was_killed(self) -> bool:
        """Returns whether the last run was killed, and the next one has something to put in order."""
        return any(not problem.is_damage and not problem.mended for problem in self.problems)

    @property
    def unreadable(self) -> int:
        """Returns the number of files that cannot be read here and now."""
        return sum(problem.what == "unreadable" for problem in self.problems)

    @property
    def exit_status(self) -> int:
        if self.unreadable and not any(problem.spoils_rows or problem.what == "log" for problem in self.problems):
            return 1
        if not self.sound:
            return DamagedPartError.exit_status
        is_unfinished = self.state == "incomplete" or self.unsettled or self.unfinished_erasures or self.unfinished
        return 1 if is_unfinished else 3 if self.new_doubts or self.closed else 0


#: A function that takes the files that a repair is about to drop, and the directory that it will move them to.
Announce = Callable[[Sequence[str], str], None]


async def verify(
    destination: Location,
    *,
    now: Instant,
    share: float = 1.0,
    media: bool = False,
    repair: bool = False,
    bytes_only: bool = False,
    keys: Keys = NO_KEYS,
    announce: Announce = lambda _drops, _directory: None,
) -> VerifyResult:
    """Looks at names, sizes and the log of all files, and into about `share` (above 0, up to 1) of the parts.

    `media` also reads the recordings that these parts name. Encrypted parts are only compared with their sums if `keys`
    has no key for them; with `bytes_only`, this is so of all parts.

    `announce` is called before a repair drops any file. Raises `DestinationError` if there is no export,
    `ProtectionError` for a wrong key, and for a repair without the key,
    `DestinationLockedError` if a repair finds another run at work, `OvertakenError` if another run has gone on with the
    export meanwhile, and `StoreError` if the destination cannot be read or a repair cannot be written.
    """
    sample = Sample.of(share, now)
    async with open_store(destination) as store:
        try:
            known = await load_findings(store)  # before the lock, which would be made even if there is no export
            if repair:
                found = await recorded(
                    store, "verify", lambda run: _repair(store, run, sample, now, announce, media, keys)
                )
            else:
                with using(None if bytes_only else find_cipher_if_here(keys)(known.state)):
                    findings = await inspect(store, sample, alone=False, reads_media=media, decodes=not bytes_only)
                loss = find_loss(findings) if _is_for_repair(findings) else None
                drops = (*loss.files, *loss.quarantine, *recording_loss(findings).drops) if loss else ()
                found = msgspec.structs.replace(_verified(findings, drops), bytes_only=bytes_only)
        except DamagedLogError as error:
            what = str(error).removeprefix(f"{error.path}: ")
            found = VerifyResult(state=None, problems=(Problem(error.path, "log", what),))
        is_whole = share >= 1 and not (found.bytes_only or found.closed)
        await note_checked(store, "verify", found, found.generation or None, is_whole=is_whole)
        return found


async def _repair(
    store: Store, run: Run, sample: Sample, now: Instant, announce: Announce, reads_media: bool, keys: Keys
) -> VerifyResult:
    async with holding(store, run, find_cipher(keys, store.location)) as held:
        findings = await inspect(store, sample, alone=True, reads_media=reads_media)
        if not _is_for_repair(findings):
            return _verified(findings)
        plan = await plan_repair(store, findings)
        directory = f"{DROPPED}/{held.run}"
        if plan.drops:
            announce(plan.drops, directory)
        tables = Tables.of(findings.state.request or Request())
        stage = held.stage(tables, RunSettings(), time.monotonic)
        change = await repair_change(stage, findings, plan, held.run)
        # Even if no file is dropped: a run that the lock does not reach can then no longer commit what is swept here.
        await held.log.append(committed_at=now, kind="repair", change=change)
        rows = await repair_recordings(held, stage, plan.recordings, now)
        state = held.log.state
        await sweep(store, state, schemas=findings.schemas)
        await sweep_media(store, state, held.run, findings.state, plan.recordings.parts)
        if not any(problem.what == "table" for problem in findings.problems):
            await write_tables(store, state)
        mended = _mended(findings, state, plan.drops, change, directory)
        return msgspec.structs.replace(mended, dropped_recordings=rows)


def _is_for_repair(findings: Inspection) -> bool:
    """Returns whether a repair may act: if commits are missing, files that no commit names may be all that is left, and
    it goes by the checkpoint itself."""
    in_the_way = ("log", "checkpoint", "unreadable")
    return bool(findings.problems) and not any(problem.what in in_the_way for problem in findings.problems)


def _verified(findings: Inspection, drops: tuple[str, ...] = ()) -> VerifyResult:
    state = findings.state
    return VerifyResult(
        state=state_name(state),
        generation=state.number,
        rows=state.totals.rows,
        files=state.totals.files,
        bytes=state.totals.bytes,
        quarantine_files=len(state.quarantine),
        files_read=findings.parts_read,
        bytes_read=findings.bytes_read,
        ids_compared=findings.ids_compared,
        writer=findings.writer,
        problems=tuple(sorted(findings.problems, key=lambda problem: (problem.file, problem.what))),
        drops=drops,
        new_doubts=len(state.new_doubts),
        unsettled=bool(state.unsettled),
        acceptances=accepted_of(state.acceptances),
        recordings=sum(file.rows for file in state.recordings),
        media_files=sum(file.media_files for file in state.recordings),
        media_bytes=sum(file.media_bytes for file in state.recordings),
        media_read=findings.media_read,
        media_bytes_read=findings.media_bytes_read,
        strays=findings.strays,
        closed=len(findings.closed),
        unfinished_erasures=len(state.privacy.unfinished),
        unfinished=findings.unfinished,
        key=state.privacy.key_name,
        tables=tuple(findings.tables),
    )


def _mended(findings: Inspection, after: State, drops: tuple[str, ...], change: Change, directory: str) -> VerifyResult:
    before, findings.state = findings.state, after
    findings.problems = [
        msgspec.structs.replace(problem, mended=problem.what not in LASTING) for problem in findings.problems
    ]
    return msgspec.structs.replace(
        _verified(findings, drops),
        uncovered=tuple(interval.period for interval in change.uncovers),
        dropped=sum(path in before.files for path in drops),
        dropped_to=directory if drops else None,
    )
