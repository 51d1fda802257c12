"""Says who is to be erased, as somebody asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from exporter.encode.schema import EXTRA
from exporter.errors import UsageError
from exporter.keys import Key, Keys
from exporter.log.state import State
from exporter.parts.columns import ID_COLUMN
from exporter.parts.subjects import Subject, digits_of, steps_of
from exporter.pipeline.admission import TOMBSTONE
from exporter.pipeline.erasure_scan import Sought
from exporter.run.erasure_subject import subject_of_values, withheld_tags
from exporter.settings import Request

_REFERENCE_CHARACTERS: Final = 200
#: A filter that holds a value of at least this many characters names somebody; a shorter one may be in any text.
_LEAST_PART: Final = 5


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Says who is to be erased: `values` of the column or path `by`, and `ids` of conversations. `repr` shows none.

    With `digits`, digits alone are compared. `future` also leaves out what comes later. `mentions` lists other
    conversations whose text has a value. The `reference` is that of the request, for the certificate.
    """

    by: str | None = None
    values: Sequence[str] = field(default=(), repr=False)
    ids: Sequence[str] = field(default=(), repr=False)
    digits: bool = False
    future: bool = False
    mentions: bool = False
    reference: str | None = None

    @property
    def all_ids(self) -> tuple[str, ...]:
        """Returns the ids of conversations that are given, in either way."""
        return (*self.ids, *(self.values if self.by == ID_COLUMN else ()))

    def check(self) -> None:
        """Raises `UsageError` for what cannot be meant; it shows no value."""
        if self.values and self.by is None:
            raise UsageError("--values-from: give --by, the column or path that has the values")
        if self.by is not None and not self.values:
            raise UsageError(f"--by {self.by}: give --values-from, a file with a value a line, or - for stdin")
        column = None if self.by is None else steps_of(self.by)[0]
        if self.future and column == EXTRA:
            raise UsageError(
                f"--future: later runs do not always read what no column holds ({self.by}), so that they cannot tell. "
                "Leave --future out, and erase again when more has come"
            )
        reference = self.reference
        if reference is not None:
            if len(reference) > _REFERENCE_CHARACTERS or not reference.isprintable():
                raise UsageError(f"--reference: must be one line of at most {_REFERENCE_CHARACTERS} characters")
            if any(value in reference for value in (*self.values, *self.ids)):
                raise UsageError("--reference: holds a value; the certificate keeps it, so give its number")

    def subject(self, state: State, keys: Keys) -> Subject | None:
        """Returns whose rows to look for by a value, if there is one. Raises as `subject_of_values`."""
        if self.by is None:
            return None
        request = state.request or Request()
        return subject_of_values(request, state.privacy, keys, self.by, self.values, digits=self.digits)

    def sought(self, state: State, keys: Keys, subject: Subject | None, key: Key | None) -> Sought:
        """Returns what to look for; with the `key`, also those who were erased before. Raises `ProtectionError`
        without the key of the policy."""
        withheld = frozenset[str]() if subject is None else withheld_tags(state.privacy, keys, subject, self.values)
        return Sought(
            ids=frozenset(self.all_ids),
            subject=subject,
            tombstones=frozenset() if key is None else state.privacy.tombstones,
            tag=None if key is None else key.tagger(TOMBSTONE),
            texts=tuple(self.values),
            withheld=withheld,
        )

    def is_named_by(self, request: Request, subject: Subject | None) -> bool:
        """Returns whether the filters of an export, which the log and the manifest hold, name somebody."""
        texts = [
            text
            for filter_ in request.filters.values()
            for text in ((filter_,) if isinstance(filter_, str) else filter_)
        ]
        if subject is not None and subject.digits:
            return any(value in digits_of(text) for text in texts for value in subject.values)
        wanted = [one.casefold() for one in (*self.values, *self.all_ids)]
        found = [text.casefold() for text in texts]
        parts = [value for value in wanted if len(value) >= _LEAST_PART]
        return any(value in found for value in wanted) or any(value in text for value in parts for text in found)
