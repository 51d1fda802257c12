"""Describes a row of the stand-in server: when it was created and changed, and what it holds.

Times are integers in microseconds, as the real server stores them (source.md, 2); `render` decides how they are
written. A `created_at` may be stored more finely, and is then cut when it is served (source.md, 14).
"""

import json
from collections.abc import Mapping

from exporter.contract import Instant


class Row:
    """Represents a conversation, given in full by its maker.

    `fields` are served as they are, beside `created_at` and `updated_at` in the server's style (unless `fields` has its
    own). `raw` is served as it is, whatever the role, `fields` or the style: for texts that no encoder would write
    (lone surrogates, NaN, duplicate keys, a missing id, no object at all). A row is hidden until `visible_from`.
    `tenths` are the tenths of a microsecond that are stored beyond `created_at`, and never served.
    """

    __slots__ = ("created_at", "fields", "raw", "tenths", "updated_at", "visible_from")

    def __init__(
        self,
        created_at: Instant,
        updated_at: Instant | None = None,
        fields: Mapping[str, object] | None = None,
        *,
        raw: str | bytes | None = None,
        visible_from: Instant | None = None,
        tenths: int = 0,
    ) -> None:
        self.created_at = created_at
        self.updated_at = created_at if updated_at is None else updated_at
        self.raw = raw.encode("utf-8") if isinstance(raw, str) else raw
        self.fields = _facts_of(self.raw) if self.raw is not None else fields or {}
        self.visible_from = visible_from
        self.tenths = tenths

    def __repr__(self) -> str:
        return f"Row({self.created_at}, id={self.facts().get('id')!r})"

    def facts(self) -> Mapping[str, object]:
        """Returns what the filters look at: every field except the transcript and the two times."""
        return self.fields

    def document(self, created_at: str, updated_at: str) -> dict[str, object]:
        """Returns every field, with the times as they are served."""
        return {"created_at": created_at, "updated_at": updated_at, **self.fields}

    def brief(self, created_at: str, updated_at: str) -> dict[str, object]:
        """Returns what `document` does, perhaps without the transcript."""
        return self.document(created_at, updated_at)

    def content(self) -> dict[str, object]:
        """Returns every field except the two times, as a row keeps them that only differs in some."""
        document = self.document("", "")
        return {name: value for name, value in document.items() if name not in ("created_at", "updated_at")}


def _facts_of(raw: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
