"""Decodes page bytes to rows: a whole page at a time if it is plain JSON, otherwise row by row and field by field."""

from array import array
from collections.abc import Sequence
from typing import Final

import msgspec
import pyarrow as pa
from msgspec import Raw

from exporter.contract import FIELD_NAMES, Instant, TimestampStyle
from exporter.encode.columns import Columns, PageRows, values_of
from exporter.encode.decoded import DecodedPage
from exporter.encode.exact import read_page
from exporter.encode.keys import has_hidden_keys
from exporter.encode.rows import Agent, EncodeRow, ServedRow, are_learnable, exact_row_class, row_class
from exporter.encode.scan import NotRowsError, UnscannableError
from exporter.encode.schema import asked_fields
from exporter.encode.times import parse_column
from exporter.errors import ContradictionError, UnusableAnswerError
from exporter.model import Page, Rows

_FIELD_NAMES: Final = frozenset(FIELD_NAMES)
_AGENT_NAMES: Final = frozenset(Agent.__struct_fields__)
_members_of_rows = msgspec.json.Decoder(list[dict[str, Raw]])
_members_of_object = msgspec.json.Decoder(dict[str, Raw])
#: The fields that rows are placed by, whatever was asked for.
_ALWAYS_TEXT: Final = ("id", "created_at", "updated_at")
#: The one field that is free text: the others are names, numbers and ids, or JSON, which stays as it was served.
_FREE_TEXT: Final = "summary"


class Decoder:
    """Decodes the pages of one export. It learns unknown fields as they come, so that they stay cheap."""

    def __init__(self, fields: tuple[str, ...] | None) -> None:
        self._fields = asked_fields(fields)
        self._asked = frozenset(field.name for field in self._fields).union(_ALWAYS_TEXT)
        self._exact_row = exact_row_class(self._asked)
        self._unknown: frozenset[str] = frozenset()
        self._unknown_in_agent: frozenset[str] = frozenset()
        self._rows = self._row_decoder()

    def decode(self, body: bytes | memoryview, at: Instant | None = None) -> DecodedPage:
        """Returns every row of a page, in the order served; a row that does not fit is a `Misfit`.

        `at` is the time of the rows if none of them says one. Raises `UnusableAnswerError` for a text that ends before
        its array does, or is not JSON, `ContradictionError` for JSON that is not an array, and, without `at`,
        `UnplacedError` for rows without a usable `created_at` among them.
        """
        return self._decode_whole(body) or self._decode_exactly(body, at)

    def _decode_whole(self, body: bytes | memoryview) -> DecodedPage | None:
        """Returns the page if strict decoding takes every row and changes none; otherwise None."""
        rows = self._decode_strictly(body)
        if rows is None:
            return None
        if not rows:
            return DecodedPage(_page([], [], [], body), None)
        values = values_of(rows)
        try:
            columns = Columns.of(values, self._fields)
        except ValueError:
            return None
        checked = columns.with_texts({name: values[name] for name in _ALWAYS_TEXT if name not in columns.arrays})
        created_at, updated_at = (parse_column(checked.arrays[name]) for name in ("created_at", "updated_at"))
        if created_at is None or updated_at is None or not all(values["id"]):
            return None
        if has_hidden_keys(body, rows, values, checked):
            return None
        page = _page(PageRows(rows, [(len(rows), columns)]), created_at, updated_at, body)
        return DecodedPage(page, TimestampStyle.of(values["created_at"][0]))

    def _decode_strictly(self, body: bytes | memoryview) -> list[ServedRow] | None:
        # The decoder does not look inside JSON fields, where bytes that are not UTF-8 would pass.
        if not _is_utf8(body):
            return None
        try:
            try:
                return self._rows.decode(body)
            except msgspec.ValidationError:
                if not self._learn_names(body):
                    return None
                return self._rows.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return None

    def _learn_names(self, body: bytes | memoryview) -> bool:
        """Returns whether the page has unknown fields that were new and can be decoded from now on."""
        names: set[str] = set()
        names_in_agent: set[str] = set()
        for row in _members_of_rows.decode(body):
            names |= row.keys()
            agent = bytes(row.get("agent", b""))
            if agent.startswith(b"{"):
                names_in_agent |= _members_of_object.decode(agent).keys()
        unknown = self._unknown | (names - _FIELD_NAMES)
        unknown_in_agent = self._unknown_in_agent | (names_in_agent - _AGENT_NAMES)
        is_new = (unknown, unknown_in_agent) != (self._unknown, self._unknown_in_agent)
        if not is_new or not are_learnable(unknown, unknown_in_agent):
            return False
        self._unknown, self._unknown_in_agent = unknown, unknown_in_agent
        self._rows = self._row_decoder()
        return True

    def _row_decoder(self) -> msgspec.json.Decoder[list[ServedRow]]:
        rows = row_class(self._asked, sorted(self._unknown), sorted(self._unknown_in_agent))
        return msgspec.json.Decoder(list[rows])  # type: ignore[valid-type]  # a class made at run time

    def _decode_exactly(self, body: bytes | memoryview, at: Instant | None) -> DecodedPage:
        try:
            page = read_page(bytes(body), self._exact_row, self._asked, at)
        except UnscannableError as error:
            raise UnusableAnswerError(
                f"the answer ({len(body)} bytes) is cut short or is not JSON: {error}. Ask again"
            ) from error
        except NotRowsError as error:
            raise ContradictionError(
                f"the answer is not a list of conversations: {error}. Check the base URL"
            ) from error
        style = TimestampStyle.of(page.created_at_text) if page.created_at_text is not None else None
        return DecodedPage(_page(page.rows, page.created_at, page.updated_at, body), style)


def _is_utf8(body: bytes | memoryview) -> bool:
    """Checks without a copy: as a `str`, a page with a single emoji in it takes four times its bytes."""
    offsets = pa.py_buffer(array("q", (0, len(body))))
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(body)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _page(
    rows: Sequence[EncodeRow],
    created_at: Sequence[Instant],
    updated_at: Sequence[Instant | None],
    body: bytes | memoryview,
) -> Page[EncodeRow]:
    _keep_as_utf8(rows)
    return Page(Rows(rows, created_at, updated_at), len(body), all(map(_is_narrow, rows)))


def _is_narrow(row: EncodeRow) -> bool:
    if isinstance(row, ServedRow):
        return row.is_narrow() and row.extra_text() is None
    # Only an object has fields.
    return not row.text.startswith((b"{", b"base64:"))


def _keep_as_utf8(rows: Sequence[EncodeRow]) -> None:
    """Turns free texts into bytes if a `str` would take up to four times as many."""
    for row in rows:
        text = getattr(row, _FREE_TEXT, None)
        if isinstance(text, str) and not text.isascii():
            setattr(row, _FREE_TEXT, text.encode())
