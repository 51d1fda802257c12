"""Remembers how the hosts of recordings have answered, and holds back what a missing option may have refused."""

from collections.abc import Collection, Iterator

from exporter.errors import RefusedAddressError
from exporter.fetch.media.address import AddressRule
from exporter.pipeline.download import Result, Wanted
from exporter.schedule.outages import ADDRESS, Outages


class MediaHosts:
    """Takes the results of downloads, and gives up hosts that fail again and again.

    A recording whose address is refused is held back until its host has answered. If at the end of a batch no host has,
    or its own is given up, then an option is more likely to be missing than all of them to be traps, and it is left
    without a row. Otherwise it is refused for good.
    """

    def __init__(self, rule: AddressRule, concurrency: int) -> None:
        self._rule = rule
        self._outages = Outages(concurrency)
        self._held: list[tuple[Wanted, Result]] = []
        #: What was said of hosts, which stays true in later batches.
        self._told: dict[str, str] = {}

    def is_given_up(self, host: str) -> bool:
        return self._outages.is_given_up(host)

    @property
    def are_all_given_up(self) -> bool:
        """Returns whether every host that was tried is given up."""
        return self._outages.are_all

    @property
    def are_barred(self) -> bool:
        """Returns whether hosts were tried, and the rule of addresses has admitted none."""
        return self._outages.has_any and not self._outages.has_any_answered

    def take(self, wanted: Wanted, result: Result) -> Iterator[tuple[Wanted, Result]]:
        """Notes a result, and yields those that are to be kept now."""
        host = wanted.link.host
        self._outages.note(host, result.reason)
        if result.reason == ADDRESS and not self._outages.has_answered(host):
            self._held.append((wanted, result))
            return
        yield from self._released({host})
        yield wanted, result

    def end_batch(self) -> tuple[list[tuple[Wanted, Result]], list[Wanted]]:
        """Returns the results that were held back and are to be kept, and what is left without a row."""
        kept = []
        if self._outages.has_any_answered:
            kept = self._released({wanted.link.host for wanted, _ in self._held}.difference(self._outages.hosts))
        left = [wanted for wanted, _ in self._held]
        self._held = []
        return kept, left

    def _released(self, hosts: Collection[str]) -> list[tuple[Wanted, Result]]:
        released = [each for each in self._held if each[0].link.host in hosts]
        self._held = [each for each in self._held if each[0].link.host not in hosts]
        return released

    def why(self) -> str:
        """Says why hosts were given up or not admitted, and which option would help; an empty text if none were. It
        must be asked before the end of the batch."""
        barred = () if self._outages.has_any_answered else (wanted.link.host for wanted, _ in self._held)
        for host in sorted({*self._outages.hosts, *barred}.difference(self._told)):
            self._told[host] = self._why(host)
        return "; ".join(self._told.values())

    def _why(self, host: str) -> str:
        refused = next((wanted.link for wanted, _ in self._held if wanted.link.host == host), None)
        if refused is None:
            return f"{host}: the last recordings could not be fetched: {self._outages.reason(host)}"
        try:
            self._rule.target(refused.url)
        except RefusedAddressError as error:
            return str(error)
        return f"{host}: its addresses are not public; --allow-network names private networks that may be read"
