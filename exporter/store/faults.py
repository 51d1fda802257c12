"""What object stores answer in place of doing what was asked, in words for a user. Here alone obstore's errors end.

Their own texts hold the whole request, which may be signed, and are never repeated: of them only the store's error
code and the HTTP status are told.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from exporter.errors import StoreError

_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
#: Of a bucket or container that is not there, in every cloud.
_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_DENIED: Final = (
    "Check which credentials the environment gives, and that they may list, read, write and delete there; the README "
    "names what is needed"
)
_UNREACHED: Final = "Check the network, and the endpoint if one is set; then run again to resume"


@contextmanager
def translating(where: object) -> Iterator[None]:
    """Turns what obstore raises in the block into a `StoreError` that names `where`."""
    try:
        yield
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise StoreError(f"{where}: {_describe(error)}") from error


def is_passing(error: StoreError) -> bool:
    """Whether what was translated may be over by itself: no answer, or one that says that the store has a problem."""
    cause = error.__cause__
    if not isinstance(cause, BaseError) or isinstance(cause, PermissionDeniedError | UnauthenticatedError):
        return False
    status = _STATUS.search(str(cause))
    return status is None or status[1] == "429" or status[1].startswith("5")


def _describe(error: Exception) -> str:
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    said = " ".join(found[1] for found in (status, code) if found)
    if (code and code[1] in _NO_BUCKET) or isinstance(error, FileNotFoundError):
        return f"there is no such bucket or container ({said or 'not found'}). Create it, or name another"
    if isinstance(error, UnauthenticatedError) and not status:
        return "no credentials can be had. Set those that the cloud's own tools use, or choose a profile that has some"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return f"access denied ({said or 'no credentials that are valid'}). {_DENIED}"
    if status and status[1][0] == "3":
        return f"the bucket lies elsewhere ({said}). Set its region, as AWS_REGION"
    if status:
        return f"the store answers {said}, also when asked again. {_UNREACHED}"
    return f"no answer from the store. {_UNREACHED}"
