"""Makes every name and path at the destination. A path is text relative to the destination, with `/`. Pure.

    DEST/
      conversations/created_date=2026-02-10/part-….parquet
      turns/created_date=2026-02-10/part-….parquet
      recordings/created_date=2026-02-10/part-….parquet
      media/created_date=2026-02-10/SHA256.mp3    the audio, which rows of recordings name
      media/created_date=2026-02-10/SHA256.mp3.enc    the same, encrypted; the hash is that of the file
      _manifest.json
      _SUCCESS
      conversations/_delta_log/          with `--table-format delta`: a log for each table
      _iceberg/catalog.db                with `--table-format iceberg`: on a disk a catalog, and each table's metadata
      _iceberg/conversations/metadata/
      _exporter/
        commits/00000001.json
        checkpoints/00000064.json       what the commits up to that one fold to
        staging/….partial               in an object store, only what tasks on other machines have written
        staging/RUN-beacon.partial      there as long as that run wants what its tasks read
        quarantine/….jsonl      rows that fit no column; `….jsonl.enc` if they are encrypted
        erasures/00000017.json  the certificate of what commit 17 erased
        changes/….changes       which conversations a commit has changed, as Parquet: see `exporter changes`
        dropped/RUN/….dropped   what a repair has taken out, below the path that it had
        lock
        probe                   in an object store
        runs.jsonl
        scratch/                if the machine has no directory for temporary files

Spark, Arrow and Athena skip names that begin with `_`. Nothing that is unfinished or was dropped is named `*.parquet`.
"""

import re
from typing import Final, NamedTuple

from exporter.model import ALL_TABLES as ALL_TABLES
from exporter.model import CONVERSATIONS as CONVERSATIONS
from exporter.model import RECORDINGS as RECORDINGS
from exporter.model import TABLES as TABLES
from exporter.model import TURNS as TURNS
from exporter.partitions import PARTITION_KEYS

MANIFEST: Final = "_manifest.json"
SUCCESS: Final = "_SUCCESS"
PRIVATE: Final = "_exporter"
COMMITS: Final = f"{PRIVATE}/commits"
CHECKPOINTS: Final = f"{PRIVATE}/checkpoints"
STAGING: Final = f"{PRIVATE}/staging"
QUARANTINE: Final = f"{PRIVATE}/quarantine"
CHANGES: Final = f"{PRIVATE}/changes"
DROPPED: Final = f"{PRIVATE}/dropped"
ERASURES: Final = f"{PRIVATE}/erasures"
LOCK: Final = f"{PRIVATE}/lock"
PROBE: Final = f"{PRIVATE}/probe"
#: How the names begin of what a check writes to an object store, and deletes again.
CHECKS: Final = f"{PRIVATE}/check-"
#: And on a disk, of a hidden directory.
CHECK_PLACES: Final = ".exporter-check-"
RUNS: Final = f"{PRIVATE}/runs.jsonl"
#: Temporary files, if the machine has no other place for them.
SCRATCH: Final = f"{PRIVATE}/scratch"

MEDIA: Final = "media"
#: How the name of an encrypted file ends that is no part, behind the extension that tells what it holds.
ENCRYPTED: Final = ".enc"
ICEBERG: Final = "_iceberg"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)
_COMMIT = re.compile(re.escape(COMMITS) + r"/(\d{8})\.json", re.ASCII)
_CHECKPOINT = re.compile(re.escape(CHECKPOINTS) + r"/(\d{8})\.json", re.ASCII)
_PARTITION: Final = rf"(?:(?:{'|'.join(PARTITION_KEYS)})=[0-9TW+-]+/)?"
_PART = re.compile(rf"(?:{'|'.join(ALL_TABLES)})/{_PARTITION}part-{_NAME.pattern}\.parquet", re.ASCII)
_MEDIA = re.compile(rf"{MEDIA}/{_PARTITION}[0-9a-f]{{64}}\.[a-z0-9]{{1,8}}(?:{re.escape(ENCRYPTED)})?", re.ASCII)
_DROPPED = re.compile(rf"{re.escape(DROPPED)}/{_NAME.pattern}/(.+)\.dropped", re.ASCII | re.DOTALL)


class FileKind(NamedTuple):
    """Describes a kind of file that commits name: its directory, and the paths that the exporter gives such files."""

    directory: str
    pattern: re.Pattern[str]


#: Every kind of file that a commit may name.
FILE_KINDS: Final = (
    *(FileKind(table, _PART) for table in ALL_TABLES),
    FileKind(CHANGES, re.compile(re.escape(CHANGES) + r"/.+", re.DOTALL)),
    FileKind(QUARANTINE, re.compile(re.escape(QUARANTINE) + "/.+", re.DOTALL)),
)

