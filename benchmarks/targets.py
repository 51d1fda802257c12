"""Compares the results with their targets."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

import msgspec

from benchmarks import (
    cost,
    encryption,
    growth,
    lake,
    memory,
    privacy,
    reading,
    recordings,
    report,
    scale_out,
    simulated,
    start,
    tasks,
)
from benchmarks.measurement import ratios, spread
from benchmarks.results import Results

#: From here on, neither the first questions nor the ends of windows weigh much.
_MANY_PAGES: Final = 600


class Target(msgspec.Struct, frozen=True):
    """Holds `values` by round. `limit` is the most that their median may be or, with `at_least`, the least."""

    what: str
    values: Sequence[float]
    limit: float
    unit: str = ""
    digits: int = 2
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        found = median(self.values)
        return found >= self.limit if self.at_least else found <= self.limit

    @property
    def wanted(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:,.{self.digits}f}{self.unit}"

    @property
    def found(self) -> str:
        return spread(self.values, self.digits) + self.unit


def targets(results: Results) -> list[Target]:
    """Returns the targets of the parts that have been measured."""
    found: list[Target] = []
    if results.cost:
        found += _of_cost(results.cost)
    if results.reading:
        found += _of_reading(results.reading)
    if results.flight:
        most = results.flight.cases[-1].in_flight
        what = f"rows/s a request in flight, {most} of them ÷ one alone"
        found.append(Target(what, results.flight.linearity, 0.9, at_least=True))
    if results.memory:
        found += _of_memory(results.memory)
    if results.recordings:
        found += _of_recordings(results.recordings)
    if results.privacy:
        found += _of_privacy(results.privacy)
    if results.encryption:
        found += _of_encryption(results.encryption)
    if results.erase:
        what = f"one person found among {results.erase.rows:,} conversations"
        found.append(Target(what, results.erase.find_seconds, 3.0, " s of CPU", 2))
    if results.growth:
        found += _of_growth(results.growth)
    if results.changes:
        what = "telling what a sync changes ÷ the sync"
        found.append(Target(what, results.changes.shares, 1.0, " % of its CPU", 2))
    for case in results.feed.cases if results.feed else ():
        place = "in all parts" if case.where == "all" else "in the last week"
        found.append(
            Target(f"{case.changes:,} changes {place} given, beyond a start", case.feed_seconds, 1.0, " s of CPU")
        )
        megabytes = [size / 1e6 for size in case.feed_bytes]
        found.append(Target(f"memory for {case.changes:,} changes {place}", megabytes, 150.0, " MB", 0))
    if results.lake:
        found += _of_lake(results.lake)
    if results.report:
        found += _of_report(results.report)
    if results.scale_out:
        found += _of_scale_out(results.scale_out)
    if results.simulated:
        found += _of_simulated(results.simulated)
    if results.tasks:
        found += _of_tasks(results.tasks)
    if results.start:
        found += _of_start(results.start)
    return found


def _of_cost(result: cost.Result) -> Iterator[Target]:
    for case in result.cases:
        kind = "with" if case.transcripts else "without"
        rows = f"{case.rows:,} conversations"
        if values := case.ratios(cost.OURS, cost.GIVEN, "cpu_seconds"):
            limit = 1.2 if case.transcripts else 1.5
            yield Target(f"CPU ÷ DuckDB's with the same columns, {rows} {kind} transcripts", values, limit)
        if values := case.ratios(cost.OURS, cost.INFERRED, "wall_seconds"):
            yield Target(f"wall time ÷ DuckDB's, {rows} {kind} transcripts", values, 1.2)
        if values := case.ratios(cost.WITH_TURNS, cost.BOTH_TABLES, "cpu_seconds"):
            yield Target(f"CPU of both tables ÷ DuckDB's of both, {rows}", values, 1.5)
        if values := case.ratios(cost.WITH_TURNS, cost.OURS, "cpu_seconds"):
            yield Target(f"CPU with the table `turns` ÷ without, {rows}", values, 1.5)


def _of_lake(result: lake.Result) -> Iterator[Target]:
    most = {"delta": (90, 13), "iceberg": (25, 48)}
    for kind, asked in result.requests.items():
        name, (reading_most, write_most) = kind.capitalize(), most[kind]
        of = f"{name} table in a bucket, {result.versions} versions"
        yield Target(f"requests to read, {of}", [float(sum(asked.read.values()))], reading_most, "", 0)
        yield Target(f"requests to write, {of}", [float(sum(asked.write.values()))], write_most, "", 0)
        step = f"{result.files:,} files added, {name} table in a bucket"
        yield Target(step, [result.step_seconds[kind]], 3.0, " s")
        yield Target(f"memory for {step}", [result.step_bytes[kind] / 1e6], 150.0, " MB", 0)


def _of_reading(result: reading.Result) -> Iterator[Target]:
    shapes = {
        "flat": ("spread evenly", 1.1),
        "office": ("in office hours", 1.1),
        "one-burst": ("75 % of them in 3 % of the time", 1.2),
    }
    for case in result.cases:
        shape, limit = shapes[case.density]
        of = f"{case.pages:,} pages, rows {shape}" + (", every field but the transcript" if case.whole else "")
        if case.pages < _MANY_PAGES:
            yield Target(f"time of reading ÷ ideal, {of}", case.slowdowns, 1.8)
            yield Target(f"requests ÷ pages, {of}", case.overheads, 1.2)
        else:
            yield Target(f"time of reading ÷ ideal, {of}", case.slowdowns, limit)
            yield Target(f"requests ÷ (1.05 × pages + 1 a window), {of}", case.allowances, 1.0)


def _of_report(result: report.Result) -> Iterator[Target]:
    of = f"{result.rows:,} conversations with {result.turns:,} turns"
    # All that is smaller must be ready as fast.
    yield Target(f"report of {of}", [cost.wall_seconds for cost in result.costs], 60.0, " s", 1)
    yield Target(f"peak memory, report of {of}", [cost.peak_bytes / 1e6 for cost in result.costs], 1_000, " MB", 0)


def _of_scale_out(result: scale_out.Result) -> Iterator[Target]:
    shapes = {
        "flat": ("spread evenly", 1.15),
        "one-burst": ("75 % of them in 3 % of the time", 1.1),
        "many-bursts": ("in bursts", 1.1),
    }
    for case in result.cases:
        shape, limit = shapes[case.density]
        of = f"{case.pages:,} pages, rows {shape}"
        yield Target(f"time of 2 processes ÷ plain with as many in flight, {of}", case.slowdowns, limit)
        yield Target(f"requests of 2 processes ÷ (1.05 × pages + 6 a task), {of}", case.allowances, 1.0)
        if "one" in case.runs:
            two = case.seconds("two")
            halves = [seconds / 2 for seconds in case.seconds("half")]
            yield Target(f"time of 2 processes ÷ half of plain's with half as many, {of}", ratios(two, halves), 1.15)
            what = f"time of 1 process ÷ 2 processes, {of}"
            yield Target(what, ratios(case.seconds("one"), two), 1.85, at_least=True)
    what = f"CPU a row of 2 processes ÷ plain, {result.rows:,} conversations with transcripts"
    yield Target(what, result.cpu_ratios, 1.1)


def _of_simulated(result: simulated.Result) -> Iterator[Target]:
    for case in result.cases:
        if case.workers == simulated.WORKERS and case.density in simulated.LIMITS and case.pages >= _MANY_PAGES:
            of = f"{case.pages:,} pages, {case.workers} workers, {case.density}"
            yield Target(f"simulated time ÷ ideal, {of}", case.slowdowns, simulated.LIMITS[case.density])


def _of_tasks(result: tasks.Result) -> Iterator[Target]:
    for case in result.cases:
        of = f"{result.rows:,} conversations, tasks on {result.slots} slots, {case.density}"
        yield Target(f"simulated time ÷ ideal, {of}", case.slowdowns, tasks.LIMIT)


def _of_start(result: start.Result) -> Iterator[Target]:
    for what, seconds, limit in (
        ("`exporter --help`", result.help_seconds, 150),
        ("`exporter export --help`", result.command_help_seconds, 150),
        ("completion of a word", result.completion_seconds, 150),
        ("from the start of an export to its first request", result.first_request_seconds, 400),
    ):
        yield Target(what, [1000 * value for value in seconds], limit, " ms", 0)


def _of_privacy(result: privacy.Result) -> Iterator[Target]:
    yield Target(f"CPU of {result.hashes:,} hashes ÷ that of `hmac.digest`", result.hash_ratios, 0.5)
    yield Target(
        "MB/s of CPU, transcripts redacted ÷ `json.loads` and `re`", result.redaction_ratios, 10, at_least=True
    )
    yield Target("CPU of an export with a policy ÷ without, no rule for transcripts", result.cpu_ratios("other"), 1.12)
    yield Target("CPU of an export with a policy ÷ without, a third of transcripts hit", result.cpu_ratios("all"), 1.65)


def _of_growth(result: growth.Result) -> Iterator[Target]:
    size = f"{result.commits:,} commits and {result.parts:,} parts"
    for command in growth.COMMANDS:
        yield Target(f"CPU of `{command}` that changes nothing, {size} ÷ young", result.cpu_ratios(command), 1.3)
    for command, (_, aged) in result.requests.items():
        yield Target(f"requests to an object store of `{command}`, {result.stored:,} commits", [aged], 20, "", 0)
    yield Target(f"status of {result.parts:,} parts", [cost.wall_seconds for cost in result.aged["status"]], 1.0, " s")
    yield Target("memory of the state, a part", [result.weight.bytes_a_part], 1_000, " bytes", 0)
    yield Target("share of a long run that manifests take", [100 * result.weight.manifest_share], 2.0, " %", 1)


def _of_memory(result: memory.Result) -> Iterator[Target]:
    for in_flight, limit in ((16, 350), (64, 600)):
        if case := result.longest(in_flight):
            yield Target(f"peak memory, {case.rows:,} rows of 5 kB, {in_flight} in flight", case.peaks, limit, " MB", 0)
    many = result.longest(16)
    if many is not None and (few := result.longest(16, below=many.rows)):
        yield Target(f"peak memory, {many.rows:,} rows ÷ {few.rows:,} rows", ratios(many.peaks, few.peaks), 1.05)


def _of_recordings(result: recordings.Result) -> Iterator[Target]:
    large, small = result.large, result.small
    several = f"{recordings.IN_FLIGHT} recordings of 4 MB at once"
    if large.throughputs:
        yield Target(f"throughput ÷ that of `curl --parallel`, {several}", large.throughputs, 0.8, at_least=True)
    yield Target(f"CPU a GB, {several}", large.cpu_per_gigabyte, 3.0, " s", 1)
    yield Target(f"peak memory above an export's own, {several}", large.surplus_megabytes, 32, " MiB", 0)
    yield Target("recordings of 64 kB a second, start included", small.files_per_second, 500, "", 0, at_least=True)
    yield Target("requests to the API a recording", small.requests_per_file, 0.005, digits=4)
    deviations = [100 * abs(rate - 1) for rate in result.rates]
    yield Target("deviation from `--recording-rate`", deviations, 2, " %", 1)


def _of_encryption(result: encryption.Result) -> Iterator[Target]:
    what = f"CPU of writing encrypted parts, beyond plain ones, {result.rows:,} conversations with transcripts"
    yield Target(what, result.surplus("uniform", "write"), 20, " %", 1)
    yield Target("bytes of encrypted parts, beyond plain ones", result.surplus("uniform", "bytes"), 0.5, " %")


def table(results: Results) -> list[str]:
    """Returns the targets as a table in Markdown, as in the manual."""
    lines = ["| measured | target | median (least to most) | |", "|---|---|---|---|"]
    lines += [
        f"| {target.what} | {target.wanted} | {target.found} | {'met' if target.is_met else 'missed'} |"
        for target in targets(results)
    ]
    return lines
