"""Shows what a policy would do to rows of a file: counts by rule, never a value."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.encode.batch import Encoder
from exporter.encode.decode import Decoder
from exporter.encode.entities import protector_of
from exporter.encode.protect.protector import Protector
from exporter.errors import SourceError, UsageError
from exporter.keys import KEY_BYTES, Key
from exporter.privacy import Policy

_BATCH_BYTES: Final = 8 * 1024**2
#: The texts of a batch's column must stay below 2 GiB.
_MOST_BYTES: Final = 1024**3
_NOT_ROWS: Final = "not rows as the API serves them: a JSON array of conversations, or a conversation a line"


@dataclass(frozen=True, slots=True)
class RuleTrial:
    """Counts the values that a rule was for, those that it changed, and those that it dropped as unreadable."""

    reached: int
    changed: int
    odd: int


@dataclass(frozen=True, slots=True)
class Trial:
    """Says what a policy did to `rows`, of which `quarantined` fit no column, by column or path."""

    rows: int
    quarantined: int
    rules: dict[str, RuleTrial]


def try_policy(policy: Policy, path: Path, *, finds_entities: bool = True) -> Trial:
    """Returns what a policy does to the rows of a file. Values are hashed with a key that is made up and forgotten.

    Unless it `finds_entities`, what they would change is not counted. Raises `UsageError` if the file holds no rows
    as the API serves them.
    """
    key = Key("trial", secrets.token_bytes(KEY_BYTES))
    protector = protector_of(policy, key) if finds_entities else Protector(policy, key, list)
    decoder, encoder = Decoder(None), Encoder(None)
    rows = quarantined = 0
    for body in _bodies(path):
        try:
            page = decoder.decode(body, at=0).page
        except SourceError as error:
            raise UsageError(f"--rows {path}: {_NOT_ROWS}") from error
        encoded = encoder.encode(page.rows)
        protector.protect(encoded.batch)
        rows += len(page)
        quarantined += len(encoded.quarantined)
    if rows == quarantined:
        raise UsageError(f"--rows {path}: {_NOT_ROWS}")
    reached, changed, odd = protector.reached, protector.counts, protector.odd
    trials = {each: RuleTrial(reached[each], changed[each], odd[each]) for each in policy.rules}
    return Trial(rows, quarantined, trials)


def _bodies(path: Path) -> Iterator[bytes]:
    """Yields the rows of a file as JSON arrays: the only one, or lines put together until they are 8 MiB."""
    try:
        if path.exists() and not path.is_file():
            # Otherwise a pipe that nobody writes to would be waited for in silence.
            raise UsageError(f"--rows {path}: not a regular file")
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"--rows {path}: larger than 1 GiB; give a part of it")
        with path.open("rb") as file:
            lines: list[bytes] = []
            size = 0
            for line in file:
                if not lines and line.lstrip()[:1] == b"[":
                    yield line + file.read()
                    return
                if line.strip():
                    lines.append(line.strip())
                    size += len(line)
                if size >= _BATCH_BYTES:
                    yield b"[" + b",".join(lines) + b"]"
                    lines, size = [], 0
            if lines:
                yield b"[" + b",".join(lines) + b"]"
    except OSError as error:
        raise UsageError(f"--rows {path}: {error.strerror}") from error
