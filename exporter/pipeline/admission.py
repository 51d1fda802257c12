"""Keeps out the rows of conversations that were erased, before anything is made of them.

Nobody can tell from the log who they were: it holds keyed hashes, so that a run without the key can take no row at all.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import compress
from typing import Any, Final, Self

from msgspec import UNSET, Raw

from exporter.encode.rows import Agent, EncodeRow, Misfit
from exporter.keys import Key, Keys
from exporter.log.privacy import Privacy
from exporter.model import Rows
from exporter.parts.lenient import decode
from exporter.parts.subjects import Stored, as_served, digits_of, steps_of, text_of, values_at

#: What the hashes are for: those of ids, and those of values by which new conversations are left out.
TOMBSTONE: Final = "tombstone"
_SUBJECT: Final = "subject"
_DIGITS: Final = "digits "


def tombstone_of(key: Key, identity: str) -> str:
    """Returns what the log keeps of the id of a conversation that was erased."""
    return key.tag(TOMBSTONE, identity)


def subject_of(key: Key, by: str, value: str, *, digits: bool = False) -> str:
    """Returns what the log keeps of a value, as it is stored, by which new conversations are left out."""
    return f"{_DIGITS if digits else ''}{by}:{key.tag(_SUBJECT, value)}"


def subject_columns(privacy: Privacy) -> tuple[str, ...]:
    """Returns the columns by which new conversations are left out."""
    return tuple(sorted({steps_of(_place_of(subject)[0])[0] for subject in privacy.subjects}))


def _place_of(subject: str) -> tuple[str, bool]:
    place = subject.rpartition(":")[0]
    return place.removeprefix(_DIGITS), place.startswith(_DIGITS)


class Admission:
    """Decides which rows of one run may be taken. `stored` makes of a served value what is stored of it."""

    def __init__(self, privacy: Privacy, key: Key | None, stored: Stored = as_served) -> None:
        self._tombstones = privacy.tombstones
        self._subjects: defaultdict[tuple[str, bool], set[str]] = defaultdict(set)
        for subject in privacy.subjects:
            self._subjects[_place_of(subject)].add(subject.rpartition(":")[2])
        self._tombstone: Callable[[str], str] | None = None if key is None else key.tagger(TOMBSTONE)
        self._subject: Callable[[str], str] | None = None if key is None else key.tagger(_SUBJECT)
        self._stored = stored
        self._kept_out = set[str]()

    @classmethod
    def of(cls, privacy: Privacy, keys: Keys, stored: Stored = as_served) -> Self:
        """Returns the admission of an export. Raises `ProtectionError` if somebody was erased from it, and their key is
        not here."""
        reference = privacy.erasure_key
        return cls(privacy, None if reference is None else keys.privacy(reference), stored)

    @property
    def kept_out(self) -> int:
        """Returns how many conversations were served and not taken."""
        return len(self._kept_out)

    @property
    def kept_out_tags(self) -> frozenset[str]:
        """Returns the keyed hashes of their ids."""
        return frozenset(self._kept_out)

    def note_kept_out(self, tags: Iterable[str]) -> None:
        """Counts conversations, by these hashes, that were kept out elsewhere; each counts once."""
        self._kept_out.update(tags)

    def admit(self, rows: Rows[EncodeRow]) -> Rows[EncodeRow]:
        """Returns the rows that may be taken."""
        tombstone, tombstones = self._tombstone, self._tombstones
        if tombstone is None:
            return rows
        tags = [tombstone(row.id) for row in rows.rows]
        keep = [tag not in tombstones for tag in tags]
        if self._subjects:
            keep = [admitted and not self._is_subject(row) for admitted, row in zip(keep, rows.rows, strict=True)]
        if all(keep):
            return rows
        self._kept_out.update(tag for tag, admitted in zip(tags, keep, strict=True) if not admitted)
        return Rows(
            list(compress(rows.rows, keep)),
            list(compress(rows.created_at, keep)),
            list(compress(rows.updated_at, keep)),
        )

    def _is_subject(self, row: EncodeRow) -> bool:
        subject = self._subject
        if subject is None:
            return False
        for (by, digits), tags in self._subjects.items():
            for value in _served_at(row, steps_of(by)):
                text = text_of(value)
                if text is None:
                    continue
                # A value that was erased before a policy hashed it is remembered as it was served.
                forms = {digits_of(text)} if digits else {text, self._stored(by, text)}
                if not tags.isdisjoint(map(subject, forms)):
                    return True
        return False


def _served_at(row: EncodeRow, steps: tuple[str, ...]) -> Iterator[Any]:
    """Yields what a row was served with at the end of a path."""
    if isinstance(row, Misfit):
        yield from values_at(decode(row.text), steps)
        return
    value = getattr(row, steps[0], UNSET)
    if isinstance(value, Agent):
        value = {name: getattr(value, name) for name in ("id", "name") if getattr(value, name) is not UNSET}
    if isinstance(value, bytes):
        value = value.decode(errors="replace")  # free text is UTF-8
    if value is not UNSET:
        yield from values_at(decode(value) if isinstance(value, Raw) else value, steps[1:])
