"""Makes reports by hand, for tests of what draws them: a full one, and one of an export without a row."""

from datetime import date, timedelta

from exporter.report.model import (
    Absent,
    Band,
    Bin,
    Check,
    Count,
    Coverage,
    Day,
    Distribution,
    Doubt,
    Files,
    Filter,
    Group,
    Growth,
    PartitionFiles,
    Protection,
    Quantiles,
    Recordings,
    Report,
    Run,
    Series,
    Span,
    TableFiles,
    Tool,
    Trust,
    Turns,
    Volume,
)

_FIRST = date(2026, 2, 1)
_DAYS = 14
_PERIODS = tuple((_FIRST + timedelta(day)).isoformat() for day in range(_DAYS))
_PHONE = tuple(1_000 + 137 * day % 400 for day in range(_DAYS))
_WEB = tuple(300 + 91 * day % 250 for day in range(_DAYS))
_TOTAL = tuple(map(sum, zip(_PHONE, _WEB, strict=True)))
#: A name that a page must show as it is.
MARKUP = "<script>alert('agent')</script> & \u202eright to left"


def full_report() -> Report:
    """Returns a report with every section: two weeks, a hole, a doubt, and names that are hostile to a page."""
    rows = sum(_TOTAL)
    return Report(
        destination="/exports/conversations",
        generation=42,
        software="exporter 1.0",
        timezone="Europe/Berlin",
        since="2026-02-01T00:00:00+01:00",
        until="2026-02-14T18:30:00+01:00",
        is_narrowed=False,
        by="channel",
        conversations=rows,
        trust=_trust(rows),
        days=tuple(_day(position) for position in range(_DAYS)),
        days_count=_DAYS,
        volume=Volume(
            grain="day",
            by="channel",
            periods=_PERIODS,
            series=(
                Series(name="telephone", values=tuple(map(float, _PHONE))),
                Series(name=None, values=tuple(map(float, _WEB))),
            ),
            total=_TOTAL,
        ),
        week=tuple((hour % 24 > 7) * (hour % 24 < 19) * (hour // 24 < 5) * (20 + hour % 11) for hour in range(168)),
        statuses=(
            Count(name="completed", count=rows - 900, share=(rows - 900) / rows),
            Count(name="failed", count=600, share=600 / rows),
            Count(name=MARKUP, count=300, share=300 / rows),
        ),
        durations=_distribution(rows - 200, 200, 187.0, 912.0, 5_400.0, (0, 15, 30, 60, 120, 300, 600, 1_800)),
        user_turns=_distribution(rows, 0, 6.0, 21.0, 88.0, (0, 1, 2, 3, 5, 10, 20, 50)),
        groups=(
            _group("telephone", sum(_PHONE), rows, None, 0.9),
            _group(None, sum(_WEB), rows, None, 0.7),
        ),
        versions=(
            _group("v3", rows // 2, rows, "agent-a", 0.8),
            _group("v2", rows // 3, rows, "agent-a", 1.9),
            _group(MARKUP, rows - rows // 2 - rows // 3 - 12, rows, MARKUP, 1.1),
            Group(name=None, conversations=12, share=12 / rows, is_rest=True),
        ),
        turns=_turns(rows),
        recordings=Recordings(
            grain="day",
            periods=_PERIODS,
            kept=tuple(count // 2 for count in _TOTAL),
            lost=tuple(count // 50 for count in _TOTAL),
            left=(0,) * (_DAYS - 1) + (23,),
            bytes=tuple(count * 150_000 for count in _TOTAL),
            statuses=(
                Count(name="stored", count=rows // 2, share=0.95),
                Count(name="gone", count=rows // 50, share=0.04),
                Count(name="failed", count=23, share=0.01),
            ),
            unlisted=7,
            media_files=rows // 2,
            media_bytes=rows * 150_000,
        ),
        files=_files(rows),
        notes=("quantiles of large values are rounded down by at most 0.2 percent",),
    )


def empty_report() -> Report:
    """Returns the report of a complete export of one day that has no conversation, without turns or recordings."""
    full, none = full_report(), Absent("there is no conversation between these times")
    day = Day(day="2026-02-01", weekday="Sunday", conversations=0, state="whole", covered_share=1.0)
    band = Band(kind="covered", start="2026-02-01T00:00:00+00:00", end="2026-02-02T00:00:00+00:00", at=0.0, share=1.0)
    return Report(
        destination="/exports/empty",
        generation=2,
        software="exporter 1.0",
        timezone="UTC",
        since=band.start,
        until=band.end,
        is_narrowed=False,
        by="channel",
        conversations=0,
        trust=Trust(
            state="complete",
            verdict="",
            rows=0,
            turns=None,
            open_rows=0,
            range_start=band.start,
            range_end=band.end,
            coverage=Coverage(
                start=band.start,
                end=band.end,
                is_open=False,
                is_coarse=False,
                covered_share=1.0,
                bands=(band,),
                holes=(),
                holes_count=0,
            ),
            updates_since="2026-02-02T01:00:00+00:00",
            oldest_row=None,
            newest_row=None,
            committed_at="2026-02-02T01:00:05+00:00",
            organization=None,
            filters=(),
            fields=None,
            unproven=(),
            unproven_count=0,
            quarantined_rows=0,
            quarantine_files=0,
            withheld=(),
            partly_withheld=0,
            new_doubts=0,
            accepted_doubts=0,
            is_unsettled=False,
            unended_run=None,
            protection=None,
            checks=tuple(Check(command=one.command, ended_at=None) for one in full.trust.checks),
            runs=(),
            runs_count=0,
        ),
        days=(day,),
        days_count=1,
        volume=none,
        week=none,
        statuses=none,
        durations=none,
        user_turns=none,
        groups=none,
        versions=none,
        turns=Absent("this export has no table turns"),
        recordings=Absent("this export keeps no recordings"),
        files=Files(
            small_bytes=16_777_216, tables=(), partitions=(), partitions_count=0, growth=Absent("no run is recorded")
        ),
    )


def _trust(rows: int) -> Trust:
    def instant(day: int, hour: int = 0) -> str:
        return f"2026-02-{day:02d}T{hour:02d}:00:00+01:00"

    def band(kind: str, start: tuple[int, int], end: tuple[int, int]) -> Band:
        first, last = (day - 1 + hour / 24 for day, hour in (start, end))
        long = 13 + 18 / 24
        return Band(
            kind=kind,  # type: ignore[arg-type]
            start=instant(*start),
            end=instant(*end),
            at=first / long,
            share=(last - first) / long,
        )

    hole = Span(start=instant(9, 6), end=instant(9, 12), seconds=21_600.0)
    return Trust(
        state="incomplete",
        verdict="a part of the range is missing",
        rows=rows,
        turns=rows * 9,
        open_rows=31,
        range_start=instant(1),
        range_end=instant(14, 18),
        coverage=Coverage(
            start=instant(1),
            end=instant(14, 18),
            is_open=False,
            is_coarse=False,
            covered_share=0.98,
            bands=(
                band("expired", (1, 0), (2, 0)),
                band("covered", (2, 0), (5, 0)),
                band("unproven", (5, 0), (5, 1)),
                band("covered", (5, 1), (9, 6)),
                band("missing", (9, 6), (9, 12)),
                band("covered", (9, 12), (14, 18)),
            ),
            holes=(hole,),
            holes_count=1,
        ),
        updates_since=instant(14, 18),
        oldest_row=instant(2),
        newest_row=instant(14, 17),
        committed_at=instant(14, 19),
        organization="org-1",
        filters=(
            Filter(name="channel", values=("telephone", "webrtc")),
            Filter(name="user_id", values=None),
        ),
        fields=None,
        unproven=(
            Doubt(
                span=Span(start=instant(5), end=instant(5, 1), seconds=3_600.0),
                rows=1_000,
                reason="more rows share this timestamp than a page can hold",
            ),
        ),
        unproven_count=1,
        quarantined_rows=3,
        quarantine_files=1,
        withheld=("recording_details",),
        partly_withheld=2,
        new_doubts=4,
        accepted_doubts=2,
        is_unsettled=False,
        unended_run=instant(13, 2),
        protection=Protection(
            rules=(("agent_number", "drop"), ("user_id", "hash")),
            encryption_key="key-2026",
            plain_columns=("created_at",),
            pending_files=0,
            retention_seconds=(("rows", 31_536_000),),
            expired_before=(("rows", instant(2)),),
            erasures=2,
            erased_conversations=5,
            unfinished_erasures=0,
        ),
        checks=(
            Check(
                command="verify", ended_at=instant(14, 3), exit_status=0, generation=42, is_whole=True, is_latest=True
            ),
            Check(command="audit", ended_at=instant(10, 3), exit_status=6, generation=37),
            Check(command="reconcile", ended_at=None),
        ),
        runs=tuple(
            Run(
                command="sync",
                started_at=instant(day, 2),
                seconds=61.5,
                exit_status=0 if day % 3 else 1,
                error=None if day % 3 else "UnreachableError",
                state="incomplete",
                generation=28 + day,
                rows=rows - 100 * (14 - day),
                new_rows=100,
                requests=230,
                retries=day % 4,
                throttled=day % 2,
            )
            for day in range(14, 4, -1)
        ),
        runs_count=27,
    )


def _day(position: int) -> Day:
    day = _FIRST + timedelta(position)
    state = {0: "expired", 4: "doubtful", 8: "hole", 13: "cut"}.get(position, "whole")
    return Day(
        day=day.isoformat(),
        weekday=f"{day:%A}",
        conversations=_TOTAL[position],
        state=state,  # type: ignore[arg-type]
        covered_share=0.75 if state == "hole" else 1.0,
        ends_at="2026-02-14T18:30:00+01:00" if state == "cut" else None,
    )


def _distribution(
    count: int, missing: int, p50: float, p95: float, maximum: float, edges: tuple[float, ...]
) -> Distribution:
    each = count // len(edges)
    counts = [each] * (len(edges) - 1) + [count - each * (len(edges) - 1)]
    return Distribution(
        count=count,
        missing=missing,
        p50=p50,
        p95=p95,
        maximum=maximum,
        bins=tuple(
            Bin(low=low, high=high, count=number)
            for low, high, number in zip(edges, (*edges[1:], None), counts, strict=True)
        ),
    )


def _group(name: str | None, count: int, rows: int, agent_id: str | None, latency: float) -> Group:
    return Group(
        name=name,
        agent_id=agent_id,
        conversations=count,
        share=count / rows,
        duration_p50=180.0,
        duration_p95=900.0,
        user_turns_p50=6.0,
        user_turns_p95=21.0,
        latency_count=4 * count,
        latency_p50=latency,
        latency_p95=2.1 * latency,
        interruption_rate=0.11,
    )


def _turns(rows: int) -> Turns:
    counts = tuple(4 * count for count in _TOTAL)
    return Turns(
        grain="day",
        periods=_PERIODS,
        items=rows * 9,
        messages=rows * 4,
        interrupted=rows // 2,
        latency=_distribution(rows * 4, 12, 0.912, 2.4, 17.5, (0, 0.5, 0.75, 1, 1.5, 2, 3, 5)),
        latency_by_period=Quantiles(
            periods=_PERIODS,
            counts=(*counts[:-1], 0),
            p50=(*(0.8 + 0.02 * day for day in range(_DAYS - 1)), None),
            p95=(*(2.0 + 0.05 * day for day in range(_DAYS - 1)), None),
        ),
        interruption_by_period=Series(name=None, values=(*(0.1 + 0.004 * day for day in range(_DAYS - 1)), None)),
        confidence=_distribution(rows * 4, 40, 0.97, 0.99, 1.0, (0, 0.5, 0.7, 0.8, 0.9, 0.95)),
        tools=(
            Tool(
                name="lookup_order", calls=rows, errors=31, unanswered=2, timed=rows - 2, duration_p50=0.4,
                duration_p95=1.7,
            ),
            Tool(name=MARKUP, calls=40, errors=40, unanswered=0, timed=0, duration_p50=None, duration_p95=None),
        ),
    )  # fmt: skip


def _files(rows: int) -> Files:
    return Files(
        small_bytes=16_777_216,
        tables=(
            TableFiles(table="conversations", files=31, rows=rows, bytes=41_000_000, small_files=9, partitions=_DAYS),
            TableFiles(table="turns", files=31, rows=9 * rows, bytes=63_000_000, small_files=9, partitions=_DAYS),
        ),
        partitions=tuple(
            PartitionFiles(name=f"created_date={day}", files=4, small_files=2, rows=10 * count, bytes=6_000 * count)
            for day, count in zip(_PERIODS, _TOTAL, strict=True)
        ),
        partitions_count=_DAYS,
        growth=tuple(
            Growth(
                generation=28 + day,
                at=f"2026-02-{day:02d}T02:01:00+01:00",
                rows=rows - 100 * (14 - day),
                files=62 - (14 - day),
                bytes=104_000_000 - 400_000 * (14 - day),
            )
            for day in range(1, 15)
        ),
    )
