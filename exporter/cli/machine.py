"""Puts errors of the machine into words, if no edge below has named them in its own terms."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.errors import ExporterError, StoreError
from exporter.store.oserrors import describe

_NO_MEMORY = (
    "the machine gives this process no more memory. Raise its limit (ulimit -v, or its container's), or lower "
    "--memory; then run again"
)
_NO_THREAD = (
    "the machine lets this process start no more threads. Raise the limit of the user's processes (ulimit -u), or that "
    "of its container (pids); then run again"
)
_NOT_TEXT = "a path or an environment variable is not UTF-8, and only text can be used there. Rename it"


@contextmanager
def translating() -> Iterator[None]:
    """Turns a refusal of the machine into an error that a user can act on; any other error is a defect."""
    try:
        yield
    except (ExporterError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if (known := explain(error)) is None:
            raise
        raise known from error


def explain(error: BaseException) -> ExporterError | None:
    """Returns what `error`, one of its members or its cause says about the machine; None means a defect."""
    try:
        return next((known for one in _all_of(error) if (known := _explain(one)) is not None), None)
    except MemoryError:
        return StoreError(_NO_MEMORY)


def _all_of(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _all_of(member)
    if error.__cause__ is not None:
        yield from _all_of(error.__cause__)


def _explain(error: BaseException) -> ExporterError | None:
    match error:
        case ExporterError():
            return error
        case MemoryError():
            return StoreError(_NO_MEMORY)
        case OSError():
            if not isinstance(error.filename, str):
                return StoreError(describe(error))
            return StoreError(f"{error.filename}: {describe(error, Path(error.filename))}")
        case ImportError() if "failed to map segment" in (text := str(error)) and "not permitted" not in text:
            return StoreError(_NO_MEMORY)
        case ImportError() | SyntaxError():
            # Python may also call a module's text wrong that there is no memory to parse.
            name = getattr(error, "name", None) or "a library"
            return StoreError(f"{name}: cannot be loaded: {error}. Install the exporter again")
        case UnicodeEncodeError() if all("\udc80" <= one <= "\udcff" for one in error.object[error.start : error.end]):
            return StoreError(_NOT_TEXT)
        case RuntimeError() if "start new thread" in str(error):
            return StoreError(_NO_THREAD)
    return None
