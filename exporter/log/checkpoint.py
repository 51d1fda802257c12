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

from exporter.coverage import Coverage, Interval
from exporter.log.columns import NUMBERS, PERHAPS, TEXTS, Columns, Place, Tally
from exporter.log.dropped import DroppedFiles
from exporter.log.files import Files
from exporter.log.head import Head, sha256_of
from exporter.log.packed import integers_of, pack, texts_of
from exporter.log.state import State
from exporter.model import ChangesFile, ExportFile, QuarantineFile

#: Changes with everything that `State` may hold: `tests/log/test_checkpoint.py` says when.
FORMAT: Final = 2

_OPENS: Final = b'{"sha256":"'
_CLOSES: Final = b'",'
_HEADER_BYTES: Final = len(_OPENS) + 64 + len(_CLOSES)
#: State members that are written apart, because their values do not say what kind of file they are.
_APART: Final = ("live", "dropped")


class _Parts(msgspec.Struct):
    places: list[Place]
    tallies: list[Tally]
    texts: dict[str, str | list[str]]
    numbers: dict[str, str | list[int]]
    perhaps: dict[str, str | list[int | None]]


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
        "state": {
            **{one.name: getattr(state, one.name) for one in fields(state) if one.name not in _APART},
            # Its sets have no order of their own, and the same state gives the same bytes.
            "replaced": msgspec.to_builtins(state.replaced, order="deterministic"),
        },
    }
    rest = msgspec.json.encode(body, enc_hook=_encode)[1:] + b"\n"
    return _OPENS + sha256_of(rest).encode() + _CLOSES + rest


def decode_checkpoint(data: bytes, number: int) -> Head | None:
    """Returns the head that the checkpoint of commit `number` holds; None if this is none, or is damaged, or has
    another format."""
    header = _OPENS + sha256_of(memoryview(data)[_HEADER_BYTES:]).encode() + _CLOSES
    if not data.startswith(header + b'"format":%d,' % FORMAT):
        return None
    try:
        with _without_collection():
            body = _DECODER.decode(data)
        dropped = tuple(DroppedFiles(one.run, _files(one.files), one.holes) for one in body.dropped)
        state = replace(body.state, live=_files(body.live), dropped=dropped)
    except (msgspec.MsgspecError, ValueError, LookupError, RecursionError):
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
    found = Files(files)
    parts = found.packed()
    return _Files(
        _Parts(
            [*parts.places],
            [*parts.tallies],
            *({name: pack(parts.own[name]) for name in names} for names in (TEXTS, NUMBERS, PERHAPS)),
        ),
        [file for file in found.added.values() if isinstance(file, QuarantineFile)],
        [file for file in found.added.values() if isinstance(file, ChangesFile)],
    )


def _files(stored: _Files) -> Files:
    parts = stored.parts
    own = {name: texts_of(parts.texts[name]) for name in TEXTS}
    own |= {name: integers_of(parts.numbers[name]) for name in NUMBERS}
    own |= {name: integers_of(parts.perhaps[name]) for name in PERHAPS}
    columns = Columns(parts.places, parts.tallies, own)
    columns.check()
    files = Files(columns)
    for file in (*stored.quarantine, *stored.changes):
        files.add(file)
    return files


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
