"""Lists parts in the text of a manifest, and takes over the lists of an older text for those that are still there.

A text is a frame, whose lists of parts are empty, with a list for each table in its place. In it, a line that holds
only the opening brace of a part is indented as no other one is, and no string holds the end of a line.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from exporter.contract import format_instant
from exporter.coverage import Interval
from exporter.log.files import Files, TableParts
from exporter.model import DataFile

_TABLES: Final = b'\n  "tables": {'
_FILES: Final = b'\n      "files": '
_NONE: Final = b"[]"
_OPENS: Final = b"[\n        {"
_CLOSES: Final = b"}\n      ]"
_BETWEEN: Final = b"},\n        {"
#: The end of a line, and how much deeper a part stands in a manifest than alone.
_INDENTED: Final = b"\n        "


def cut(frame: bytes, tables: Iterable[str]) -> list[bytes]:
    """Returns what stands around the lists of parts, whose places are empty in a `frame`."""
    around, start = list[bytes](), 0
    at = frame.index(_TABLES)
    for _ in tables:
        at = frame.index(_FILES + _NONE, at) + len(_FILES)
        around.append(frame[start:at])
        start = at = at + len(_NONE)
    return [*around, frame[start:]]


def filled(around: list[bytes], lists: Iterable[bytes | memoryview]) -> list[bytes | memoryview]:
    """Returns what stands between the first and the last piece of the text with lists in their places, in pieces."""
    return [text for pair in zip(lists, around[1:], strict=True) for text in pair][:-1]


def lists_in(text: bytes, end_of_text: int, around: list[bytes]) -> list[bytes | memoryview] | None:
    """Returns the lists of a text that was made by `filled`, and ends there; None if it was not made with these
    surroundings."""
    end_of_lists, whole = end_of_text - len(around[-1]), memoryview(text)
    if not text.startswith(around[0]) or whole[end_of_lists:end_of_text] != around[-1]:
        return None
    found, start = list[bytes | memoryview](), len(around[0])
    for following in around[1:-1]:
        end = text.find(following, start, end_of_lists)
        if end < 0:
            return None
        found.append(whole[start:end])
        start = end + len(following)
    return [*found, whole[start:end_of_lists]]


def list_parts(files: Files, table: str) -> bytes:
    """Returns the list of the parts of a table, from old to new."""
    parts = TableParts(files, table)
    return _listed(map(_described, sorted(parts, key=lambda file: (file.window.start, file.window.end, file.path))))


def are_same(before: Files, after: Files) -> bool:
    """Returns whether both surely list the same parts; otherwise only a look at each of them tells."""
    return before is after or (_shared(before, after) and before.gone == after.gone and before.added == after.added)


def list_again(text: bytes | memoryview, before: Files, after: Files, table: str) -> bytes | memoryview:
    """Returns what `list_parts` does `after`, of which `text` is what it has returned `before`. Raises `ValueError` if
    that cannot be."""
    if are_same(before, after):
        return text
    text = bytes(text)
    texts = [] if text == _NONE else text.removeprefix(_OPENS).removesuffix(_CLOSES).split(_BETWEEN)
    known = dict(zip(_ordered(before, table), texts, strict=True))
    for path in _changed(before, after):
        known.pop(path, None)
    parts = TableParts(after, table)
    return _listed(known.get(path) or _described(*parts.at([path])) for path in _ordered(after, table))


def _ordered(files: Files, table: str) -> list[str]:
    parts = files.each("window.start", "window.end", "path", "table")
    return [path for _, _, path, _ in sorted(one for one in parts if one[3] == table)]


def _changed(before: Files, after: Files) -> Iterator[str]:
    """Yields the paths of which it is not sure that the same part has them before and after."""
    if not _shared(before, after):
        yield from before
        return
    yield from (before.columns.paths[position] for position in before.gone ^ after.gone)
    for path in before.added.keys() | after.added.keys():
        if before.added.get(path) != after.added.get(path):
            yield path


def _shared(before: Files, after: Files) -> bool:
    return before.columns is after.columns or not (before.columns or after.columns)


def _listed(texts: Iterable[bytes]) -> bytes:
    inside = _BETWEEN.join(texts)
    return _OPENS + inside + _CLOSES if inside else _NONE


def _described(file: DataFile) -> bytes:
    """Returns the text of a part, as deep as it stands in a manifest, without the braces around it."""
    described: dict[str, Any] = {
        "path": file.path,
        "rows": file.rows,
        "bytes": file.size_bytes,
        "sha256": file.sha256,
        "partition": file.partition,
        "created_at": {"min": format_instant(file.created_at_min), "max": format_instant(file.created_at_max)},
        "window": interval_text(file.window),
    }
    if file.policy:
        described["policy"] = file.policy
    if file.key:
        described["key"] = file.key
    text = msgspec.json.format(msgspec.json.encode(described), indent=2)
    return text[1:-1].replace(b"\n", _INDENTED)


def interval_text(interval: Interval) -> Mapping[str, str | None]:
    """Returns what a manifest says of an interval."""
    return {
        "start": None if interval.open_below else format_instant(interval.start),
        "end": format_instant(interval.end),
    }
