"""Looks for canaries in every file below a directory: in its bytes, in what is packed in them, and as Parquet.

The bytes are looked at as they are, and after whatever a program may have done to them: JSON escapes, percent signs,
Base64, hexadecimal digits, gzip, zstd, and hashes without a key.
"""

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

import pyarrow.parquet as pq
import zstandard

from tests.toolkit.canaries import SHAPES, Canaries, Canary

#: Opens a file of Parquet, also an encrypted one.
OpenParquet: TypeAlias = Callable[[Path], pq.ParquetFile]

_ESCAPED: Final = re.compile(rb"\\+u([0-9a-fA-F]{4})|\\+x([0-9a-fA-F]{2})")
_WIDE: Final = re.compile(rb"\xef\xbc([\x90-\x99])")
_RUNS: Final = re.compile(rb"[A-Za-z0-9+/]{16,}")
_HASHES: Final = re.compile(rb"(?i)(?<![0-9a-f])[0-9a-f]{32,128}(?![0-9a-f])")
#: What `Canaries.number` gives, as eight bytes, of which the upper ones are always these.
_INTEGERS: Final = re.compile(rb"(?s)(?=(...\x2d\0\0\0\0))")
_ZSTD, _GZIP, _AVRO, _PARQUET = b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08", b"Obj\x01", (b"PAR1", b"PARE")
_DEEPEST: Final = 3


class Found(NamedTuple):
    """Names a canary that lies where it must not: `file` below the directory, and `how` it was found."""

    where: str
    file: str
    how: str


def find_canaries(
    directory: Path, canaries: Canaries, among: Iterable[Canary] | None = None, open_parquet: OpenParquet | None = None
) -> list[Found]:
    """Returns every place below a directory in which a canary is, one line for each way of seeing it there.

    Only those `among` count; by default all that a policy must take away. Raises `OSError` if a file that is whole
    Parquet cannot be read.
    """
    chosen = [canary for canary in canaries.known.values() if not canary.stays] if among is None else list(among)
    search = Search(canaries, chosen)
    found: dict[Found, None] = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        seen = [*search.find(name.encode(errors="surrogateescape"), "name of the file")]
        if path.is_symlink():
            seen += search.find(str(path.readlink()).encode(), "target of the link")
        elif path.is_file():
            data = path.read_bytes()
            seen += search.find(data, "bytes")
            if data[:4] in _PARQUET and data[-4:] in _PARQUET and len(data) > 12:
                seen += search.find_in_parquet((open_parquet or pq.ParquetFile)(path))
        found |= {Found(canary.where, name, how): None for canary, how in seen}
    return list(found)


