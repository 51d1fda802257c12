"""Compares checkpoints of the log with what its commits fold to.

Runs pass over one that is damaged or fits no commit. One that fits its commit and holds another state has misled them.
"""

from collections.abc import Sequence

from exporter.layout import checkpoint_path
from exporter.log.checkpoint import FORMAT, decode_checkpoint, format_of
from exporter.log.commits import StoredCommit, list_checkpoints
from exporter.log.head import Head
from exporter.store.base import Store
from exporter.verification.problems import Problem

_ADVICE = "Delete it: a run writes another one. Then verify again"


async def read_checkpoints(store: Store) -> dict[int, bytes]:
    """Returns the checkpoints in `store`, by the number of their commits. Raises `StoreError`."""
    numbers = await list_checkpoints(store)
    found = await store.read_all([checkpoint_path(number) for number in numbers])
    return {number: data for number, data in zip(numbers, found, strict=True) if data is not None}


def inspect_checkpoints(checkpoints: dict[int, bytes], commits: Sequence[StoredCommit]) -> list[Problem]:
    """Returns what is wrong with checkpoints that were read before `commits`, all of a log that folds. One of another
    format is another exporter's to judge."""
    problems, head = list[Problem](), Head()
    for number, data in sorted(checkpoints.items()):
        if format_of(data) not in (FORMAT, None):
            continue
        found = decode_checkpoint(data, number)
        rest = commits[head.number : number]
        head = head.after([one.commit for one in rest], [one.data for one in rest])
        if found is None:
            what = "a damaged checkpoint of the log, which runs pass over"
        elif head.number < number:
            what = f"a checkpoint of {number:,} commits, and the log has {head.number:,}"
        elif (found.commit_sha256, found.commits_sha256) != (head.commit_sha256, head.commits_sha256):
            what = "a checkpoint of other commits than the log has"
        elif found.state != head.state:
            what = "not what the commits up to it fold to, and runs have believed it"
        else:
            continue
        problems.append(Problem(checkpoint_path(number), "checkpoint", f"{what}. {_ADVICE}"))
    return problems
