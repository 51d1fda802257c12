"""Makes the certificates of erasures: what was taken away, how that was proven, and what lies out of reach.

A certificate holds no personal value. Each names the one before it by its SHA-256, and the log names each by its own:
so none can be changed or left out unnoticed. It is durable before the commit that it certifies; the last commit of an
erasure names it again once the proof is in it.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from exporter.layout import ERASURES
from exporter.log.state import Commit
from exporter.privacy import Erasure
from exporter.store.base import Store
from exporter.words import count_of

#: What no exporter reaches.
_ALWAYS_REMAINING: Final = (
    "copies that readers have made of parts, tables, recordings or query results",
    "backups, snapshots and replicas of the destination",
    "the source itself: ask there for the deletion of the conversations",
)
_ON_A_DISK: Final = "blocks of the disk that deleted files have left, until they are written over"
_IN_A_BUCKET: Final = "older versions and soft-deleted objects of the bucket, which the exporter does not list"
_IN_A_CATALOG: Final = "what another catalog or engine has copied of the tables"
_IN_CHANGES: Final = (
    "ids and times, and nothing else, in files that tell readers of changes what was here and is gone; exporter vacuum "
    "deletes them"
)


class ErasedCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Counts what an erasure takes away.

    `parts_rewritten` are live parts whose other rows stay, and `parts_deleted` those of which no row is left.
    `kept_files` were replaced earlier; the `generations` that need them, and the `table_versions`, cannot be read any
    more. `dropped_files` were taken out by repairs.
    """

    conversations: int = 0
    turns: int = 0
    recordings: int = 0
    media_files: int = 0
    quarantine_lines: int = 0
    parts_rewritten: int = 0
    parts_deleted: int = 0
    kept_files: int = 0
    generations: int = 0
    table_versions: int = 0
    dropped_files: int = 0


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Says that every file was read again, at an instant in UTC, and held nothing of what was erased."""

    at: datetime
    files: int
    rows: int
    quarantine_lines: int


class CertificateKey(msgspec.Struct, frozen=True, kw_only=True):
    """Names the key of the hashes, and what tells another key of that name."""

    name: str
    check: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """Certifies one erasure. Times are in UTC, by this machine's clock.

    `values` are keyed hashes of the values that `by` was compared with; `digits` says that only their digits were.
    `future` says that new conversations with these values are also left out. `previous` is the SHA-256 of the
    certificate before this one. `remaining` is what the exporter cannot reach. Without a `proof`, it is not finished.
    """

    format: int = 1
    export_id: str
    commit: int
    software: str
    reference: str | None
    requested_at: datetime
    by: str
    digits: bool
    future: bool
    values: tuple[str, ...]
    erased: ErasedCounts
    key: CertificateKey
    previous: str | None
    remaining: tuple[str, ...]
    proof: Proof | None = None


def encode_certificate(certificate: Certificate) -> bytes:
    """Returns the text of a certificate, with a line a member."""
    return msgspec.json.format(msgspec.json.encode(certificate), indent=2) + b"\n"


def decode_certificate(data: bytes) -> Certificate | None:
    """Returns the certificate with this text; None if it is none."""
    try:
        return msgspec.json.decode(data, type=Certificate)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def digest_of(data: bytes) -> str:
    """Returns the SHA-256 by which the log and the next certificate name one."""
    return hashlib.sha256(data).hexdigest()


def out_of_reach(*, in_a_bucket: bool, has_tables: bool, has_changes: bool, untold: int = 0) -> tuple[str, ...]:
    """Returns what no erasure reaches at such a destination; `untold` rows do not tell whose they are."""
    place = _IN_A_BUCKET if in_a_bucket else _ON_A_DISK
    rows = [f"{count_of(untold, 'row')} withheld in quarantine in a form that does not tell whose"] if untold else []
    told = [_IN_CHANGES] if has_changes else []
    return (place, *_ALWAYS_REMAINING, *([_IN_A_CATALOG] if has_tables else []), *told, *rows)


def named_digests(commits: Collection[Commit]) -> Mapping[str, tuple[str, ...]]:
    """Returns, by path, the SHA-256 that commits have given each certificate, the last of which holds."""
    found: dict[str, tuple[str, ...]] = {}
    for commit in commits:
        if commit.privacy is not None and (erasure := commit.privacy.erasure) is not None:
            found[erasure.certificate] = (*found.get(erasure.certificate, ()), erasure.sha256)
    return found


def objections_to(
    erasures: Collection[Erasure], texts: Mapping[str, bytes | None], digests: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, str]]:
    """Says, with the path of each, what is wrong with certificates. One that is not finished may be written again at
    any time, and is judged once it is."""
    before: tuple[str, ...] | None = None
    for erasure in erasures:
        path, data = erasure.certificate, texts.get(erasure.certificate)
        certificate = None if data is None else decode_certificate(data)
        if data is None:
            yield path, "the log names this certificate of an erasure, and it is not there"
        elif certificate is None:
            yield path, "not a certificate of an erasure, or damaged"
        elif erasure.finished and digest_of(data) != erasure.sha256:
            yield path, "not the certificate that the log names: its SHA-256 differs"
        elif (before is None) != (certificate.previous is None) or certificate.previous not in (before or (None,)):
            yield path, "does not name the certificate before it: the chain is broken"
        before = digests.get(path, (erasure.sha256,))


async def put_certificate(store: Store, path: str, data: bytes) -> None:
    """Writes a certificate, durably and in place of any that is there. Raises `StoreError`."""
    if not await store.create(path, data):
        await store.replace(path, data)


def unnamed(paths: Iterable[str], erasures: Collection[Erasure]) -> list[str]:
    """Returns those of `paths` that are certificates, and that no commit names: a run was killed before its commit."""
    named = {erasure.certificate for erasure in erasures}
    return [path for path in paths if path.startswith(f"{ERASURES}/") and path not in named]
