"""Tries what a run asks of an object store, with one object that it writes and deletes. Blocking code.

Two runs tell by conditional writes alone which of them was first to create a commit or take the lock. So a store must
show that it heeds them.
"""

import re
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from exporter.contract import HOUR, SECOND, Instant
from exporter.errors import DestinationError, StoreError
from exporter.layout import CHECKS, PRIVATE
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.errors import fault_of, is_passing

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion

_WHY_CONDITIONS: Final = (
    "so two runs at the same time would destroy each other's work.\n"
    "Upgrade it to a version with conditional writes, or choose another destination"
)
#: No version of any object is called this.
_OTHER_VERSION: Final["UpdateVersion"] = {"e_tag": f'"{"0" * 32}"', "version": "1"}
#: What a check has written names when, in seconds since 1970. No check takes an hour.
_TRIAL: Final = re.compile(rf"{CHECKS}(\d{{1,12}})-[0-9a-f]{{16}}", re.ASCII)
_ABANDONED: Final = HOUR


def trial_path(now: Instant) -> str:
    """Returns the path of an object to try the store with, which no other has."""
    return f"{CHECKS}{now // SECOND}-{secrets.token_hex(8)}"


def abandoned_trials(paths: Iterable[str], now: Instant) -> list[str]:
    """Returns those of the paths that a check has left which was killed, or could not delete."""
    made = ((path, _TRIAL.fullmatch(path)) for path in paths)
    return [path for path, match in made if match and abs(now - int(match[1]) * SECOND) > _ABANDONED]


def check_conditions(bucket: Bucket, path: str) -> None:
    """Raises `DestinationError` for a store that refuses or ignores the conditions of writes to the object at `path`,
    and `StoreError`."""
    try:
        # Another run, which has begun nothing, may delete the object in between.
        if _heeds_conditions(bucket, path) or _heeds_conditions(bucket, path):
            return
    except StoreError as error:
        if is_passing(error):
            raise
        # If a write without a condition is also refused, this says why.
        check_write(bucket, path)
        fault = fault_of(error)
        raise DestinationError(
            f"{bucket.url}: this store refuses writes with If-None-Match or If-Match "
            f"({fault.said if fault else 'though nobody else writes'}), {_WHY_CONDITIONS}"
        ) from error
    check_write(bucket, path)
    raise DestinationError(f"{bucket.url}: this store ignores If-None-Match or If-Match, {_WHY_CONDITIONS}")


def refuses_both(bucket: Bucket, path: str) -> bool:
    """Returns whether the store refuses two writes to an object that is there, as it must; False says nothing, because
    an answer may have been lost, or there may be none. A caller must see that the object has not changed.

    No exporter takes what is written for a lease. Raises `StoreError`.
    """
    modes: tuple[PutMode, ...] = ("create", _OTHER_VERSION)
    return all(bucket.put(path, secrets.token_bytes(8), mode) is None for mode in modes)


def _heeds_conditions(bucket: Bucket, path: str) -> bool:
    heeds_absence = bucket.swap(path, b"1", "create") is None or bucket.swap(path, b"2", "create") is None
    return heeds_absence and bucket.swap(path, b"3", _OTHER_VERSION) is None


def check_write(bucket: Bucket, path: str) -> None:
    """Raises `DestinationError` if nothing can be written, or what was written cannot be read; and `StoreError`."""
    try:
        bucket.put(path, b"", "overwrite")
        found = bucket.get(path)
    except StoreError as error:
        raise error if is_passing(error) else DestinationError(str(error)) from error
    if found is None:
        raise DestinationError(
            f"{bucket.url / path}: what was just written is not there. Check the endpoint, and what stands "
            "before the store, such as a proxy or a login page"
        )


def check_list(bucket: Bucket, path: str) -> None:
    """Raises `DestinationError` if the object at `path` is not in the list of what is there, and `StoreError`."""
    if path not in bucket.sizes(PRIVATE):
        raise DestinationError(
            f"{bucket.url / path}: just written, and the store does not list it. A run would take it for missing. "
            "Choose a store whose lists show at once what is written"
        )


def check_delete(bucket: Bucket, path: str) -> None:
    """Deletes the object at `path`. Raises `StoreError`, which says that it stays, if that is refused."""
    try:
        bucket.delete([path])
        is_left = bucket.size(path) is not None
    except StoreError as error:
        raise error.with_advice(f"{bucket.url / path} stays there. Runs must delete what they replace") from error
    if is_left:
        raise StoreError(
            f"{bucket.url / path}: deleted, as the store says, and still there. Runs must delete what they replace"
        )


def take_away(bucket: Bucket, path: str) -> str:
    """Deletes the object at `path`, if there is one. Returns what stays and why, or an empty text."""
    try:
        if bucket.size(path) is not None:
            check_delete(bucket, path)
    except StoreError as error:
        return f"{bucket.url / path} may stay there, because it could not be deleted: {error}"
    return ""
