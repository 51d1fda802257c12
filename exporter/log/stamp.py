"""Stamps a manifest, so that a run knows one that is as it was written without rendering the lists of its parts again.

The surroundings of these lists are short, and a run renders them; the lists are long, and are read once, whether a
manifest is only looked at, or written again with other surroundings.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from hashlib import sha256
from io import SEEK_END, BufferedIOBase
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa

from exporter.log.state import State
from exporter.version import __version__

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

#: The manifest's last member.
STAMP: Final = "stamp"

#: How a rendered manifest ends before it is stamped.
END: Final = b"\n}\n"
_OPENS: Final = b',\n  "' + STAMP.encode() + b'": "'
_CLOSES: Final = b'"' + END
#: The size of a stamp, which ends a manifest.
TAIL_BYTES: Final = len(_OPENS) + 64 + len(_CLOSES)
_CHUNK_BYTES: Final = 1024 * 1024


class NotStampedError(Exception):
    """Says that this software has not stamped exactly these bytes for a state.

    Only a rendering can then tell whether the manifest is right: it may be of another commit, also of a copy of the
    export that has gone its own way; another version may have written it, without a stamp or with its own; or somebody
    has changed it.
    """


def stamped(around: Sequence[bytes], between: Iterable[bytes | memoryview], state: State) -> bytes:
    """Returns a manifest of a `state` with its stamp: one SHA-256 over what stands `between` the first and the last of
    its surroundings, which are given in pieces, over these two, the last commit, and the software that renders it."""
    between = [*between]
    digest = sha256()
    for piece in between:
        digest.update(piece)
    return b"".join([around[0], *between, _end(digest, around, state)])


def renewed(
    manifest: BufferedIOBase, known: Sequence[bytes], told: State, around: Sequence[bytes], state: State
) -> Iterator[bytes | memoryview]:
    """Yields a manifest of a `state` in pieces: one that is stamped for the state `told`, with other surroundings than
    are `known`. Raises `NotStampedError`, perhaps at its end, if it is not."""
    yield around[0]
    digest = yield from stamped_lists(manifest, known, told)
    yield _end(digest, around, state)


def is_stamped(manifest: BufferedIOBase, around: Sequence[bytes], state: State) -> bool:
    """Returns whether a manifest has these surroundings, and this software has stamped exactly its bytes for a
    state."""
    try:
        for _ in stamped_lists(manifest, around, state):
            pass
    except NotStampedError:
        return False
    return True


def stamped_lists(
    manifest: BufferedIOBase, around: Sequence[bytes], state: State
) -> Generator[memoryview, None, "Digest"]:
    """Yields what stands between the first and the last of the surroundings, in one buffer that each chunk overwrites;
    returns its digest. Raises `NotStampedError`, perhaps at its end."""
    first, last = around[0], around[-1].removesuffix(END)
    size = manifest.seek(0, SEEK_END) - len(first) - len(last) - TAIL_BYTES
    manifest.seek(0)
    if manifest.read(len(first)) != first:
        raise NotStampedError
    digest, buffer = sha256(), memoryview(bytearray(_CHUNK_BYTES))
    while size > 0 and (count := manifest.readinto(buffer[:size])):
        size -= count
        digest.update(buffer[:count])
        yield buffer[:count]
    if manifest.read(len(last) + TAIL_BYTES + 1) != _end(digest, around, state):
        raise NotStampedError
    return digest


def without_stamp(manifest: bytes) -> bytes:
    """Returns the members of a manifest that any version renders alike."""
    if manifest[-TAIL_BYTES:].startswith(_OPENS) and manifest.endswith(_CLOSES):
        return manifest[:-TAIL_BYTES]
    return manifest.removesuffix(END)


def _end(between: "Digest", around: Sequence[bytes], state: State) -> bytes:
    """Returns the end of a manifest, from its last surroundings on."""
    author, last = None if state.author is None else state.author.run, around[-1].removesuffix(END)
    told = (__version__, pa.__version__, state.export_id, state.number, author, state.committed_at)
    digest = between.copy()
    for piece in (around[0], last, msgspec.json.encode(told)):
        digest.update(piece)
    return last + _OPENS + digest.hexdigest().encode() + _CLOSES
