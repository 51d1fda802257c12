"""Stamps a manifest, so that a run knows one that is as it was written without rendering it again."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import pyarrow as pa

from exporter.log.state import State
from exporter.version import __version__

#: The manifest's last member.
STAMP: Final = "stamp"

#: How a rendered manifest ends before it is stamped.
END: Final = b"\n}\n"
_OPENS: Final = b',\n  "' + STAMP.encode() + b'": "'
_CLOSES: Final = b'"' + END
#: The size of a stamp, which ends a manifest.
TAIL_BYTES: Final = len(_OPENS) + 64 + len(_CLOSES)


def stamped(manifest: Sequence[bytes | memoryview], state: State) -> bytes:
    """Returns a rendered manifest, which is given in pieces, with its stamp: one SHA-256 over all that stands above it,
    the last commit of the `state` that it tells, and the software that renders it."""
    members = [*manifest[:-1], bytes(manifest[-1]).removesuffix(END)]
    return b"".join([*members, stamp_of(members, state)])


def bears_stamp(manifest: bytes, state: State) -> bool:
    """Returns whether this software has stamped exactly these bytes for `state`.

    If not, only a rendering can tell whether the manifest is right: it may be of another commit, also of a copy of the
    export that has gone its own way; another version may have written it, without a stamp or with its own; or somebody
    has changed it.
    """
    return manifest[-TAIL_BYTES:] == stamp_of([memoryview(manifest)[:-TAIL_BYTES]], state)


def stamp_of(members: Iterable[bytes | memoryview], state: State) -> bytes:
    """Returns the end of a manifest whose `members` are given in pieces, from its stamp on."""
    return _OPENS + _stamp(members, state) + _CLOSES


def without_stamp(manifest: bytes) -> bytes:
    """Returns the members of a manifest that any version renders alike."""
    if manifest[-TAIL_BYTES:].startswith(_OPENS) and manifest.endswith(_CLOSES):
        return manifest[:-TAIL_BYTES]
    return manifest.removesuffix(END)


def _stamp(members: Iterable[bytes | memoryview], state: State) -> bytes:
    author = None if state.author is None else state.author.run
    told = (__version__, pa.__version__, state.export_id, state.number, author, state.committed_at)
    digest = hashlib.sha256()
    for piece in members:
        digest.update(piece)
    digest.update(msgspec.json.encode(told))
    return digest.hexdigest().encode()
