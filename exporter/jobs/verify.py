"""`exporter verify`: whether what lies at a destination is what its log says. Asks the API nothing.

Without a repair it takes no lock, and changes nothing. A repair takes out of the export what cannot be trusted, by a
commit, in the order that `store.commits` prescribes; the next export reads it again.
"""

import msgspec

from exporter.contract import Instant
from exporter.errors import DamagedLogError
from exporter.jobs.holding import holding
from exporter.jobs.inspect import Findings, inspect, load_findings
from exporter.jobs.recording import Run, recorded
from exporter.jobs.sample import Sample
from exporter.jobs.tables import write_tables
from exporter.model import Change, Interval, QuarantineFile
from exporter.store.base import Store
from exporter.store.check import LASTING, Problem
from exporter.store.commits import check_not_overtaken, find_garbage
from exporter.store.location import Location
from exporter.store.manifest import write_manifest
from exporter.store.opening import open_store
from exporter.store.quarantine import write_lines
from exporter.store.repair import keep_lines, plan_loss, quarantine_origins
from exporter.store.state import State, StateName, state_name


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification has found. `state`: of the export when it ended; None when its log is damaged.

    `rows`, `files` and `bytes` are those of the log, the others count what was looked into. `writer`: the run that
    was at work meanwhile, so that manifest, marks and left-over files were not judged. `uncovered`: what a repair has
    taken out of the coverage, and `dropped` how many files with it.
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
    uncovered: tuple[Interval, ...] = ()
    dropped: int = 0

    @property
    def sound(self) -> bool:
        """Nothing is wrong, or a repair has mended all of it."""
        return all(problem.mended for problem in self.problems)

    @property
    def exit_status(self) -> int:
        return 0 if self.sound and self.state == "complete" else 3


async def verify(destination: Location, *, now: Instant, share: float = 1.0, repair: bool = False) -> Verified:
    """Looks at names, sizes and the log of all files, and into about `share` (above 0, up to 1) of the parts.

    Raises `DestinationError` where there is no export, `DestinationLockedError` when a repair finds another run at
    work, and `StoreError` when the destination cannot be read, or a repair not be written.
    """
    sample = Sample.of(share, now)
    async with open_store(destination) as store:
        try:
            await load_findings(store)  # before there is a lock, which would be made where no export is
            if not repair:
                return _verified(await inspect(store, sample, alone=False))
            return await recorded(store, "verify", lambda run: _repair(store, run, sample, now))
        except DamagedLogError as error:
            what = str(error).removeprefix(f"{error.path}: ")
            return Verified(state=None, problems=(Problem(error.path, "log", what),))


async def _repair(store: Store, run: Run, sample: Sample, now: Instant) -> Verified:
    async with holding(store, run) as held:
        findings = await inspect(store, sample, alone=True)
        # Where commits are missing, what no commit names may be all that is left of them.
        if not findings.problems or any(problem.what == "log" for problem in findings.problems):
            return _verified(findings)
        change = await _plan(store, findings, held.run)
        # Also where no file is dropped: a run that the lock does not reach commits no more what is swept here.
        state = await held.log.append(committed_at=now, kind="repair", change=change)
        garbage = await find_garbage(store, state)
        await check_not_overtaken(store, state)
        await write_manifest(store, state, schemas=findings.schemas, removed=garbage)
        if not any(problem.what == "table" for problem in findings.problems):
            await write_tables(store, state)
        return _mended(findings, state, change)


async def _plan(store: Store, findings: Findings, run: str) -> Change:
    """What to commit; the quarantine files that it adds are there already."""
    state = findings.state
    spoiled = {problem.file for problem in findings.problems if problem.spoils_rows}
    loss = plan_loss(state, findings.commits, spoiled)
    removes, kept = [*loss.files, *loss.quarantine], list[QuarantineFile]()
    origins = quarantine_origins(findings.commits)
    for path in sorted(set(state.quarantine) - set(loss.quarantine)):
        data = await store.read(path) if origins[path] & loss.lost else None
        rest = None if data is None else keep_lines(data, loss.lost)
        if rest is None or rest == data:
            continue
        removes.append(path)
        if rest:
            name = f"{run}-{len(kept) + 1:06d}"
            kept.append(await write_lines(store, name, [rest], state.quarantine[path].window))
    return Change(uncovers=loss.lost.intervals, removes=tuple(removes), quarantines=tuple(kept))


def _verified(findings: Findings) -> Verified:
    state = findings.state
    return Verified(
        state=state_name(state),
        generation=state.number,
        rows=sum(file.rows for file in state.conversations),
        files=len(state.files),
        bytes=sum(file.size_bytes for file in state.files.values()),
        quarantine_files=len(state.quarantine),
        files_read=findings.parts_read,
        bytes_read=findings.bytes_read,
        ids_compared=findings.ids_compared,
        writer=findings.writer,
        problems=tuple(sorted(findings.problems, key=lambda problem: (problem.file, problem.what))),
    )


def _mended(findings: Findings, after: State, change: Change) -> Verified:
    before, findings.state = findings.state, after
    findings.problems = [
        msgspec.structs.replace(problem, mended=problem.what not in LASTING) for problem in findings.problems
    ]
    return msgspec.structs.replace(
        _verified(findings), uncovered=change.uncovers, dropped=sum(path in before.files for path in change.removes)
    )
