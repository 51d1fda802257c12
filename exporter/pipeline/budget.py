"""The bytes in flight: pages that have been asked for, or read, and are not yet written."""

import anyio


class ByteBudget:
    """Keeps the bytes that are held at once below `limit`; but one page, however large, is always let through.

    How large a page will be is not known when it is asked for: the largest one so far is reserved for it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._largest = 0
        self._changed = anyio.Event()

    async def reserve(self) -> int:
        """Waits until there is room for a page; returns the bytes to `release`, or to `adjust`."""
        while self._held and self._held + self._largest > self._limit:
            await self._changed.wait()
        self._held += self._largest
        return self._largest

    def adjust(self, reserved: int, size: int) -> int:
        """The page has come and has `size`; returns the bytes to release."""
        self._largest = max(self._largest, size)
        self._held += size - reserved
        self._wake()
        return size

    def release(self, size: int) -> None:
        self._held -= size
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
