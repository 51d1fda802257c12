"""Plans what a repair takes out of an export, and writes what the commit that does so adds."""

from dataclasses import dataclass

from exporter.errors import DamagedPartError
from exporter.jobs.recording_repair import RecordingLoss, is_repeated
from exporter.model import Change, ChangesFile
from exporter.pipeline.changes import gathering
from exporter.pipeline.part_stage import PartStage
from exporter.pipeline.quarantine_files import read_lines, write_lines
from exporter.store.base import Store
from exporter.verification.inspection import Inspection
from exporter.verification.loss import Loss, keep_lines, plan_loss, quarantine_origins


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """Says what a repair will do. `rest` are the lines that stay of sound quarantine files with lost rows, by path."""

    loss: Loss
    rest: dict[str, list[bytes]]
    recordings: RecordingLoss

    @property
    def covering(self) -> tuple[str, ...]:
        """Returns the files that go with what they cover."""
        return (*self.loss.files, *self.loss.quarantine, *self.rest)

    @property
    def drops(self) -> tuple[str, ...]:
        return (*self.covering, *self.recordings.drops)


def find_loss(findings: Inspection) -> Loss:
    """Returns the least that must go so that all rows that are spoiled are read again."""
    spoiled = {
        problem.file
        for problem in findings.problems
        if problem.spoils_rows and not is_repeated(findings.state, problem.file, problem.what)
    }
    return plan_loss(findings.state, findings.commits, spoiled)


def recording_loss(findings: Inspection) -> RecordingLoss:
    """Returns what goes of recordings."""
    return RecordingLoss.of(findings, find_loss(findings).recordings)


async def plan_repair(store: Store, findings: Inspection) -> RepairPlan:
    """Returns what a repair will drop. Changes nothing."""
    state, loss, rest = findings.state, find_loss(findings), dict[str, list[bytes]]()
    origins = quarantine_origins(findings.commits)
    for path in sorted(set(state.quarantine) - set(loss.quarantine)):
        if not origins[path] & loss.lost:
            continue
        lines = await read_lines(store, state.quarantine[path])
        kept = keep_lines(lines, loss.lost)
        if kept != lines:
            rest[path] = kept
    return RepairPlan(loss, rest, RecordingLoss.of(findings, loss.recordings))


async def repair_change(stage: PartStage, findings: Inspection, plan: RepairPlan, run: str) -> Change:
    """Returns what to commit, after it has written the files that this adds."""
    state, store = findings.state, stage.store
    kept = [
        await write_lines(store, f"{run}-{number:06d}", lines, state.quarantine[path].window, rest_of=path)
        for number, (path, lines) in enumerate(plan.rest.items(), start=1)
        if lines
    ]
    return Change(
        uncovers=plan.loss.lost.intervals,
        removes=plan.covering,
        quarantines=tuple(kept),
        changed=await _tell(stage, findings, plan),
        outdates=tuple({problem.file for problem in findings.problems if problem.what == "changes"}),
    )


async def _tell(stage: PartStage, findings: Inspection, plan: RepairPlan) -> tuple[ChangesFile, ...]:
    """Publishes which conversations go with the files that are dropped; nothing if nobody can tell that of all."""
    files = [file for file in findings.state.conversations if file.path in plan.loss.files]
    spoiled = {problem.file for problem in findings.problems if problem.what != "duplicate"}
    if any(file.path in spoiled for file in files):
        return ()
    async with gathering(stage) as changes:
        try:
            await changes.files_gone(files, checked=True)
        except DamagedPartError:
            return ()
        return await changes.publish()
