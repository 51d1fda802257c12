"""Tests that no canary escapes the search, wherever it lies, before anybody relies on not finding one."""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.toolkit.canaries import Canaries
from tests.toolkit.canary_search import find_canaries

Hide: TypeAlias = Callable[[str], bytes]
Part: TypeAlias = tuple[pa.Table, dict[str, object]]


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(one):04X}" for one in text)


HIDDEN: dict[str, Hide] = {
    "plain": str.encode,
    "in other letters": lambda text: text.upper().encode(),
    "among other bytes": lambda text: b"\0\xff" + text.encode() + b"\xfe9",
    "escaped": lambda text: escaped(text).encode(),
    "escaped twice": lambda text: json.dumps(json.dumps(escaped(text))).encode(),
    "as Python shows bytes": lambda text: "".join(f"\\x{ord(one):02x}" for one in text).encode(),
    "with percent signs": lambda text: quote(text, safe="").replace("K", "%4B").encode(),
    "Base64": lambda text: base64.b64encode(text.encode()),
    "Base64, later": lambda text: base64.b64encode(b"a" + text.encode()),
    "Base64, later still": lambda text: base64.b64encode(b"ab" + text.encode()),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "MD5": lambda text: hashlib.md5(text.encode()).hexdigest().encode(),
    "SHA-256, cut": lambda text: hashlib.sha256(text.encode()).hexdigest()[:32].encode(),
    "SHA-256 in small letters": lambda text: hashlib.sha256(text.lower().encode()).hexdigest().encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "gzip in the middle": lambda text: b"head" + gzip.compress(text.encode()) + b"tail",
    "zstd in the middle": lambda text: b"head" + zstandard.compress(text.encode()) + b"tail",
    "gzip in zstd": lambda text: zstandard.compress(b"head" + gzip.compress(text.encode())),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_bytes_hide_nothing(name: str, tmp_path: Path) -> None:
    canaries = Canaries()
    hidden = HIDDEN[name](canaries.word("here"))
    canaries.word("elsewhere")
    (tmp_path / ".hidden" / "deep").mkdir(parents=True)
    (tmp_path / ".hidden" / "deep" / "~file.tmp").write_bytes(hidden)
    found = find_canaries(tmp_path, canaries)
    assert {one.where for one in found} == {"here"}
    assert {one.file for one in found} == {".hidden/deep/~file.tmp"}


def test_names_and_links_hide_nothing(tmp_path: Path) -> None:
    canaries = Canaries()
    (tmp_path / canaries.word("directory")).mkdir()
    (tmp_path / quote(f"a/{canaries.word('file')}", safe="")).touch()
    (tmp_path / "link").symlink_to(canaries.word("target"))
    assert {one.where for one in find_canaries(tmp_path, canaries)} == {"directory", "file", "target"}


@pytest.mark.parametrize("separator", ["", " ", "-", ") ", ".", "\0"])
def test_numbers_are_found_however_they_are_written(separator: str, tmp_path: Path) -> None:
    canaries = Canaries()
    known = [canaries.phone("phone"), canaries.card("card"), canaries.iban("iban"), canaries.ssn("ssn")]
    plain = ["".join(filter(str.isalnum, text)).removeprefix("1") for text in known]
    (tmp_path / "file").write_text("x".join(separator.join(text) for text in plain))
    assert {one.where for one in find_canaries(tmp_path, canaries)} == {"phone", "card", "iban", "ssn"}


def test_wide_digits_are_found(tmp_path: Path) -> None:
    canaries = Canaries()
    (tmp_path / "file").write_text("".join(chr(0xFF10 + int(one)) for one in canaries.phone("phone")[1:]))
    assert [one.where for one in find_canaries(tmp_path, canaries)] == ["phone"]


def test_what_is_spoken_is_found(tmp_path: Path) -> None:
    canaries = Canaries()
    (tmp_path / "file").write_text(canaries.spoken("spoken").title().replace(" ", ", "))
    assert [one.where for one in find_canaries(tmp_path, canaries)] == ["spoken"]


def test_what_is_masked_or_missing_is_not_found(tmp_path: Path) -> None:
    canaries = Canaries()
    masked = "*" * 6 + canaries.phone("phone")[-4:]
    (tmp_path / "file").write_text(f"{masked} Kanari Kanari999999q 9075550000")
    (tmp_path / "empty").touch()
    assert find_canaries(tmp_path, canaries) == []


def packed(codec: str, text: str) -> Part:
    return pa.table({"a": ["b", text]}), {"compression": codec}


PARTS: dict[str, Callable[[str], Part]] = {
    **{f"values, {codec}": partial(packed, codec) for codec in ("none", "zstd", "snappy", "gzip", "lz4", "brotli")},
    "values, in pieces": lambda text: (
        pa.table({"a": [text[:9], text]}),
        {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}, "write_statistics": False},
    ),
    "inside of a struct": lambda text: (pa.table({"a": [{"b": [{"c": text}]}]}), {}),
    "name of a column": lambda text: (pa.table({text: [1]}), {}),
    "note on the schema": lambda text: (pa.table({"a": [1]}).replace_schema_metadata({"note": text}), {}),
    "note on a column": lambda text: (
        pa.table({"a": [1]}, schema=pa.schema([pa.field("a", pa.int64(), metadata={"note": text})])),
        {},
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_parquet_hides_nothing(name: str, tmp_path: Path) -> None:
    canaries = Canaries()
    table, options = PARTS[name](canaries.word("here"))
    pq.write_table(table, tmp_path / "part", **options)
    assert {one.where for one in find_canaries(tmp_path, canaries)} == {"here"}


def test_statistics_pages_and_dictionaries_are_looked_at_by_themselves(tmp_path: Path) -> None:
    canaries = Canaries()
    text, number = canaries.word("text"), canaries.number("number")
    pq.write_table(pa.table({"t": [text], "n": [number]}), tmp_path / "part", compression="zstd", write_page_index=True)
    found = {(one.where, one.how) for one in find_canaries(tmp_path, canaries)}
    for how in ("bytes", "bytes, in zstd", "statistics of t", "values of t"):
        assert ("text", how) in found
    for how in ("bytes, as an integer", "statistics of n", "values of n"):
        assert ("number", how) in found


def test_a_part_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"PAR1 is not one at all PAR1")
    with pytest.raises((OSError, pa.ArrowInvalid)):
        find_canaries(tmp_path, Canaries())


def test_a_part_that_was_never_finished_is_looked_at_page_by_page(tmp_path: Path) -> None:
    canaries = Canaries()
    whole = tmp_path / "whole"
    pq.write_table(pa.table({"a": [canaries.word("here")] * 99}), whole, compression="zstd", write_statistics=False)
    data = whole.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little")
    (tmp_path / "cut").write_bytes(data[: -8 - footer])
    whole.unlink()
    assert ("here", "bytes, in zstd") in {(one.where, one.how) for one in find_canaries(tmp_path, canaries)}
