"""Looks names up for connections to media hosts, and refuses those that lead where no recording may be asked for."""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from exporter.errors import RefusedAddressError
from exporter.fetch.media.address import AddressRule


class GuardedResolver(AbstractResolver):
    """Refuses a name whole if any of its addresses is refused: such a name is not what it claims to be."""

    def __init__(self, rule: AddressRule, resolver: AbstractResolver) -> None:
        self._rule = rule
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Returns the addresses of a name. Raises `RefusedAddressError`, and OSError if there is no such name."""
        found = await self._resolver.resolve(host, port, family)
        if not found:
            raise OSError(f"{host}: no address")
        if not self._rule.allows_name(host, [each["host"] for each in found], port):
            raise RefusedAddressError(f"{host}: leads to an address that is not public")
        return found

    async def close(self) -> None:
        await self._resolver.close()
