"""Remembers which hosts want to be left alone, so that all downloads slow down when one is told to. Pure."""


class Hosts:
    """Holds until when each host is left alone. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def slow(self, host: str, until: float) -> None:
        """Leaves a host alone until then, or longer if that was asked for before."""
        self._until[host] = max(until, self._until.get(host, until))

    def pause(self, host: str, now: float) -> float:
        """Returns the seconds to wait before a host is asked; 0 if it may be asked now."""
        until = self._until.get(host, now)
        if until <= now:
            self._until.pop(host, None)
        return max(0.0, until - now)
