"""Prints as long as a reader takes the text, and never lets that stop a run.

A stream that is closed, full, or abandoned by its reader takes nothing further, and the work goes on. Its exit status
is its own, unless it is 0 and stdout is incomplete because it could not be written.
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
#: The error handler of stdout for text that its encoding has no characters for.
_AS_GIVEN = "exporter.as_given"


class _Descriptor(io.FileIO):
    """Writes to a descriptor until that fails, and to nothing from then on. `failure` says why."""

    failure: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            while self.failure is None:
                if (written := super().write(data)) is not None:
                    return written
                # Another program has made this descriptor non-blocking.
                select.select([], [self], [])
        except OSError as error:
            self.failure = error
        return memoryview(data).nbytes


def open_streams() -> None:
    """Replaces stdout and stderr, which may be closed, with streams that never fail a writer."""
    with suppress(OSError):
        # A file that is opened later must not get one of the three descriptors that libraries print to.
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD:
            pass
        os.close(descriptor)
    sys.stdout = _open(sys.stdout, 1)
    sys.stderr = _open(sys.stderr, 2)


def close_streams() -> bool:
    """Prints what is left, and returns whether stdout took all that it had to; otherwise stderr says why.

    A stdout that was closed, or whose reader has left, has to take nothing.
    """
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, _Descriptor) else None
    if failure is None or failure.errno in (errno.EPIPE, errno.EBADF):
        return True
    print(f"exporter: stdout: {failure.strerror}; the output there is incomplete", file=sys.stderr, flush=True)
    return False


def _open(stream: TextIO | None, descriptor: int) -> TextIO:
    # Python has no stream where the descriptor was closed; by now another file may have its number.
    raw = _Descriptor(os.devnull, "w") if stream is None else _Descriptor(descriptor, "w", closefd=False)
    encoding = "utf-8" if stream is None else stream.encoding
    interactive = descriptor == _LAST_STANDARD or raw.isatty()
    # File names need not be text, and not every terminal has all characters.
    errors = "backslashreplace" if descriptor == _LAST_STANDARD else _AS_GIVEN
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=interactive)


def _as_given(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encodes the bytes of a path that is not text as they are, because it may be copied, and escapes the rest."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    error.end = error.start + 1
    escapes = "\udc80" <= error.object[error.start] <= "\udcff"
    return codecs.lookup_error("surrogateescape" if escapes else "backslashreplace")(error)


codecs.register_error(_AS_GIVEN, _as_given)
