"""Holds where a log ends: the state there, and what ties it to the commits. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from exporter.log.fold import fold
from exporter.log.state import Commit, State

#: A run that ends leaves no more commits than these without a checkpoint; each costs the next run a request.
_LONGEST_TAIL: Final = 8
#: While a run goes on, a checkpoint comes after this many commits, and only if they have a quarter of its bytes.
_LEAST_COMMITS: Final = 64
_LEAST_SHARE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Holds the state at a commit, and what ties it to the log: the SHA-256 of this commit, the chain over all, and the
    newest format among them. The newest checkpoint up to there is of commit `checkpoint` (0 for none) and has
    `checkpoint_bytes`; the commits since have `tail_bytes`.
    """

    state: State = field(default_factory=State)
    commit_sha256: str = ""
    commits_sha256: str = ""
    commits_format: int = 0
    checkpoint: int = 0
    checkpoint_bytes: int = 0
    tail_bytes: int = 0

    @property
    def number(self) -> int:
        return self.state.number

    def after(self, commits: Iterable[Commit], texts: Iterable[bytes]) -> "Head":
        """Returns the head after more commits, of which `texts` are the bytes. Raises `DamagedLogError`."""
        commits = tuple(commits)
        chain, digest, size = self.commits_sha256, self.commit_sha256, self.tail_bytes
        for text in texts:
            digest = sha256_of(text)
            chain, size = sha256_of((chain + digest).encode()), size + len(text)
        return replace(
            self,
            state=fold(commits, self.state),
            commit_sha256=digest,
            commits_sha256=chain,
            commits_format=max(self.commits_format, *(one.format_version for one in commits), 0),
            tail_bytes=size,
        )

    def noted(self, size_bytes: int) -> "Head":
        """Returns the same head once a checkpoint of this size was made, whether it could be written or not."""
        return replace(self, checkpoint=self.number, checkpoint_bytes=size_bytes, tail_bytes=0)

    def is_due(self, *, ends: bool) -> bool:
        """Returns whether to write a checkpoint here: what that costs is a small share of what the commits since the
        last one have cost. `ends` says that no commit of this run follows."""
        commits = self.number - self.checkpoint
        if ends:
            return commits > _LONGEST_TAIL
        return commits >= _LEAST_COMMITS and self.tail_bytes * _LEAST_SHARE >= self.checkpoint_bytes


def sha256_of(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
