"""Keeps the lock of a destination in an object store as an object: see `lease`. Blocking code.

It is written only in place of what was read, so that one of two runs that want it gets it. To give it back, a run
empties it; only a run that has begun nothing deletes it.
"""

import time
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final

import msgspec

from exporter.clock import wall_clock
from exporter.errors import DestinationLockedError, StoreError
from exporter.layout import LOCK, PROBE
from exporter.store.local.lock import host_name
from exporter.store.objects.bucket import Bucket, StoredObject
from exporter.store.objects.lease import Lease, decode_lease, encode_lease, has_run_out, looks_abandoned, new_lease
from exporter.store.objects.probe import check_conditions, refuses_both

if TYPE_CHECKING:
    from obstore import UpdateVersion

#: A lock that others take at the same moment is tried this many times.
_TRIES: Final = 5


class RemoteLock:
    """Holds the lock, until `is_lost` says that another run has taken it over. Every method raises `StoreError`."""

    def __init__(self, bucket: Bucket, lease_seconds: float) -> None:
        self.lease_seconds: Final = lease_seconds
        self.is_lost = False
        self._bucket: Final = bucket
        self._held: tuple[Lease, UpdateVersion] | None = None
        self._free: StoredObject | None = None
        self._turn: Final = Lock()

    def prove(self) -> None:
        """Raises `DestinationError` for a store that does not heed the conditions on which the lock and the log rest.

        Where the lock lies and is free, it is what the store is tried with: then `acquire` takes it only if it is still
        as it was before.
        """
        found = self._bucket.get(LOCK)
        if found is not None and decode_lease(found.data) is None:
            with suppress(StoreError):  # the whole check says what is wrong
                if refuses_both(self._bucket, LOCK):
                    self._free = found
                    return
        check_conditions(self._bucket, PROBE)

    def acquire(self, run: str) -> None:
        """Takes the lock. Raises `DestinationLockedError` if another run has it."""
        lease = new_lease(run, host_name(), wall_clock(), self.lease_seconds)
        for _ in range(_TRIES):
            proven, self._free = self._free, None
            found = proven or self._bucket.get(LOCK)
            other = None if found is None else decode_lease(found.data)
            if found is not None and other is not None:
                age_seconds = self.now() - found.written_at
                if not has_run_out(other, age_seconds):
                    raise DestinationLockedError(_held_by(self._bucket, other, age_seconds))
            version = None if proven is None else self._bucket.put(LOCK, encode_lease(lease), proven.version)
            if version is None:
                if proven is not None:
                    # Another run has taken it, or the store does what it says it has refused.
                    check_conditions(self._bucket, PROBE)
                version = self._bucket.swap(LOCK, encode_lease(lease), "create" if found is None else found.version)
            if version is not None:
                self._held, self.is_lost = (lease, version), False
                return
        raise DestinationLockedError(f"{self._bucket.url}: several runs want it at the same time. Run again")

    def renew(self) -> None:
        with self._turn:
            if self._held is None:
                return
            lease, version = self._held
            lease = msgspec.structs.replace(lease, renewals=lease.renewals + 1)
            renewed = self._bucket.swap(LOCK, encode_lease(lease), version)
            self.is_lost = renewed is None
            self._held = None if renewed is None else (lease, renewed)

    def release(self) -> None:
        """Gives the lock back; does nothing without it."""
        with self._turn:
            if self._held is not None:
                (_, version), self._held = self._held, None
                self._bucket.swap(LOCK, b"", version)

    def remove(self) -> None:
        """Gives the lock back and leaves no object of it. Nobody else may take the lock meanwhile."""
        self.renew()
        with self._turn:
            if self._held is not None:
                self._held = None
                self._bucket.delete([LOCK, PROBE])

    def holder(self) -> Lease | None:
        """Returns the lease of the holder, as far as can be told without writing anything."""
        found = self._bucket.get(LOCK)
        lease = None if found is None else decode_lease(found.data)
        if found is None or lease is None or looks_abandoned(lease, time.time() - found.written_at):
            return None
        return lease

    def now(self) -> float:
        """Returns the time by the store's clock: that of what was just written."""
        self._bucket.put(PROBE, b"", "overwrite")
        found = self._bucket.get(PROBE)
        return time.time() if found is None else found.written_at


def _held_by(bucket: Bucket, other: Lease, age_seconds: float) -> str:
    left = max(1, round(other.lease_seconds - age_seconds))
    return (
        f"{bucket.url}: held by {other}. Wait until it ends, or stop it, then run again.\n"
        f"If it was killed, its hold ends {left} s from now"
    )
