"""Keeps a part of the disk free, so that a commit does not fail half-way."""

from typing import Final

from exporter.errors import StoreError
from exporter.store.base import Store
from exporter.words import format_size, told_apart

#: With less free space than this nothing is written, because the log and the manifest must fit on the disk as well.
RESERVED_BYTES: Final = 64_000_000


async def check_free_space(store: Store, reserved_bytes: int = RESERVED_BYTES) -> None:
    """Raises `StoreError` if the disk is so full that a commit might fail half-way."""
    free = await store.free_bytes()
    if free < reserved_bytes:
        there, kept = told_apart(format_size, free, reserved_bytes)
        raise StoreError(
            f"{store.staged_on}: {there} free on its disk, less than the {kept} that are kept free. Make room, then "
            "run again"
        )
