"""Reports what an erasure has taken away, or would take away."""

import msgspec

from exporter.layout import RECORDINGS, TURNS
from exporter.log.erasures import ErasedCounts
from exporter.log.state import State, StateName
from exporter.model import QuarantineFile
from exporter.pipeline.erasure_rewrite import Rewritten
from exporter.pipeline.erasure_scan import Findings


class EraseResult(msgspec.Struct, frozen=True, kw_only=True):
    """Reports an erasure: what was `erased`, or would be with `dry_run`, and its `certificate`, None if nothing held
    the values.

    `finished` are the certificates that this run has proven, also those of erasures that were cut short. `left` says
    what still holds something, or cannot be read. `mentions` are the ids of other conversations whose text has a value;
    None if nobody asked. `state` is that of the export.
    """

    state: StateName
    generation: int
    erased: ErasedCounts
    certificate: str | None
    finished: tuple[str, ...]
    left: tuple[str, ...]
    mentions: tuple[str, ...] | None
    reference: str | None
    dry_run: bool = False

    @property
    def exit_status(self) -> int:
        return 3 if self.left else 0


def erased_counts(
    state: State, found: Findings, done: Rewritten | None = None, table_versions: int = 0
) -> ErasedCounts:
    """Counts what was found. Without `done`, nothing was rewritten: the files that would be are counted."""
    rows = {table: _rows(found, f"{table}/") for table in (TURNS, RECORDINGS)}
    lines = sum(look.rows for path, look in found.live.items() if isinstance(state.live.get(path), QuarantineFile))
    parts = sum(path in state.files for path in found.live)
    return ErasedCounts(
        conversations=len(found.ids),
        turns=rows[TURNS],
        recordings=rows[RECORDINGS],
        media_files=len(found.media),
        quarantine_lines=lines,
        parts_rewritten=parts if done is None else done.rewritten,
        parts_deleted=0 if done is None else done.deleted,
        kept_files=len(found.kept),
        generations=sum(not one.paths.isdisjoint(found.kept) for one in state.replaced),
        table_versions=table_versions,
        dropped_files=len(found.dropped),
    )


def _rows(found: Findings, prefix: str) -> int:
    return sum(look.rows for path, look in found.live.items() if path.startswith(prefix))
