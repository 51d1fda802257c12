"""A lock that reaches across machines: who holds a destination, until when, and whether that has run out. Pure.

The lock is an object that the holder renews. Whoever finds that it was not renewed for as long as the lease lasts may
take it over; ages are told by the store's own clock, since those of machines differ. Nothing rests on the lock alone: a
run whose lease has run out while it slept fails at its next commit, for the other run has begun with one.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from exporter.contract import Instant
from exporter.store.base import LockHolder

#: Who is killed keeps others out for so long, at most; who cannot reach the store for so long may lose it.
LEASE_SECONDS: Final = 60.0
#: Of the store's clock: stores tell times in whole seconds, and may be several machines.
_MARGIN_SECONDS: Final = 3.0
#: By how much the clock of a machine that only looks on may be wrong.
_LOOKER_MARGIN_SECONDS: Final = 240.0


class Lease(LockHolder, frozen=True, kw_only=True):
    """`machine`: what tells this machine, since it was started, from others; empty where that is not known.

    `renewals`: how often it was renewed, so that no two contents are equal.
    """

    machine: str
    lease_seconds: float
    renewals: int = 0


def new_lease(run: str, host: str, since: Instant, lease_seconds: float) -> Lease:
    """That of a run in this process."""
    return Lease(pid=os.getpid(), host=host, run=run, since=since, machine=_machine(), lease_seconds=lease_seconds)


def encode_lease(lease: Lease) -> bytes:
    return msgspec.json.encode(lease) + b"\n"


def decode_lease(data: bytes) -> Lease | None:
    """None where nobody holds it: it was given back, or never written by an exporter."""
    try:
        return msgspec.json.decode(data, type=Lease)
    except msgspec.MsgspecError:
        return None


def has_run_out(lease: Lease, age_seconds: float) -> bool:
    """Whether another run may take it. `age_seconds`: by the store's clock, since it was last renewed."""
    return age_seconds > lease.lease_seconds + _MARGIN_SECONDS or _process_is_gone(lease)


def looks_abandoned(lease: Lease, age_seconds: float) -> bool:
    """As `has_run_out`, for who only looks on, and knows the age by the clock of this machine."""
    return age_seconds > lease.lease_seconds + _LOOKER_MARGIN_SECONDS or _process_is_gone(lease)


def _process_is_gone(lease: Lease) -> bool:
    if not lease.machine or lease.machine != _machine():
        return False
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _machine() -> str:
    """Of this boot, and of the processes that can be seen: containers on one machine may give one number twice."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return hashlib.sha256(boot + str(namespace).encode()).hexdigest()[:16]
