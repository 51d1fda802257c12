"""Measures how fast a run is, and estimates how much is left: plain figures from its snapshots."""

from collections import deque
from typing import Final

import msgspec

from exporter.progress import Snapshot

_RECENT_SECONDS: Final = 10.0
#: Before this, what is left cannot be told from what has come: the first pages say little about the others.
_LEAST_SECONDS: Final = 10.0
_LEAST_FILES: Final = 3
_LEAST_SHARE: Final = 0.1
#: From this share on, the rest can hold little that would surprise.
_LARGE_SHARE: Final = 0.5
#: Two estimates that differ by more than this factor are both wrong.
_MOST_DOUBT: Final = 2.0


class Rates(msgspec.Struct, frozen=True):
    """Tells how fast a run is now. `seconds_left` and `rows_in_all` are estimates, and None while they are unknown."""

    rows: float = 0.0
    requests: float = 0.0
    seconds_left: float | None = None
    rows_in_all: int | None = None
    recordings: float = 0.0
    recording_bytes: float = 0.0


class Meter:
    """Measures rates over the last ten seconds, and estimates the end from what this run has added."""

    def __init__(self) -> None:
        self._first: Snapshot | None = None
        self._recent: deque[Snapshot] = deque()

    def measure(self, snapshot: Snapshot) -> Rates:
        """Returns the rates at `snapshot`. One that is behind the last one begins another list: all starts over."""
        if self._recent and (snapshot.seconds < self._recent[-1].seconds or snapshot.rows < self._recent[-1].rows):
            self._first = None
            self._recent.clear()
        self._first = first = self._first or snapshot
        self._recent.append(snapshot)
        while len(self._recent) > 2 and self._recent[1].seconds <= snapshot.seconds - _RECENT_SECONDS:
            self._recent.popleft()
        oldest = self._recent[0]
        # Until there is a second snapshot, a run is as old as its first one says.
        rows, requests, since = (0, 0, 0.0) if oldest is first else (oldest.rows, oldest.requests, oldest.seconds)
        elapsed = snapshot.seconds - since
        if elapsed <= 0:
            return Rates()
        if snapshot.recordings_in_all is not None:
            return _recording_rates(oldest, snapshot)
        row_rate = (snapshot.rows - rows) / elapsed
        in_all = _rows_in_all(first, oldest, snapshot)
        return Rates(
            row_rate,
            (snapshot.requests - requests) / elapsed,
            _seconds_left(first, oldest, snapshot, row_rate, in_all),
            None if in_all is None else _rounded(in_all),
        )


def _recording_rates(oldest: Snapshot, now: Snapshot) -> Rates:
    """Returns the rates of a run that fetches recordings, which come one by one: what is left is counted."""
    elapsed = now.seconds - oldest.seconds
    if elapsed <= 0:
        return Rates()
    rate, left = (now.recordings - oldest.recordings) / elapsed, (now.recordings_in_all or 0) - now.recordings
    return Rates(
        requests=(now.requests - oldest.requests) / elapsed,
        seconds_left=left / rate if rate > 0 and left > 0 and now.seconds >= _LEAST_SECONDS else None,
        recordings=rate,
        recording_bytes=(now.recording_bytes - oldest.recording_bytes) / elapsed,
    )


def _rows_in_all(first: Snapshot, oldest: Snapshot, now: Snapshot) -> float | None:
    """Returns about how many rows the whole range has, if the rows come evenly enough to tell."""
    known = now.stored_rows + now.rows
    if not _LEAST_SHARE <= now.share < 1 or known == 0:
        return None
    if now.share < _LARGE_SHARE and not _is_settled(now) and first.stored_rows == 0:
        return None
    overall = known / now.share
    gained = now.share - oldest.share
    if gained <= 0:
        return overall if now.share >= _LARGE_SHARE else None
    lately = known + (1 - now.share) * (now.rows - oldest.rows) / gained
    return lately if _agree(overall, lately) else None


def _seconds_left(
    first: Snapshot, oldest: Snapshot, now: Snapshot, row_rate: float, in_all: float | None
) -> float | None:
    if not _is_settled(now) or now.trouble is not None or now.share <= oldest.share or now.share >= 1:
        return None
    lately = (1 - now.share) * (now.seconds - oldest.seconds) / (now.share - oldest.share)
    overall = (1 - now.share) * (now.seconds - first.seconds) / (now.share - first.share)
    if not _agree(lately, overall):
        return None
    if in_all is not None and row_rate > 0:
        return max(0.0, in_all - now.stored_rows - now.rows) / row_rate
    return max(lately, overall)


def _is_settled(now: Snapshot) -> bool:
    return now.seconds >= _LEAST_SECONDS and now.files >= _LEAST_FILES


def _agree(one: float, other: float) -> bool:
    return max(one, other) <= _MOST_DOUBT * min(one, other)


def _rounded(rows: float) -> int:
    """Returns the number with two digits that count."""
    return int(round(rows, 2 - len(str(int(rows)))))
