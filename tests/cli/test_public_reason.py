"""What hooks and pings say of an error holds nothing of the user's, the server's or a conversation's."""

import errno
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import pytest

import exporter
from exporter.cli.public_reason import WORDS, public_reason
from exporter.errors import ExporterError, RefusedError, StoreError, UnplacedError

QUOTED = "x_caller=+4915112345678 Jane Doe"

for _module in walk_packages(exporter.__path__, "exporter."):
    # These need Spark, which has tests of its own, and define no error.
    if not _module.name.endswith(("__main__", "spark.source", "spark.task_source")):
        import_module(_module.name)


def kinds(kind: type[ExporterError] = ExporterError) -> Iterator[type[ExporterError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from kinds(each)


def made(kind: type[ExporterError]) -> ExporterError:
    """Returns an error of a kind, whatever its constructor takes, in which all that can be quoted is."""
    error = kind.__new__(kind)
    error.args = (QUOTED,)
    for name in ("path", "what", "where", "_words"):
        setattr(error, name, QUOTED)
    error.__cause__ = OSError(errno.ENOSPC, QUOTED, QUOTED)
    error.__cause__.__cause__ = ValueError(QUOTED)
    return error


@pytest.mark.parametrize("kind", sorted(set(kinds()), key=str))
def test_no_error_is_quoted(kind: type[ExporterError]) -> None:
    found = public_reason(made(kind))
    assert not [word for word in QUOTED.split() if word in found]
    assert "No space left on device" in found
    assert "\n" not in found
    assert len(found) < 200


def test_each_kind_has_words_of_its_own_or_needs_none() -> None:
    without = {kind for kind in kinds() if kind not in WORDS and kind.__module__ == "exporter.errors"}
    assert without == {RefusedError, UnplacedError}
    assert len(set(WORDS.values())) == len(WORDS)


def test_a_defect_and_its_kind_are_told_apart_from_the_message() -> None:
    assert public_reason(ValueError(QUOTED)) == "unexpected ValueError"
    assert (
        public_reason(StoreError(QUOTED)) == "reading or writing the destination failed; the log of the run says more"
    )
