"""Says in one line why deltalake could not read or write a table. Its own texts have several, in colour, and may hold
signed addresses and whatever a store answers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from deltalake.exceptions import CommitFailedError, DeltaError

from exporter.errors import ForeignTableError, StoreError
from exporter.store.objects.refusals import TEXTS, FaultKind, kind_of

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_STATUS: Final = re.compile(r"status code[:\s↳]+(\d{3})\b")
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9_.-]{1,64})</Code>")
#: Some of its texts end with the calls that led there.
_CALLS: Final = re.compile(r"\n\s*0: .*", re.DOTALL)
_QUERY: Final = re.compile(r"\?\S+")
#: These are its words for a request that got no answer, in the order in which they count.
_UNANSWERED: Final[dict[str, FaultKind]] = {
    "invalid peer certificate": "untrusted",
    "error sending request": "silent",
    "HTTP error": "silent",
}
#: These are its words for a log that is torn, or has gaps: reading it again would fail in the same way.
_DAMAGED: Final = re.compile(
    r"Json error|Arrow error|Invalid Checkpoint|contiguous commit files|No table metadata or protocol"
)
_LONGEST: Final = 300


@contextmanager
def reporting(where: str) -> Iterator[None]:
    """Turns what deltalake raises in the block into a `StoreError` that names `where`: a `ForeignTableError` if the log
    is damaged."""
    try:
        yield
    except CommitFailedError as error:
        raise StoreError(f"{where}: another program has written to it at the same time. Run again") from error
    except (DeltaError, OSError, ValueError) as error:
        text = _CALLS.sub("", _COLOUR.sub("", str(error)))
        kind, said = _fault(text)
        if kind is None and (words := _DAMAGED.search(text)):
            raise ForeignTableError(where, f"its log is damaged ({words[0]})") from error
        raise StoreError(f"{where}: {_describe(text, kind, said)}") from error


def _fault(text: str) -> tuple[FaultKind | None, str]:
    """Returns what the store has answered, if it did, in a kind and as its status and code."""
    status, code = (found[1] if (found := pattern.search(text)) else "" for pattern in (_STATUS, _CODE))
    kind = kind_of(status, code) or next((kind for words, kind in _UNANSWERED.items() if words in text), None)
    return kind, " ".join(filter(None, (status, code)))


def _describe(text: str, kind: FaultKind | None, said: str) -> str:
    if kind == "untrusted":
        return "the store's certificate is not trusted. Set SSL_CERT_FILE to the file of its authority, and run again"
    if kind is not None:
        return TEXTS[kind].format(said or "the connection failed")
    line = _QUERY.sub("", " ".join(text.replace("↳", ":").split())).replace(" :", ":")
    return f"cannot be read or written: {line[:_LONGEST].rstrip('.')}. Run again"
