"""An outcome counts only if it is that of its task, and names nothing that the task may not touch."""

import msgspec
import pytest

from exporter import errors
from exporter.bearer import TokenPlace
from exporter.contract import DAY, HOUR, parse_timestamp
from exporter.coverage import Interval
from exporter.errors import (
    AccessError,
    ContradictionError,
    EngineError,
    ExporterError,
    ProtectionError,
    StoreError,
    TransientError,
    UsageError,
)
from exporter.layout import part_path, quarantine_path, staging_path, turns_path
from exporter.log.privacy import Privacy
from exporter.model import TURNS, Change, Counters, DataFile, QuarantineFile, Unproven
from exporter.pipeline.scan import Scan
from exporter.run.distribution_outcomes import check_outcome, error_of, is_fatal
from exporter.run.share import Facts, Failure, KeyPlaces, Outcome, ReadSettings, Share
from exporter.settings import Request

replace = msgspec.structs.replace
START = parse_timestamp("2026-01-10")
RANGE = Interval(START, START + 10 * DAY)
WINDOWS = (Interval(START + DAY, START + 2 * DAY), Interval(START + 4 * DAY, START + 5 * DAY))
PARTITION = {"created_date": "2026-01-14"}
TASK = "20260101T000000Z-abcdef-t000007-012345"
NAME = f"{TASK}-89abcd-000001"
PART = DataFile(
    path=part_path("conversations", PARTITION, NAME),
    table="conversations",
    partition=PARTITION,
    rows=3,
    size_bytes=10,
    sha256="0" * 64,
    created_at_min=WINDOWS[1].start,
    created_at_max=WINDOWS[1].start,
    window=WINDOWS[1],
)
OTHER = replace(PART, path=turns_path(PART.path), table=TURNS)
QUARANTINE = QuarantineFile(path=quarantine_path(f"{TASK}-89abcd-000002"), rows=1, size_bytes=5, sha256="1" * 64)
SHARE = Share(
    run=TASK.rpartition("-t")[0],
    task=TASK,
    destination="/exports/calls",
    file_mode="private",
    request=Request(tables=("conversations", TURNS)),
    settings=ReadSettings(
        base_url="https://api.example",
        insecure_http=False,
        ca_file=None,
        concurrency=8,
        max_rps=None,
        wait_seconds=10.0,
        page_size=1000,
        target_part_bytes=1,
        memory_bytes=1,
        hydrate="auto",
    ),
    scan=Scan(range=RANGE, windows=WINDOWS, hidden_status="token_created"),
    facts=Facts(now=RANGE.end, oldest=START),
    privacy=Privacy(),
    token=TokenPlace(),
    keys=KeyPlaces(),
    budget_seconds=60.0,
    beacon="_exporter/staging/beacon.partial",
    nonce="nonce",
)
CHANGE = Change(
    covers=(WINDOWS[1], Interval(START + DAY + HOUR, START + 2 * DAY)),
    adds=(PART, OTHER),
    quarantines=(QUARANTINE,),
    unproven=(Unproven(RANGE.start, 1, "of a doubt"),),
    read_since=RANGE.end,
    organization="org",
    hidden_status="token_created",
    arrives=True,
)
STAGED = {file.path: staging_path(f"{TASK}-89abcd-{number}") for number, file in enumerate(CHANGE.files)}
OUTCOME = Outcome(task=TASK, change=CHANGE, staged=STAGED)


def with_change(**members: object) -> Outcome:
    """Returns the outcome with another change, and a place for each of its files."""
    change = replace(CHANGE, **members)
    staged = {file.path: staging_path(f"{TASK}-89abcd-{number}") for number, file in enumerate(change.files)}
    return replace(OUTCOME, change=change, staged=staged)


def with_part(**members: object) -> Outcome:
    return with_change(adds=(replace(PART, **members),))


def staged_at(path: str) -> Outcome:
    return replace(OUTCOME, staged={**STAGED, PART.path: path})


def test_a_reading_of_the_windows_of_the_task_counts_and_so_does_nothing_at_all() -> None:
    check_outcome(SHARE, OUTCOME)
    check_outcome(SHARE, Outcome(task=TASK))
    check_outcome(SHARE, with_change(covers=(), adds=(), quarantines=(), read_since=None))


