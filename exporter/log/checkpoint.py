"""Encodes what a log folds to at one of its commits, so that a run need not read all of them. Pure.

The log alone is the truth: a checkpoint is believed only where the commit that it names lies in the log with the bytes
that it had, and is passed over for any other reason. It is one JSON object:

    {"sha256":"…","format":1,"number":64,"export_id":"…","commit_sha256":"…","commits_sha256":"…",…}

`sha256` is that of all bytes behind it and its comma. `commits_sha256` chains the commits: for each, the SHA-256 of the
text made of the chain before it and of its own SHA-256, both in hexadecimal.
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, Final

import msgspec

from exporter.contract import Instant
from exporter.coverage import Coverage, Interval
from exporter.log.dropped import DroppedFiles
from exporter.log.head import Head, sha256_of
from exporter.log.state import State
from exporter.model import ChangesFile, DataFile, ExportFile, QuarantineFile

#: Changes with everything that `State` may hold: `tests/log/test_checkpoint.py` says when.
FORMAT: Final = 1

_OPENS: Final = b'{"sha256":"'
_CLOSES: Final = b'",'
_HEADER_BYTES: Final = len(_OPENS) + 64 + len(_CLOSES)
#: State members that are written apart, because their values do not say what kind of file they are.
_APART: Final = ("live", "dropped")


class _Place(msgspec.Struct, array_like=True, frozen=True):
    """Holds what many parts have in common."""

    table: str
    partition: dict[str, str]
    policy: str
    key: str


class _Tally(msgspec.Struct, array_like=True, frozen=True):
    absent: dict[str, int]
    statuses: dict[str, int]


class _Parts(msgspec.Struct):
    """Holds parts as columns, in their order; `place` and `tally` are positions among what several share."""

    places: list[_Place]
    tallies: list[_Tally]
    place: list[int]
    tally: list[int]
    path: list[str]
    sha256: list[str]
    rows: list[int]
    size_bytes: list[int]
    window_start: list[Instant]
    window_end: list[Instant]
    created_at_min: list[Instant]
    created_at_max: list[Instant]
    withheld_rows: list[int]
    open_rows: list[int]
    recorded_rows: list[int | None]
    unrecorded_rows: list[int | None]
    media_files: list[int]
    media_bytes: list[int]


class _Files(msgspec.Struct):
    parts: _Parts
    quarantine: list[QuarantineFile]
    changes: list[ChangesFile]


class _Dropped(msgspec.Struct, array_like=True):
    run: str
    holes: Coverage
    files: _Files


class _Format(msgspec.Struct):
    format: int


class _Body(msgspec.Struct, kw_only=True):
    format: int
    number: int
    export_id: str
    commit_sha256: str
    commits_sha256: str
    commits_format: int
    live: _Files
    dropped: list[_Dropped]
    state: State


def encode_checkpoint(head: Head) -> bytes:
    """Returns the text of a checkpoint."""
    state = head.state
    body = {
        "format": FORMAT,
        "number": head.number,
        "export_id": state.export_id,
        "commit_sha256": head.commit_sha256,
        "commits_sha256": head.commits_sha256,
        "commits_format": head.commits_format,
        "live": _columns(state.live),
        "dropped": [_Dropped(one.run, one.holes, _columns(one.files)) for one in state.dropped],
        "state": {one.name: getattr(state, one.name) for one in fields(state) if one.name not in _APART},
    }
    rest = msgspec.json.encode(body, enc_hook=_encode)[1:] + b"\n"
    return _OPENS + sha256_of(rest).encode() + _CLOSES + rest


def decode_checkpoint(data: bytes, number: int) -> Head | None:
    """Returns the head that the checkpoint of commit `number` holds; None if this is none, or is damaged, or has
    another format."""
    rest = data[_HEADER_BYTES:]
    header = _OPENS + sha256_of(rest).encode() + _CLOSES
    if not data.startswith(header) or not rest.startswith(b'"format":%d,' % FORMAT):
        return None
    try:
        with _without_collection():
            body = _DECODER.decode(data)
            dropped = tuple(DroppedFiles(one.run, _files(one.files), one.holes) for one in body.dropped)
            state = replace(body.state, live=_files(body.live), dropped=dropped)
    except (msgspec.MsgspecError, ValueError, IndexError, RecursionError):
        return None
    if (state.number, state.export_id) != (body.number, body.export_id) or number != body.number:
        return None
    return Head(
        state=state,
        commit_sha256=body.commit_sha256,
        commits_sha256=body.commits_sha256,
        commits_format=body.commits_format,
        checkpoint=number,
        checkpoint_bytes=len(data),
    )


def format_of(data: bytes) -> int | None:
    """Returns the format that a checkpoint says it has; None if it says none."""
    try:
        return msgspec.json.decode(data, type=_Format).format
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _columns(files: Mapping[str, ExportFile]) -> _Files:
    places: dict[Any, tuple[int, _Place]] = {}
    tallies: dict[Any, tuple[int, _Tally]] = {}
    parts = [file for file in files.values() if isinstance(file, DataFile)]
    place, tally = list[int](), list[int]()
    for file in parts:
        where = (file.table, *file.partition.items(), file.policy, file.key)
        counted = (*file.absent.items(), None, *file.statuses.items())
        if where not in places:
            places[where] = len(places), _Place(file.table, file.partition, file.policy, file.key)
        if counted not in tallies:
            tallies[counted] = len(tallies), _Tally(file.absent, file.statuses)
        place.append(places[where][0])
        tally.append(tallies[counted][0])
    return _Files(
        _Parts(
            places=[one for _, one in places.values()],
            tallies=[one for _, one in tallies.values()],
            place=place,
            tally=tally,
            path=[file.path for file in parts],
            sha256=[file.sha256 for file in parts],
            rows=[file.rows for file in parts],
            size_bytes=[file.size_bytes for file in parts],
            window_start=[file.window.start for file in parts],
            window_end=[file.window.end for file in parts],
            created_at_min=[file.created_at_min for file in parts],
            created_at_max=[file.created_at_max for file in parts],
            withheld_rows=[file.withheld_rows for file in parts],
            open_rows=[file.open_rows for file in parts],
            recorded_rows=[file.recorded_rows for file in parts],
            unrecorded_rows=[file.unrecorded_rows for file in parts],
            media_files=[file.media_files for file in parts],
            media_bytes=[file.media_bytes for file in parts],
        ),
        [file for file in files.values() if isinstance(file, QuarantineFile)],
        [file for file in files.values() if isinstance(file, ChangesFile)],
    )


def _files(files: _Files) -> dict[str, ExportFile]:
    found: dict[str, ExportFile] = dict(_parts(files.parts))
    found.update((file.path, file) for file in (*files.quarantine, *files.changes))
    return found


def _parts(columns: _Parts) -> Iterator[tuple[str, DataFile]]:
    places, tallies = columns.places, columns.tallies
    for place, tally, path, sha256, rows, size, start, end, first, last, withheld, opened, yes, no, media, sound in zip(
        *(getattr(columns, name) for name in columns.__struct_fields__[2:]), strict=True
    ):
        shared, counted = places[place], tallies[tally]
        yield (
            path,
            DataFile(
                path=path,
                rows=rows,
                size_bytes=size,
                sha256=sha256,
                window=Interval(start, end),
                table=shared.table,
                partition=shared.partition,
                created_at_min=first,
                created_at_max=last,
                absent=counted.absent,
                withheld_rows=withheld,
                open_rows=opened,
                recorded_rows=yes,
                unrecorded_rows=no,
                statuses=counted.statuses,
                media_files=media,
                media_bytes=sound,
                policy=shared.policy,
                key=shared.key,
            ),
        )


def _encode(value: object) -> object:
    if isinstance(value, Coverage):
        return [(one.start, one.end) for one in value]
    raise NotImplementedError(type(value))


def _decode(kind: type, value: Any) -> object:
    if kind is Coverage:
        return Coverage(Interval(start, end) for start, end in value)
    raise NotImplementedError(kind)


_DECODER: Final = msgspec.json.Decoder(_Body, dec_hook=_decode)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Makes many objects, none of which is garbage: to look for some among them takes longer than to make them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
