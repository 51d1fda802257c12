"""Shows what a policy would do to rows of a file: counts by rule, never a value."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.encode.batch import Encoder
from exporter.encode.decode import Decoder
from exporter.encode.protect.protector import Protector
from exporter.errors import SourceError, UsageError
from exporter.keys import KEY_BYTES, Key
from exporter.privacy import Policy

_BATCH_BYTES: Final = 8 * 1024**2


@dataclass(frozen=True, slots=True)
class TriedPolicy:
    """Counts what a policy did to rows: `hits` by rule, and `odd` values by rule that it could not read.

    `quarantined` of the `rows` fit no column.
    """

    rows: int
    quarantined: int
    hits: dict[str, int] = field(default_factory=dict)
    odd: dict[str, int] = field(default_factory=dict)


def try_policy(policy: Policy, path: Path) -> TriedPolicy:
    """Returns what a policy does to the rows of a file: a JSON array, or a JSON object a line, as the API serves them.

    Values are hashed with a key that is made up and forgotten. Raises `UsageError` if the file holds no such rows.
    """
    protector = Protector(policy, Key("check", secrets.token_bytes(KEY_BYTES)))
    decoder, encoder = Decoder(None), Encoder(None)
    rows = quarantined = 0
    for body in _bodies(path):
        try:
            page = decoder.decode(body, at=0).page
        except SourceError as error:
            raise UsageError(
                f"--rows {path}: not rows as the API serves them, in a JSON array or one a line"
            ) from error
        encoded = encoder.encode(page.rows)
        protector.protect(encoded.batch)
        rows += len(page.rows)
        quarantined += len(encoded.quarantined)
    return TriedPolicy(rows, quarantined, dict(protector.counts), dict(protector.odd))


def _bodies(path: Path) -> Iterator[bytes]:
    """Yields the rows of a file as JSON arrays: the only one, or lines put together, as many as are 8 MiB."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"--rows {path}: not a regular file")
        with path.open("rb") as file:
            first = file.readline()
            while first and not first.strip():
                first = file.readline()
            if first.lstrip()[:1] == b"[":
                yield first + file.read()
                return
            lines, size = [first] if first else [], len(first)
            for line in file:
                if line.strip():
                    lines.append(line)
                    size += len(line)
                if size >= _BATCH_BYTES:
                    yield _array(lines)
                    lines, size = [], 0
            yield _array(lines)
    except OSError as error:
        raise UsageError(f"--rows {path}: {error.strerror}") from error


def _array(lines: list[bytes]) -> bytes:
    return b"[" + b",".join(line.strip() for line in lines) + b"]"