STRANGE: dict[str, Outcome] = {
    "another task": replace(OUTCOME, task="another"),
    "more than its windows": with_change(covers=(Interval(START, START + 2 * DAY), WINDOWS[1])),
    "between its windows": with_change(covers=(*CHANGE.covers, Interval(START + 3 * DAY, START + 3 * DAY + 1))),
    "twice": with_change(covers=(WINDOWS[1], WINDOWS[1])),
    "at no time": with_change(read_since=None),
    "without what hides": with_change(hidden_status=None),
    "as if it were settled": with_change(settles=True),
    "as if none arrived": with_change(arrives=False),
    "with what it removes": with_change(removes=(PART.path,)),
    "with what it uncovers": with_change(uncovers=(WINDOWS[0],)),
    "with what it refreshes": with_change(refreshes=(WINDOWS[0],)),
    "with what it proves": with_change(proves=(WINDOWS[0],)),
    "part of another task": with_part(path=part_path("conversations", PARTITION, f"other-{NAME}")),
    "part in another partition": with_part(partition={"created_date": "2026-01-15"}),
    "part that is no part": with_part(path=f"conversations/../part-{NAME}.parquet"),
    "part of another table": with_part(table=TURNS),
    "part of recordings": with_part(table="recordings", path=part_path("recordings", PARTITION, NAME)),
    "part of a window that is not covered": with_part(window=Interval(START + DAY, START + 2 * DAY)),
    "part of another policy": with_part(policy="ff"),
    "part that is encrypted": with_part(key="data"),
    "quarantine of another task": with_change(quarantines=(replace(QUARANTINE, path=quarantine_path("other")),)),
    "quarantine in place of another": with_change(quarantines=(replace(QUARANTINE, rest_of=QUARANTINE.path),)),
    "quarantine that is encrypted": with_change(quarantines=(replace(QUARANTINE, key="data"),)),
    "a file twice": with_change(adds=(PART, PART)),
    "a file that is staged nowhere": replace(OUTCOME, staged={}),
    "a staged file that is no file": replace(OUTCOME, staged={**STAGED, "conversations/x": staging_path(f"{TASK}-x")}),
    "one staged file for two": staged_at(STAGED[OTHER.path]),
    "the file of another task": staged_at(staging_path("other")),
    "a file outside": staged_at(f"../{TASK}-x.partial"),
    "a file below": staged_at(f"_exporter/staging/x/{TASK}-x.partial"),
    "a file that was not staged": staged_at(f"_exporter/staging/{TASK}-x.parquet"),
    "a part with rows before its window": with_part(created_at_min=WINDOWS[1].start - 1),
    "a part with rows after its window": with_part(created_at_max=WINDOWS[1].end),
    "a part with rows of no time": with_part(created_at_min=WINDOWS[1].start + 1),
    "a part with rows of another day": with_part(
        partition={"created_date": "2026-01-15"}, path=part_path("conversations", {"created_date": "2026-01-15"}, NAME)
    ),
    "a part in another kind of partition": with_part(
        partition={"created_month": "2026-01"}, path=part_path("conversations", {"created_month": "2026-01"}, NAME)
    ),
    "a part with fewer than no rows": with_part(rows=-1),
    "a part with more rows than there are": with_part(rows=2**62),
    "a part with a negative size": with_part(size_bytes=-1),
    "a part with a hash that is none": with_part(sha256="../" * 21 + "x"),
    "a part that withholds fewer than none": with_part(withheld_rows=-1),
    "a part that lacks fewer than none": with_part(absent={"summary": -1}),
    "a part with the media of recordings": with_part(media_files=1),
    "a doubt that ends before it begins": with_change(unproven=(Unproven(RANGE.start, 1, "x", RANGE.start + 5),)),
    "a doubt of no time": with_change(unproven=(Unproven(2**62, 1, "x"),)),
    "a doubt that commands a terminal": with_change(unproven=(Unproven(RANGE.start, 1, "\x1b[2J"),)),
    "a doubt of fewer than no rows": with_change(unproven=(Unproven(RANGE.start, -1, "x"),)),
    "a page from long ago": with_change(read_since=RANGE.end - 2 * DAY),
    "a page of no time": with_change(read_since=2**63),
    "an organization that commands a terminal": with_change(organization="\x1b[2J"),
    "fewer than no requests": replace(OUTCOME, counters=Counters(requests=-1)),
    "more requests than a log can hold": replace(OUTCOME, counters=Counters(requests=2**64)),
    "less than no time": replace(OUTCOME, counters=Counters(seconds=-1.0)),
    "fewer than no rows": replace(OUTCOME, rows=-1),
    "a rate of nothing": replace(OUTCOME, rate=0.0),
    "a rate that never ends": replace(OUTCOME, rate=1e-9),
    "fewer than no changes": replace(OUTCOME, changed={"summary": -1}),
    "a field that there is not": replace(OUTCOME, hydrated=("\x1b[2J",)),
}


@pytest.mark.parametrize("outcome", STRANGE.values(), ids=STRANGE.keys())
def test_anything_else_does_not_count(outcome: Outcome) -> None:
    with pytest.raises(EngineError, match=TASK):
        check_outcome(SHARE, outcome)


def test_another_version_is_named() -> None:
    with pytest.raises(UsageError, match=r"0\.0\.1"):
        check_outcome(SHARE, replace(OUTCOME, version="0.0.1"))


@pytest.mark.parametrize(
    ("kind", "told_as", "ends"),
    [
        ("AccessError", AccessError, True),
        ("TokenRenewedError", AccessError, True),
        ("UnplacedError", ContradictionError, True),
        ("ProtectionError", ProtectionError, True),
        ("UsageError", UsageError, True),
        ("ThrottledError", TransientError, False),
        ("StoreError", StoreError, False),
        ("InterruptedExportError", EngineError, False),
        ("EngineError", EngineError, False),
        ("KeyError", EngineError, False),
    ],
)
def test_a_failure_is_told_as_an_error_that_ends_the_run_or_not(
    kind: str, told_as: type[ExporterError], ends: bool
) -> None:
    error = error_of(Failure(kind=kind, message="what was met"), "2 processes")
    assert type(error) is told_as
    assert is_fatal(error) is ends
    assert "2 processes" in str(error)
    assert "what was met" in str(error)


def test_what_a_failure_says_commands_no_terminal_and_is_short() -> None:
    told = str(error_of(Failure(kind="TransientError", message="\x1b[2J\ud800" + 10_000 * "x"), "here"))
    assert told.encode()
    assert told.isprintable()
    assert len(told) < 3000


def test_each_class_of_error_can_be_told() -> None:
    def below(kind: type[ExporterError]) -> list[type[ExporterError]]:
        return [kind, *(each for found in kind.__subclasses__() for each in below(found))]

    for kind in below(errors.ExporterError):
        error = error_of(Failure(kind=kind.__name__, message="x"), "here")
        assert isinstance(error, EngineError) or issubclass(kind, type(error))
