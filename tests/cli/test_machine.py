import pytest

from exporter.cli.machine import explain
from exporter.errors import StoreError


class HugeError(ImportError):
    """Takes more memory to be told than there is."""

    def __str__(self) -> str:
        raise MemoryError


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError(), "Raise its limit"),
        (ImportError("a.so: failed to map segment from shared object"), "Raise its limit"),
        (HugeError(), "Raise its limit"),
        (ImportError("a.so: failed to map segment from shared object: Operation not permitted"), "cannot be loaded"),
        (ImportError("no such symbol", name="pyarrow"), "pyarrow: cannot be loaded: no such symbol"),
        # Python has been seen to raise this while it ran out of memory in a module.
        (SyntaxError("invalid syntax"), "cannot be loaded"),
        (ExceptionGroup("several", [ValueError(), MemoryError()]), "Raise its limit"),
    ],
)
def test_what_the_machine_refuses_is_no_defect(error: Exception, word: str) -> None:
    known = explain(error)
    assert isinstance(known, StoreError)
    assert word in str(known)


def test_any_other_error_is_a_defect() -> None:
    assert explain(ValueError("x")) is None
