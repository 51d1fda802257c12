"""Decides who holds a lock that reaches across machines, until when, and whether it has run out. Pure.

The lock is an object that the holder renews. A run that finds it not renewed for as long as the lease lasts may take it
over; its age is told by the store's own clock, because those of machines differ. Nothing rests on the lock
alone: a run whose lease has run out while it slept fails at its next commit, because the other run has begun with one.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from exporter.contract import Instant
from exporter.store.base import LockHolder

#: A killed run keeps others out at most this long; a run that cannot reach the store this long may lose its lock.
LEASE_SECONDS: Final = 60.0
#: The store's clock may be wrong by this much: stores tell times in whole seconds, and may be several machines.
_MARGIN_SECONDS: Final = 3.0
#: The clock of a machine that only looks on may be wrong by this much.
_LOOKER_MARGIN_SECONDS: Final = 240.0


class Lease(LockHolder, frozen=True, kw_only=True):
    """Adds what a lease needs. `machine` tells a machine, since its start, from others, and is empty if not known.

    `renewals` counts the renewals of the lease, so that no two contents are equal.
    """

    machine: str
    lease_seconds: float
    renewals: int = 0


def new_lease(run: str, host: str, since: Instant, lease_seconds: float) -> Lease:
    """Returns the lease of a run in this process."""
    return Lease(pid=os.getpid(), host=host, run=run, since=since, machine=_machine(), lease_seconds=lease_seconds)


def encode_lease(lease: Lease) -> bytes:
    return msgspec.json.encode(lease) + b"\n"


def decode_lease(data: bytes) -> Lease | None:
    """Returns the lease, or None if nobody holds it: it was given back, or never written by an exporter."""
    try:
        return msgspec.json.decode(data, type=Lease)
    except msgspec.MsgspecError:
        return None


def has_run_out(lease: Lease, age_seconds: float) -> bool:
    """Returns whether another run may take it, `age_seconds` after its last renewal by the store's clock."""
    return age_seconds > lease.lease_seconds + _MARGIN_SECONDS or _process_is_gone(lease)


def looks_abandoned(lease: Lease, age_seconds: float) -> bool:
    """Returns the same as `has_run_out`, when the age is known only by this machine's clock."""
    return age_seconds > lease.lease_seconds + _LOOKER_MARGIN_SECONDS or _process_is_gone(lease)


def _process_is_gone(lease: Lease) -> bool:
    if not lease.machine or lease.machine != _machine():
        return False
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _machine() -> str:
    """Names this boot and the visible processes, because containers on one machine may use one number twice."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return hashlib.sha256(boot + str(namespace).encode()).hexdigest()[:16]
