"""The log of an encrypted export takes no file that another key opens, and no plain part."""

import msgspec
import pytest

from exporter.log.privacy import Privacy, file_objections
from exporter.model import Change, QuarantineFile
from exporter.privacy import Encryption, KeyReference
from tests.log.test_state import data_file

PLAIN, SEALED = Privacy(), Privacy(encryption=Encryption(key=KeyReference(name="d1")))


@pytest.mark.parametrize(
    ("privacy", "part", "lines", "objections"),
    [
        (PLAIN, "", "", []),
        (SEALED, "d1", "d1", []),
        # An older exporter kept the quarantine plain.
        (SEALED, "d1", "", []),
        (SEALED, "", "d1", ["adds part, which is not encrypted with d1"]),
        (SEALED, "d1", "d2", ["adds lines, which is not encrypted with d1"]),
    ],
)
def test_files_have_the_key_of_the_export(privacy: Privacy, part: str, lines: str, objections: list[str]) -> None:
    added = msgspec.structs.replace(data_file("1", 0, 9, path="part"), key=part)
    put_aside = QuarantineFile(path="lines", rows=1, size_bytes=2, sha256="0", key=lines)
    assert list(file_objections(privacy, Change(adds=(added,), quarantines=(put_aside,)))) == objections
