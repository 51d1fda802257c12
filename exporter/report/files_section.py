"""Draws what lies at the destination: recordings, files by partition, and how the export has grown."""

from typing import Final

from exporter.report import axes, charts, texts
from exporter.report.blocks import Column, Figure, Table, draw_figure, draw_table, grid, named, without
from exporter.report.markup import Markup, element, joined
from exporter.report.model import Absent, Files, Recordings, Report

#: What became of recordings, and its color.
_FATES: Final = (("s0", "kept"), ("s7", "left for the next run"), ("s6", "lost"))
_FATE_COLORS: Final = (0, 7, 6)


def draw_recordings(report: Report) -> tuple[Markup | None, ...]:
    """Returns what stands below the heading of the section on recordings."""
    data = report.recordings
    if isinstance(data, Absent):
        return (element("p", texts.sentence(data.reason), class_="none"),)
    kept, left, lost = sum(data.kept), sum(data.left), sum(data.lost)
    finding = f"{kept:,} kept, {left:,} left for the next run, {lost:,} lost."
    if data.unlisted:
        finding += f" {texts.counted(data.unlisted, 'recording')} of the whole export not looked for yet."
    if not data.periods:
        return (element("p", finding),)
    columns = (Column(data.grain, False), Column("kept"), Column("left"), Column("lost"), Column("size of kept"))
    rows = [
        [texts.period(period, data.grain), *(texts.number(count) for count in counts), texts.size(kept_bytes)]
        for period, *counts, kept_bytes in zip(data.periods, data.kept, data.left, data.lost, data.bytes, strict=True)
    ]
    table = Table(f"Recordings by {data.grain}", columns, rows)
    fates = charts.stacked(data.periods, data.grain, (data.kept, data.left, data.lost), colors=_FATE_COLORS)
    sizes = charts.stacked(data.periods, data.grain, (data.bytes,), axes.BYTES)
    stored = f"{texts.size(sum(data.bytes))} in all."
    stored += f" The export keeps {texts.counted(data.media_files, 'file')}, {texts.size(data.media_bytes)}."
    return (
        grid(
            draw_figure(Figure(f"Recordings by {data.grain}", finding, fates, table, "Recordings.", _FATES)),
            draw_figure(Figure(f"Size of kept recordings by {data.grain}", stored, sizes, table, "Bytes.")),
        ),
        _statuses(data),
    )


def _statuses(data: Recordings) -> Markup | None:
    if not data.statuses:
        return None
    columns = (Column("status", False), Column("recordings"), Column("share"))
    rows = [[named(each.name), texts.number(each.count), texts.share(each.share)] for each in data.statuses]
    return draw_table(Table("Recordings by status", columns, rows))


def draw_files(report: Report) -> tuple[Markup | None, ...]:
    """Returns what stands below the heading of the section on files."""
    files = report.files
    if not files.tables:
        return (element("p", "There is no file.", class_="none"), *_growth(files))
    return _tables(files), grid(_partitions(files), *_growth(files))


def _tables(files: Files) -> Markup:
    columns = (
        Column("table", False),
        Column("rows"),
        Column("files"),
        Column("size"),
        Column("partitions"),
        Column("small files"),
    )
    rows = [
        [
            each.table,
            texts.number(each.rows),
            texts.number(each.files),
            texts.size(each.bytes),
            texts.number(each.partitions),
            texts.number(each.small_files),
        ]
        for each in files.tables
    ]
    small = f"Small files are under {texts.size(files.small_bytes)}, and can be joined."
    return joined(draw_table(Table("Files of each table", columns, rows)), element("p", small, class_="unit"))


def _partitions(files: Files) -> Markup:
    title, shown = "Size of partitions", files.partitions
    if not shown:
        return without(title, Absent("There is no file"))
    largest = max(shown, key=lambda each: each.bytes)
    finding = f"The largest is {largest.name or 'the only one'}, with {texts.size(largest.bytes)}."
    if small := sum(each.small_files for each in shown):
        finding += f" {texts.counted(small, 'small file')} can be joined by exporter compact."
    if files.partitions_count > len(shown):
        finding += f" These are the latest {len(shown):,} of {files.partitions_count:,}."
    columns = (Column("partition", False), Column("size"), Column("rows"), Column("files"), Column("small"))
    rows = [
        [
            each.name or "all rows",
            texts.size(each.bytes),
            texts.number(each.rows),
            texts.number(each.files),
            texts.number(each.small_files),
        ]
        for each in shown
    ]
    labels = [each.name.partition("=")[2] or each.name for each in shown]
    spec = charts.histogram(labels, [each.bytes for each in shown], axes.BYTES)
    return draw_figure(Figure(title, finding, spec, Table(title, columns, rows), "Bytes, all tables."))


def _growth(files: Files) -> tuple[Markup, ...]:
    title, points = "Growth", files.growth
    if isinstance(points, Absent):
        return (without(title, points),)
    last = points[-1]
    held = (
        f"{texts.counted(last.rows, 'conversation')} in {texts.counted(last.files, 'file')}, {texts.size(last.bytes)}"
    )
    finding = f"At generation {last.generation:,}, {held}."
    columns = (
        Column("after the run of", False),
        Column("generation"),
        Column("conversations"),
        Column("files"),
        Column("size"),
    )
    rows = [
        [
            texts.instant(each.at),
            texts.number(each.generation),
            texts.number(each.rows),
            texts.number(each.files),
            texts.size(each.bytes),
        ]
        for each in points
    ]
    table = Table("What the export had after its runs", columns, rows)
    if len(points) == 1:
        return (element("figure", element("figcaption", element("h3", title), element("p", finding))),)
    generations = [each.generation for each in points]
    return tuple(
        draw_figure(
            Figure(
                title=f"Growth: {what}",
                finding=finding,
                spec=charts.growth(generations, values, form),
                table=table,
                unit=f"{unit}, by generation.",
            )
        )
        for what, unit, values, form in (
            ("conversations", "Conversations", [each.rows for each in points], axes.COUNTS),
            ("size", "Bytes", [each.bytes for each in points], axes.BYTES),
        )
    )
