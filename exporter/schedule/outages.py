"""Decides which hosts of recordings are given up, because one after another fails. Pure.

What says nothing about a host does not count: one recording may be empty, too large or forbidden, and the next one may
not. A host that is down would cost every recording its attempts, and a host that no address rule admits would make
every recording one that is refused for good, though only an option is missing.
"""

from collections.abc import Collection
from typing import Final

#: A host is given up after this many failures in a row, and no fewer than a few for each download at once.
_FAILURES_IN_A_ROW: Final = 24
_FAILURES_PER_DOWNLOAD: Final = 3
ADDRESS: Final = "address"
#: What a host says, or does, that is down or serves a page in place of everything. It may also begin with these.
_OF_HOSTS: Final = frozenset({ADDRESS, "attempts", "short", "slow", "certificate", "redirects"})
_OF_HOSTS_BEGIN: Final = ("status 5", "status 429", "type ")


class Outages:
    """Counts how often each host has failed in a row, with at most `concurrency` downloads at once."""

    def __init__(self, concurrency: int) -> None:
        self._most: Final = max(_FAILURES_IN_A_ROW, _FAILURES_PER_DOWNLOAD * concurrency)
        self._in_a_row: Final = dict[str, int]()
        #: With the reason. What was under way when a host was given up may still end well, and changes nothing.
        self._given_up: Final = dict[str, str]()
        self._answered: Final = set[str]()

    def note(self, host: str, reason: str | None) -> None:
        """Notes how a download ended: without a reason, the recording came."""
        if reason in _OF_HOSTS or (reason or "").startswith(_OF_HOSTS_BEGIN):
            self._in_a_row[host] = self._in_a_row.get(host, 0) + 1
            if self._in_a_row[host] == self._most:
                self._given_up.setdefault(host, reason or "")
        else:
            self._in_a_row[host] = 0
        if reason != ADDRESS:
            self._answered.add(host)

    def is_given_up(self, host: str) -> bool:
        """Returns whether no more links to a host are worth following."""
        return host in self._given_up

    def has_answered(self, host: str) -> bool:
        """Returns whether the rule of addresses has ever let a link to a host pass."""
        return host in self._answered

    @property
    def has_any(self) -> bool:
        """Returns whether any host was tried."""
        return bool(self._in_a_row)

    @property
    def has_any_answered(self) -> bool:
        """Returns whether any link has passed the rule of addresses."""
        return bool(self._answered)

    @property
    def hosts(self) -> Collection[str]:
        """Returns the hosts that are given up."""
        return self._given_up.keys()

    @property
    def are_all(self) -> bool:
        """Returns whether every host that was tried is given up."""
        return bool(self._in_a_row) and len(self._given_up) == len(self._in_a_row)

    @property
    def are_failing(self) -> bool:
        """Returns whether the last recording of any host did not come."""
        return any(self._in_a_row.values())

    def reason(self, host: str) -> str:
        """Returns why the last recording did not come from a host that is given up."""
        return self._given_up[host]
