"""Counts recordings by period and by what became of them."""

from typing import Final

from exporter.layout import RECORDINGS
from exporter.log.recordings import AGAIN, count_recordings
from exporter.report.groups import Ranked
from exporter.report.model import Recordings
from exporter.report.scope import Scope

_KEPT: Final = "stored"


def count_recorded(scope: Scope) -> Recordings:
    """Counts the rows of the table of recordings; those that have no row yet are known of the whole export alone."""
    calendar = scope.calendar
    rows = scope.query.fetch(
        f"SELECT {calendar.period_sql('conversation_created_at')} AS period, status, count(*) AS number, "
        f"coalesce(sum(bytes) FILTER (status = '{_KEPT}'), 0)::BIGINT AS size "
        f"FROM recordings WHERE {scope.where(RECORDINGS)} GROUP BY period, status"
    ).to_pylist()
    counts = {name: dict.fromkeys(calendar.periods, 0) for name in ("kept", "lost", "left", "bytes")}
    statuses: dict[str, int] = {}
    for row in rows:
        status, number = row["status"], row["number"]
        statuses[status] = statuses.get(status, 0) + number
        name = "kept" if status == _KEPT else "left" if status in AGAIN else "lost"
        counts[name][row["period"]] += number
        counts["bytes"][row["period"]] += row["size"]
    known = count_recordings(scope.state)
    return Recordings(
        grain=calendar.grain,
        periods=calendar.period_texts,
        **{name: tuple(numbers.values()) for name, numbers in counts.items()},
        statuses=Ranked.of((status, number, None) for status, number in statuses.items()).counts(),
        unlisted=known.left,
        media_files=known.media_files,
        media_bytes=known.media_bytes,
    )