class Search:
    """Looks for the `chosen` canaries in bytes and in tables."""

    def __init__(self, canaries: Canaries, chosen: Iterable[Canary]) -> None:
        wanted = {canary.where for canary in chosen}
        self._known = {core: canary for core, canary in canaries.known.items() if canary.where in wanted}
        self._hashes: dict[bytes, Canary] = {}
        for core, canary in self._known.items():
            for text in {core, canary.text, canary.text.lower()}:
                for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
                    self._hashes[hashlib.new(name, text.encode()).hexdigest()[:32].encode()] = canary
        self._numbers = {int(core).to_bytes(8, "little"): one for core, one in self._known.items() if core[:2] == "77"}
        self._nameless = re.compile(b"|".join(map(re.escape, _notations(b"anari0"))))

    def find(self, data: bytes, how: str, depth: int = 0) -> Iterator[tuple[Canary, str]]:
        """Yields each canary in the bytes, and how it was seen."""
        for form, seen in _forms(data, how):
            yield from self._find_shapes(seen, form)
        for match in _HASHES.finditer(data):
            if canary := self._hashes.get(match[0][:32].lower()):
                yield canary, f"{how}, hashed without a key"
        for match in _INTEGERS.finditer(data) if self._numbers else ():
            if canary := self._numbers.get(match[1]):
                yield canary, f"{how}, as an integer"
        for kind, inside in _decoded(data) if self._nameless.search(data) else ():
            yield from self._find_shapes(inside, f"{how}, {kind}")
        if depth < _DEEPEST:
            for kind, inside in _unpacked(data):
                yield from self.find(inside, f"{how}, {kind}", depth + 1)

    def _find_shapes(self, data: bytes, how: str) -> Iterator[tuple[Canary, str]]:
        for shape, core_of in SHAPES:
            for match in shape.finditer(data):
                if canary := self._known.get(core_of(match[0])):
                    yield canary, how

    def find_in_parquet(self, file: pq.ParquetFile) -> Iterator[tuple[Canary, str]]:
        """Yields each canary in a value, a statistic, a name or a note of the file."""
        with file:
            yield from self._find_text([*(file.schema_arrow.names), str(file.schema_arrow)], "schema")
            notes: Mapping[bytes, bytes] = file.metadata.metadata or {}
            for key, value in notes.items():
                yield from self.find(key + b" " + value, "note in the footer")
            for group in range(file.num_row_groups):
                for column in map(file.metadata.row_group(group).column, range(file.metadata.num_columns)):
                    if (shown := column.statistics) is not None and shown.has_min_max:
                        yield from self._find_text([shown.min, shown.max], f"statistics of {column.path_in_schema}")
                for name, values in file.read_row_group(group, use_threads=False).to_pydict().items():
                    yield from self._find_text(values, f"values of {name}")

    def _find_text(self, values: Iterable[Any], how: str) -> Iterator[tuple[Canary, str]]:
        texts = (value if isinstance(value, str) else repr(value) for value in values if value is not None)
        yield from self.find("\n".join(texts).encode(errors="surrogatepass"), how)


def _forms(data: bytes, how: str) -> Iterator[tuple[str, bytes]]:
    yield how, data
    if b"\\" in data:
        yield (
            f"{how}, escaped",
            _ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)).encode("utf-8", "replace"), data),
        )
    if b"\xef\xbc" in data:
        yield f"{how}, in wide digits", _WIDE.sub(lambda match: b"%d" % (match[1][0] - 0x90), data)
    if b"%" in data:
        yield f"{how}, with percent signs", unquote_to_bytes(data)


def _unescape(match: re.Match[bytes]) -> bytes:
    return chr(int(match[1] or match[2], 16)).encode(errors="replace")


def _notations(marker: bytes) -> Iterator[bytes]:
    """Yields what betrays the marker in Base64, at every offset, and in hexadecimal digits."""
    yield marker.hex().encode()
    for offset in range(3):
        encoded = base64.b64encode(b"." * offset + marker)
        # The characters that depend on the neighbours are left out.
        yield encoded[4 if offset else 0 :][: -4 if (offset + len(marker)) % 3 else None]


def _decoded(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields what runs of letters and digits are in Base64 and as hexadecimal digits, wherever in them it begins."""
    for match in _RUNS.finditer(data):
        for run in (match[0][start:] for start in range(4)):
            with suppress(ValueError):
                yield "in Base64", base64.b64decode(run + b"A" * (-len(run) % 4))
            with suppress(ValueError):
                yield "in hexadecimal digits", bytes.fromhex(run[: len(run) // 2 * 2].decode())


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields what is packed in the bytes, wherever it begins: pages of Parquet, files of gzip, blocks of Avro."""
    for match in re.finditer(re.escape(_ZSTD), data):
        with suppress(zstandard.ZstdError):
            yield "in zstd", zstandard.ZstdDecompressor().decompressobj().decompress(data[match.start() :])
    for match in re.finditer(re.escape(_GZIP), data):
        with suppress(zlib.error):
            yield "in gzip", zlib.decompressobj(31).decompress(data[match.start() :])
    if data.startswith(_AVRO):
        for block in data.split(data[-16:]):
            for start in range(2, 12):
                with suppress(zlib.error):
                    yield "in Avro", zlib.decompressobj(-15).decompress(block[start:])
