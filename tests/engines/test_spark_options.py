"""The options of the data source are checked and settled at once, and filters narrow no more than they may."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import DAY, MINUTE, SECOND, parse_timestamp, to_datetime
from exporter.coverage import Interval
from exporter.engines.spark.attempt import attempted, reason_of
from exporter.engines.spark.engine import engine
from exporter.engines.spark.options import NAMES, SourceOptions, settle
from exporter.engines.spark.pushdown import narrowed
from exporter.errors import UsageError
from tests.engines.tasks import task
from tests.toolkit.sizes import size_of

NOW = parse_timestamp("2026-02-10T12:34:56.789Z")
TOKEN = "ak_test.not-to-be-seen"
ENVIRONMENT = {"ANYREACH_TOKEN": TOKEN, "ANYREACH_BASE_URL": "http://127.0.0.1:9", "ANYREACH_ORG_ID": "org_1"}


def settled(**options: str) -> SourceOptions:
    return settle(options, ENVIRONMENT, NOW)


def instant(text: str) -> datetime | None:
    return to_datetime(parse_timestamp(text))


def test_the_range_is_settled_once() -> None:
    spec = settled().spec
    assert (spec.since, spec.until) == (None, instant("2026-02-10T12:33:00Z"))
    assert settled(lag="57s").spec.until == instant("2026-02-10T12:33:00Z")
    assert settled(lag="0").spec.until == instant("2026-02-10T12:34:00Z")
    spec = settled(since="2026-01", until="2026-02").spec
    assert (spec.since, spec.until) == (instant("2026-01-01"), instant("2026-02-01"))
    # What is to come is in no range.
    assert settled(until="2026-02-10T12:34:50Z").spec.until == to_datetime(NOW - MINUTE)
    spec = settled(created_after="2026-01-01", created_before="2026-01-31").spec
    assert (spec.since, spec.until) == (instant("2026-01-01"), instant("2026-01-31T00:00:00.000001Z"))


def test_the_address_and_the_organization_are_those_of_the_driver_and_the_token_is_not_kept() -> None:
    options = settled(since="2026-01-01")
    assert (options.spec.base_url, options.spec.org_id, options.spec.token) == ("http://127.0.0.1:9", "org_1", None)
    assert TOKEN.encode() not in pickle.dumps(options)
    assert pickle.loads(pickle.dumps(options)) == options
    assert settled(org_id="org_2").spec.org_id == "org_2"
    # Each process finds its own.
    assert options.spec.resolve(ENVIRONMENT | {"ANYREACH_ORG_ID": "else"}).credentials.organization == "org_1"


def test_texts_become_values() -> None:
    options = settled(
        fields="id,duration", duration_above="5m", user_turn_count_above="3", status="completed,failed",
        max_rps="10.5", slots="4", windows="7", page_size="100", insecure_http="True", pushdown="true", hydrate="never",
    )  # fmt: skip
    assert (options.windows, options.slots, options.pushdown) == (7, 4, True)
    resolved = options.spec.resolve(ENVIRONMENT)
    assert resolved.asked.filters == {
        "duration_above": "300", "user_turn_count_above": "3", "status": ("completed", "failed")
    }  # fmt: skip
    assert (resolved.settings.max_rps, resolved.settings.page_size, resolved.settings.concurrency) == (10.5, 100, 4)
    assert options.share_of(resolved.settings).max_rps == 10.5 / 4
    assert "created_at" in options.schema.names


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sinse": "2026"}, "sinse: there is no such option. Did you mean since?"),
        ({"token": TOKEN}, "token: a token is no option, because Spark shows options"),
        ({"path": "/somewhere"}, "have no path here"),
        ({"destination": "x"}, "destination: there is no such option"),
        ({"since": "soon"}, "since 'soon': "),
        ({"since": "2026-02-10T12:33:30Z"}, "the range is empty"),
        ({"since": "2026-03"}, "since"),
        ({"status": "done"}, "status 'done': known values are"),
        ({"windows": "0"}, "windows '0': must be a whole number from 1 to 100000"),
        ({"slots": "many"}, "slots 'many': must be a whole number"),
        ({"max_rps": "10"}, "max_rps: give slots also"),
        ({"max_rps": "fast", "slots": "2"}, "max_rps 'fast': must be a number"),
        ({"pushdown": "yes"}, "pushdown 'yes': must be true or false"),
        ({"concurrency": "x"}, "concurrency 'x': must be a whole number"),
        ({"memory": "1MiB"}, "memory: must be at least 256MiB"),
        ({"fields": "id,summry"}, "no such field: summry. Did you mean summary?"),
        ({"base_url": "http://api.example.com"}, "insecure_http"),
        ({"ca_file": "/nowhere.pem"}, "ca_file"),
    ],
)
def test_what_is_wrong_is_refused_in_the_words_of_options(options: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        settled(**options)
    assert says in str(raised.value)
    assert "--" not in str(raised.value)
    assert TOKEN not in str(raised.value)


def test_the_columns_are_those_of_the_batches() -> None:
    assert settled(fields="duration,agent").ddl == (
        "`id` STRING, `status` STRING, `duration` BIGINT, `created_at` TIMESTAMP, `updated_at` TIMESTAMP, "
        "`agent` STRUCT<`id`: STRING, `name`: STRING>, `extra` STRING"
    )
    assert [field.name for field in settled().schema if field.type == pa.int64()] == ["duration", "user_turn_count"]


def test_every_option_is_in_the_manual() -> None:
    page = (Path(__file__).parents[2] / "exporter/manual/spark.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in page] == []


@dataclass(frozen=True)
class Compared:
    """Looks like a filter of Spark; a subclass has the name of one."""

    attribute: tuple[str, ...]
    value: Any


KINDS: dict[str, Callable[[Any, Any], bool]] = {
    "GreaterThan": lambda at, value: at > value,
    "GreaterThanOrEqual": lambda at, value: at >= value,
    "LessThan": lambda at, value: at < value,
    "LessThanOrEqual": lambda at, value: at <= value,
    "EqualTo": lambda at, value: at == value,
    "EqualNullSafe": lambda at, value: at == value,
    "In": lambda at, value: at in value,
    "IsNotNull": lambda at, value: True,
    "Not": lambda at, value: True,
    "StringContains": lambda at, value: True,
}
_TIMES = st.integers(0, 12).map(lambda number: datetime.fromtimestamp(number, UTC))


@settings(max_examples=size_of(300, 3000))
@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.lists(_TIMES, min_size=1, max_size=3)), max_size=4))
def test_a_narrowed_range_holds_every_row_that_matches(wanted: list[tuple[str, list[datetime]]]) -> None:
    filters, whole = [], Interval(2 * SECOND, 9 * SECOND)
    for kind, values in wanted:
        value = tuple(values) if kind == "In" else values[0]
        filters.append(type(kind, (Compared,), {})(("created_at",), value))
    part = narrowed(whole, filters)
    for second in range(2, 9):
        at = datetime.fromtimestamp(second, UTC)
        if all(KINDS[type(each).__name__](at, each.value) for each in filters):
            assert part is not None
            assert second * SECOND in part
    if part is not None:
        assert whole.start <= part.start < part.end <= whole.end


def test_comparisons_with_instants_narrow_and_nothing_else_does() -> None:
    def narrow(kind: str, value: object, column: str = "created_at") -> Interval | None:
        return narrowed(Interval(0, 10 * DAY), [type(kind, (Compared,), {})((column,), value)])

    day = datetime(1970, 1, 4, tzinfo=UTC)
    assert narrow("GreaterThan", day) == Interval(3 * DAY + 1, 10 * DAY)
    assert narrow("GreaterThanOrEqual", day) == Interval(3 * DAY, 10 * DAY)
    assert narrow("LessThan", day) == Interval(0, 3 * DAY)
    assert narrow("LessThanOrEqual", day) == Interval(0, 3 * DAY + 1)
    assert narrow("EqualTo", day) == Interval(3 * DAY, 3 * DAY + 1)
    assert narrow("LessThan", datetime(1970, 1, 1, tzinfo=UTC)) is None
    for kind, value, column in [
        ("GreaterThan", day.replace(tzinfo=None), "created_at"),
        ("GreaterThan", "1970-01-04", "created_at"),
        ("In", (day, None), "created_at"),
        ("GreaterThan", day, "updated_at"),
        ("Not", day, "created_at"),
    ]:
        assert narrow(kind, value, column) == Interval(0, 10 * DAY)


def test_an_engine_needs_a_session() -> None:
    with pytest.raises(UsageError, match=r"^spark: must be a SparkSession, .* not None$"):
        engine(None)


def test_an_attempt_raises_nothing_and_quotes_nothing() -> None:
    work = "tests.engines.tasks:work"
    assert attempted(work, task("reverse", content="no")) == (True, b"on")
    assert attempted(work, task("refuse", reason="no task")) == (False, b"no task")
    assert attempted(work, task("fail", secret="hush")) == (False, b"a task ended with RuntimeError where Spark ran it")


def test_a_reason_is_the_error_of_python_or_the_first_line() -> None:
    trace = 'Job aborted.\nTraceback (most recent call last):\n  File "x"\n{}\n\n\tat org.apache.spark.Foo.bar\n'
    missing = RuntimeError(trace.format("ModuleNotFoundError: No module named 'exporter'"))
    assert reason_of(missing).startswith("ModuleNotFoundError: No module named 'exporter'. Install exporter on every")
    lost = RuntimeError("Job aborted due to stage failure: ExecutorLostFailure\nDriver stacktrace:\norg.a.B: c")
    assert reason_of(lost) == "Job aborted due to stage failure: ExecutorLostFailure"
