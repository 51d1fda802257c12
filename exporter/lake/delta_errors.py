"""Says in one line why deltalake could not read or write a table. Its own texts have several, in colour, and may hold
signed addresses and whatever a store answers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from deltalake.exceptions import CommitFailedError, DeltaError

from exporter.errors import StoreError
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
_LONGEST: Final = 300


@contextmanager
def reporting(where: str) -> Iterator[None]:
    """Turns what deltalake raises in the block into a `StoreError` that names `where`."""
    try:
        yield
    except CommitFailedError as error:
        raise StoreError(f"{where}: another program has written to it at the same time. Run again") from error
    except (DeltaError, OSError, ValueError) as error:
        raise StoreError(f"{where}: {_describe(str(error))}") from error


def _describe(text: str) -> str:
    text = _CALLS.sub("", _COLOUR.sub("", text))
    status, code = (found[1] if (found := pattern.search(text)) else "" for pattern in (_STATUS, _CODE))
    kind = kind_of(status, code) or next((kind for words, kind in _UNANSWERED.items() if words in text), None)
    if kind == "untrusted":
        return "the store's certificate is not trusted. Set SSL_CERT_FILE to the file of its authority, and run again"
    if kind is not None:
        return TEXTS[kind].format(" ".join(filter(None, (status, code))) or "the connection failed")
    line = _QUERY.sub("", " ".join(text.replace("↳", ":").split())).replace(" :", ":")
    return f"cannot be read or written: {line[:_LONGEST].rstrip('.')}. Run again"
