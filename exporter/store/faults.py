"""What object stores answer in place of doing what was asked, in words for a user. Here alone obstore's errors end.

Their own texts hold the whole request, which may be signed, and are never repeated: of them only the store's error
code and the HTTP status are told.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from exporter.errors import StoreError

_Kind: TypeAlias = Literal["missing", "keyless", "denied", "elsewhere", "refused", "failing", "silent"]

_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
#: Of a bucket or container that is not there, in every cloud.
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})

#: `{}`: HTTP status and error code, where there are any.
_TEXTS: Final[dict[_Kind, str]] = {
    "missing": "there is no such bucket or container ({}). Create it, or name another",
    "keyless": "no credentials can be had. Set those that the cloud's own tools use, or choose a profile that has some",
    "denied": "access denied ({}). Check which credentials the environment gives, and that they may list, read, write "
    "and delete there, as the README says",
    "elsewhere": "the bucket lies elsewhere. Set its region, as AWS_REGION does",
    "refused": "the store refuses what is asked ({}). Check the endpoint and the region",
    "failing": "the store answers {}, also when asked again. Run again to resume",
    "silent": "no answer from the store. Check the network, and the endpoint if one is set; then run again to resume",
}


@contextmanager
def translating(where: object) -> Iterator[None]:
    """Turns what obstore raises in the block into a `StoreError` that names `where`."""
    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        said = " ".join(found[1] for found in (_STATUS.search(str(error)), _CODE.search(str(error))) if found)
        raise StoreError(f"{where}: {_TEXTS[_kind(error)].format(said or 'without a word why')}") from error


def is_passing(error: StoreError) -> bool:
    """Whether what was translated may be over by itself."""
    return isinstance(error.__cause__, BaseError) and _kind(error.__cause__) in ("failing", "silent")


def _kind(error: Exception) -> _Kind:
    text = str(error)
    code, found = _CODE.search(text), _STATUS.search(text)
    status = found[1] if found else ""
    if isinstance(error, FileNotFoundError) or (code and code[1] in _NO_BUCKET):
        return "missing"
    if isinstance(error, UnauthenticatedError) and not status:
        return "keyless"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or status in ("401", "403"):
        return "denied"
    if "redirect" in text.partition("\n")[0]:
        return "elsewhere"
    if not status:
        return "silent"
    return "failing" if status == "429" or status.startswith("5") else "refused"