#: Names that systems and their tools leave in any directory.
_CLUTTER: Final = frozenset(
    {"lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "#recycle", "#snapshot", "$recycle.bin"}
)


def is_clutter(path: str) -> bool:
    """Returns whether a system left the file, or a directory around it: hidden files, indices of pictures, …"""
    return any(name.startswith(".") or name.lower() in _CLUTTER for name in path.split("/"))


def commit_path(number: int) -> str:
    """Returns where commit `number` lies; the first is 1."""
    if not 1 <= number <= 99_999_999:
        raise ValueError(f"no such commit: {number}")
    return f"{COMMITS}/{number:08d}.json"


def erasure_path(number: int) -> str:
    """Returns where the certificate of an erasure lies that commit `number` has begun."""
    return f"{ERASURES}/{number:08d}.json"


def commit_number(path: str) -> int | None:
    """Inverts `commit_path`; returns None for any other path."""
    match = _COMMIT.fullmatch(path)
    return int(match.group(1)) if match else None


def checkpoint_path(number: int) -> str:
    """Returns where the checkpoint of commit `number` lies."""
    return f"{CHECKPOINTS}/{number:08d}.json"


def checkpoint_number(path: str) -> int | None:
    """Inverts `checkpoint_path`; returns None for any other path."""
    match = _CHECKPOINT.fullmatch(path)
    return int(match.group(1)) if match else None


def part_path(table: str, partition: dict[str, str], name: str) -> str:
    """Returns the final path of a part; `partition` is what `partitions.partition_of` returns."""
    path = "/".join([*filter(None, [table, partition_text(partition)]), f"part-{_checked(name)}.parquet"])
    if not is_part(path):
        raise ValueError(f"not a part: {path!r}")
    return path


def partition_text(partition: dict[str, str]) -> str:
    """Returns the name of a partition's directories, such as `created_date=2026-02-10`; empty if it has none."""
    return "/".join(f"{key}={value}" for key, value in partition.items())


def media_directory(partition: dict[str, str]) -> str:
    """Returns where the media of a partition lies."""
    return "/".join(filter(None, [MEDIA, partition_text(partition)]))


def media_path(partition: dict[str, str], sha256: str, extension: str) -> str:
    """Returns the path of a media file, which is named by its content. No text of the API or a host may be in it.

    `extension` has no dot before it; that of encrypted media ends with `ENCRYPTED`.
    """
    path = f"{media_directory(partition)}/{sha256}.{extension}"
    if not is_media(path):
        raise ValueError(f"not media: {path!r}")
    return path


def is_media(path: str) -> bool:
    """Returns whether `media_path` may have made `path`."""
    return _MEDIA.fullmatch(path) is not None


def media_extension(path: str) -> str:
    """Returns the extension with which `media_path` has made `path`."""
    return path.rpartition("/")[2].partition(".")[2]


def media_partition(path: str) -> str:
    """Returns the partition of a media file, by its name as in `partition_text`."""
    return path.removeprefix(MEDIA).rpartition("/")[0].removeprefix("/")


def is_encrypted(path: str) -> bool:
    """Returns whether a media file, or one of the quarantine, is encrypted."""
    return path.endswith(ENCRYPTED)


def turns_path(path: str) -> str:
    """Returns the path of the part of turns beside a part of conversations."""
    return f"{TURNS}{path.removeprefix(CONVERSATIONS)}"


def conversations_path(path: str) -> str:
    """Inverts `turns_path`."""
    return f"{CONVERSATIONS}{path.removeprefix(TURNS)}"


def is_part(path: str) -> bool:
    """Returns whether `part_path` may have made `path`."""
    return _PART.fullmatch(path) is not None


def is_export_file(path: str) -> bool:
    """Returns whether a commit may name `path`."""
    return any(kind.pattern.fullmatch(path) for kind in FILE_KINDS)


def staged_media_prefix(run: str) -> str:
    """Returns how the names begin of the files into which a run fetches recordings, before they are published."""
    return f"{run}-media-"


def is_of_run(path: str, run: str) -> bool:
    """Returns whether `run` wrote a file that commits name."""
    return f"{run}-" in path.rpartition("/")[2]


def delta_log(table: str) -> str:
    """Returns where the Delta log of a table lies: the format wants it inside the table's directory."""
    return f"{table}/_delta_log"


def staging_path(name: str) -> str:
    """Returns where a file lies until it is whole."""
    return f"{STAGING}/{_checked(name)}.partial"


def beacon_path(run: str) -> str:
    """Returns where a file lies for as long as a run wants what its tasks read on other machines."""
    return staging_path(f"{run}-beacon")


def quarantine_path(name: str, *, encrypted: bool = False) -> str:
    """Returns the final path of a quarantine file, which holds a JSON object a line."""
    return f"{QUARANTINE}/{_checked(name)}.jsonl{ENCRYPTED if encrypted else ''}"


def changes_path(name: str) -> str:
    """Returns the final path of a file of changes. It does not end with `.parquet`, so that no reader takes it for a
    part."""
    return f"{CHANGES}/{_checked(name)}.changes"


def dropped_path(run: str, path: str) -> str:
    """Returns where a file lies after the repair `run` has taken it out of the export."""
    return f"{DROPPED}/{_checked(run)}/{path}.dropped"


def undropped_path(path: str) -> str | None:
    """Inverts `dropped_path`, whatever the run; returns None for any other path."""
    match = _DROPPED.fullmatch(path)
    return match.group(1) if match else None


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"not a name: {name!r}")
    return name
