"""Looks at the certificates of erasures: whether each is the one that the log names, and the chain is whole."""

from collections.abc import Collection

from exporter.log.erasures import named_digests, objections_to
from exporter.log.state import Commit, State
from exporter.store.base import Store
from exporter.verification.problems import Problem


async def inspect_erasures(store: Store, state: State, commits: Collection[Commit]) -> list[Problem]:
    """Returns what is wrong with them. Raises `StoreError` if they cannot be read."""
    erasures = state.privacy.erasures
    if not erasures:
        return []
    paths = [erasure.certificate for erasure in erasures]
    texts = dict(zip(paths, await store.read_all(paths), strict=True))
    return [Problem(path, "certificate", what) for path, what in objections_to(erasures, texts, named_digests(commits))]


def excuse_unfinished(state: State, problems: Collection[Problem]) -> list[Problem]:
    """Returns problems as they are to be judged while an erasure is not finished: the next run takes away what it has
    left, and brings the marks up to date."""
    if not state.privacy.unfinished:
        return list(problems)
    return [
        Problem(one.file, "behind", f"{one.detail.partition(':')[0]}: an erasure is not finished")
        if one.what in ("orphan", "success", "manifest")
        else one
        for one in problems
    ]
