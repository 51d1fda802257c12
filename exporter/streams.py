"""What this process prints: it reaches a reader who listens, and never decides how a run ends.

A stream that is closed, full, or left by its reader takes no more; the work goes on, and its exit status is its own.
"""

import codecs
import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_LAST_STANDARD = 2
#: How stdout encodes what its encoding has no characters for.
_AS_GIVEN = "exporter.as_given"


class _Descriptor(io.FileIO):
    """Writes to a descriptor until that fails, and to nothing from then on. `failure` says why."""

    failure: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            while self.failure is None:
                if (written := super().write(data)) is not None:
                    return written
                # Another program has told this descriptor not to wait.
                select.select([], [self], [])
        except OSError as error:
            self.failure = error
        return memoryview(data).nbytes


def open_streams() -> None:
    """Replaces stdout and stderr, which may be closed, by streams that no writer has to fear."""
    with suppress(OSError):
        # A file that is opened later must not become one of the three that libraries print to.
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD:
            pass
        os.close(descriptor)
    sys.stdout = _open(sys.stdout, 1)
    sys.stderr = _open(sys.stderr, 2)


def close_streams() -> None:
    """Prints what is left, and says on stderr when stdout has taken less than all; a reader may leave, though."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, _Descriptor) else None
    if failure is not None and failure.errno not in (errno.EPIPE, errno.EBADF):
        print(f"exporter: stdout: {failure.strerror}; what was printed there is not whole", file=sys.stderr, flush=True)


def _open(stream: TextIO | None, descriptor: int) -> TextIO:
    # Python has none where the descriptor was closed; by now something else may have taken its number.
    raw = _Descriptor(os.devnull, "w") if stream is None else _Descriptor(descriptor, "w", closefd=False)
    encoding = "utf-8" if stream is None else stream.encoding
    interactive = descriptor == _LAST_STANDARD or raw.isatty()
    # Names of files need not be text, and not every terminal has all characters.
    errors = "backslashreplace" if descriptor == _LAST_STANDARD else _AS_GIVEN
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=interactive)


def _as_given(error: UnicodeError) -> tuple[str | bytes, int]:
    """Prints the bytes of a path that is no text as they are, for it is copied, and escapes all else."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    error.end = error.start + 1
    escapes = "\udc80" <= error.object[error.start] <= "\udcff"
    return codecs.lookup_error("surrogateescape" if escapes else "backslashreplace")(error)


codecs.register_error(_AS_GIVEN, _as_given)
