"""Reads through Spark, as a data source and as an engine, exactly, whatever becomes of its executors.

pytest -n0 -m spark        in an environment with anyreach-exporter[spark], as in .ci/run
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from anyio.from_thread import start_blocking_portal

import exporter
import exporter.spark
from exporter import ExportSpec, blocking
from exporter.contract import DAY, parse_timestamp
from exporter.engine import Engine
from exporter.engines.spark.engine import SparkEngine, engine
from exporter.errors import UsageError
from exporter.sandbox import TOKEN, Behaviour, Row, Sandbox, make_conversations, serve
from exporter.schedule import shares
from tests.end_to_end.export_directory import ExportDirectory, assert_same
from tests.end_to_end.records import SINCE, UNTIL, Record, records
from tests.engines.conformance import EngineConformance
from tests.engines.spark_session import Accidents, Cluster, CountingEngine, cluster
from tests.toolkit.clouds import S3
from tests.toolkit.manual import PAGES

on_spark = [
    pytest.mark.spark,
    pytest.mark.skipif(find_spec("pyspark") is None, reason="needs Spark, in an environment of its own as in .ci/run"),
]
on_connect = [
    *on_spark,
    pytest.mark.skipif(find_spec("grpc") is None, reason="needs Spark Connect: pip install 'pyspark[connect]'"),
]
ROOT = Path(__file__).parents[2]
ROWS = make_conversations(600, SINCE, UNTIL, density="bulk")
AT_HOME = make_conversations(200, parse_timestamp("2025-12-20"), parse_timestamp("2026-02-10"))
#: Enough pages to be worth several tasks.
MANY = make_conversations(3000, SINCE, UNTIL, density="one-burst")


@pytest.fixture(scope="module")
def home() -> Iterator[Sandbox]:
    """Serves what is read where no address is given: the variable for it must be set before Spark begins."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(AT_HOME)) as server:
        yield server


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, s3: S3, home: Sandbox) -> Iterator[Cluster]:
    environment = {**s3.environment, "ANYREACH_TOKEN": TOKEN, "ANYREACH_BASE_URL": home.url}
    with cluster(tmp_path_factory.mktemp("spark"), environment) as session:
        session.spark.dataSource.register(exporter.spark.Anyreach)
        yield session


@pytest.fixture
def serving() -> Iterator[Callable[..., Sandbox]]:
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())

        def start(rows: Iterable[Row], behaviour: Behaviour | None = None) -> Sandbox:
            return stack.enter_context(portal.wrap_async_context_manager(serve(rows, behaviour)))

        yield start


def frame(session: Cluster, server: Sandbox, **options: object) -> Any:
    given = {"since": "2024-01-01", "until": "2024-03-01", "page_size": "50", "windows": "3", **options}
    return session.spark.read.format("anyreach").options(base_url=server.url, **given).load()


def spec_for(server: Sandbox, destination: Path | str, **options: Any) -> ExportSpec:
    given = {"since": "2024-01-01", "until": "2024-03-01", "page_size": 20, "concurrency": 2, **options}
    return ExportSpec(destination=destination, base_url=server.url, **given)


def by_id(table: Any) -> dict[str, Record]:
    rows = table.to_pylist()
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def failure(act: Callable[[], object]) -> str:
    with pytest.raises(Exception) as raised:
        act()
    return str(raised.value)


class TestSource:
    pytestmark = on_spark

    @pytest.mark.parametrize(
        "behaviour",
        [
            Behaviour(),
            Behaviour(precision="s", rounding="half-up", cursor="inclusive", page_cap=40),
            Behaviour(hides_token_created=True, equals="shuffled", fault_rate=0.1, seed=4),
        ],
    )
    def test_every_row_comes_once_and_whole(
        self, behaviour: Behaviour, session: Cluster, serving: Callable[..., Sandbox]
    ) -> None:
        assert_same(by_id(frame(session, serving(ROWS, behaviour)).toArrow()), records(ROWS, behaviour))

    def test_it_is_a_dataframe(self, session: Cluster, serving: Callable[..., Sandbox]) -> None:
        server, wanted = serving(ROWS), records(ROWS)
        calls = frame(session, server, channel="telephone", fields="id,duration,channel,agent")
        assert server.requests == []
        calls.createOrReplaceTempView("calls")
        (row,) = session.spark.sql(
            "SELECT count(*) AS n, max(created_at) AS last, sum(duration) AS s FROM calls"
        ).collect()
        phone = [one for one in wanted.values() if one["channel"] == "telephone"]
        assert (row.n, row.s) == (len(phone), sum(one["duration"] or 0 for one in phone))
        asked = len(server.requests)
        picked = calls.filter("duration > 60 and created_at >= '2024-02-01'").select("id", "agent.name").toArrow()
        by_hand = {
            one["id"]: one["agent"] and one["agent"]["name"]
            for one in phone
            if (one["duration"] or 0) > 60 and one["created_at"].month >= 2
        }
        assert by_hand
        assert dict(zip(*picked.to_pydict().values(), strict=True)) == by_hand
        # Each action reads anew, within the range that `load` has settled.
        assert len(server.requests) > asked
        planned = [request.query for request in server.requests if request.query.get("limit") == "100"]
        assert {query["created_before"] for query in planned} == {"2024-03-01T00:00:00Z"}

    def test_a_limit_ends_what_is_being_read(self, session: Cluster, serving: Callable[..., Sandbox]) -> None:
        server = serving(make_conversations(3000, SINCE, UNTIL, density="flat"))
        assert len(frame(session, server, windows="1").limit(5).collect()) == 5
        assert len(server.requests) < 40  # of more than sixty

    def test_filters_narrow_what_is_asked_for(self, session: Cluster, serving: Callable[..., Sandbox]) -> None:
        server, wanted = serving(ROWS), records(ROWS, since=SINCE + 40 * DAY, until=SINCE + 45 * DAY)
        session.spark.conf.set("spark.sql.python.filterPushdown.enabled", "true")
        session.spark.conf.set("spark.sql.session.timeZone", "America/New_York")
        try:
            calls = frame(session, server, pushdown="true")
            some = calls.filter("created_at >= '2024-02-09T19:00:00' and created_at < '2024-02-14T19:00:00'")
            found = by_id(some.toArrow())
            assert calls.filter("created_at > '2025-01-01T00:00:00'").count() == 0
        finally:
            session.spark.conf.set("spark.sql.python.filterPushdown.enabled", "false")
            session.spark.conf.set("spark.sql.session.timeZone", "UTC")
        assert found.keys() == wanted.keys()
        whole = [request for request in server.requests if "fields" not in request.query]
        assert all(
            request.query["created_before"] < "2024-02-20" for request in whole if "created_before" in request.query
        )
        assert "filterPushdown.enabled" in failure(frame(session, server, pushdown="true").count)

    def test_what_is_wrong_is_told_by_load(self, session: Cluster, serving: Callable[..., Sandbox]) -> None:
        server = serving([])
        assert "UsageError: sinse: there is no such option. Did you mean since?" in failure(
            lambda: frame(session, server, sinse="2024")
        )
        refused = failure(lambda: frame(session, server, token=TOKEN))
        assert "UsageError: token: a token is no option" in refused
        assert TOKEN not in refused
        columns = session.spark.read.format("anyreach").schema("id string")
        assert "leave out .schema" in failure(lambda: columns.options(base_url=server.url).load().count())
        assert server.requests == []

    def test_a_doubt_and_a_revoked_token_fail_the_job_by_name(
        self, session: Cluster, serving: Callable[..., Sandbox]
    ) -> None:
        odd = Row(SINCE, raw='{"id":"odd","created_at":"2024-01-01T00:00:00Z","duration":1.5}')
        assert "DoubtfulStreamError: 1 row fit no column, between 2024-01-01" in failure(
            frame(session, serving([*ROWS[:50], odd]), windows="1").count
        )
        assert "AccessError: " in failure(frame(session, serving(ROWS[:50], Behaviour(revoked_after=0))).count)

    def test_the_token_is_nowhere(self, session: Cluster, serving: Callable[..., Sandbox]) -> None:
        calls = frame(session, serving(ROWS[:50])).filter("duration > 10")
        calls.collect()
        plan = calls._jdf.queryExecution().toString()
        assert "anyreach" in plan
        written = [path for path in (*session.events.rglob("*"), *session.logs.rglob("*")) if path.is_file()]
        texts = [path.read_bytes() for path in written if path.suffix != ".jar"]
        assert any(b"SparkListenerSQLExecutionStart" in text for text in texts)
        assert any(path.name == "stderr" for path in written)
        assert not [path for path, text in zip(written, texts, strict=True) if TOKEN.encode() in text]
        assert TOKEN not in plan


class TestConnect:
    pytestmark = on_connect

    @pytest.mark.thorough
    def test_both_work_without_rdds(self, serving: Callable[..., Sandbox], tmp_path: Path) -> None:
        server = serving(ROWS)
        environment = {
            **os.environ,
            "ANYREACH_TOKEN": TOKEN,
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "SPARK_LOCAL_IP": "127.0.0.1",
        }
        command = [sys.executable, "-m", "tests.engines.spark_connect", server.url, str(tmp_path / "rows.arrow")]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with pa.ipc.open_file(tmp_path / "rows.arrow") as file:
            assert_same(by_id(file.read_all()), records(ROWS))


@pytest.fixture(scope="module", name="engine")
def testing_engine(session: Cluster) -> Engine:
    return SparkEngine(session.spark, None, work="tests.engines.tasks:work")


class TestEngine(EngineConformance):
    """Runs the tests of every engine on one in a session that stays."""

    pytestmark = on_spark


class TestExport:
    pytestmark = on_spark

    @pytest.fixture(autouse=True)
    def short_tasks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lets a list that is read in seconds be worth several tasks."""
        for name in ("_MOST_SECONDS", "_LEAST_SECONDS", "_FIRST_SECONDS"):
            monkeypatch.setattr(shares, name, 1.0)
        monkeypatch.setattr(shares, "_LEAST_PAGES", 0)

    def test_it_is_that_of_a_plain_run_though_an_executor_is_killed_and_one_is_stopped(
        self, session: Cluster, serving: Callable[..., Sandbox], tmp_path: Path
    ) -> None:
        server = serving(MANY, Behaviour(latency=0.1))
        plain = blocking.export(spec_for(server, tmp_path / "plain"))
        with (
            Accidents(session, server, kill_at=40, stop_at=80) as accidents,
            closing(CountingEngine(session.spark, None)) as on_spark,
        ):
            before = len(server.requests)
            accidents.begin()
            found = blocking.export(spec_for(server, tmp_path / "out"), engine=on_spark)
        assert accidents.happened == ["killed", "stopped"]
        assert on_spark.tasks >= 4
        assert len(server.requests) > before
        # The executor that was stopped may have staged a file since: the next run sweeps it.
        blocking.export(spec_for(server, tmp_path / "out"))
        exported = ExportDirectory(tmp_path / "out")
        exported.check(records(MANY))
        assert exported.records() == ExportDirectory(tmp_path / "plain").records()
        same = ("state", "rows", "exit_status", "organization", "range_start", "range_end")
        assert {name: getattr(plain, name) for name in same} == {name: getattr(found, name) for name in same}

    def test_it_is_that_of_a_plain_run_in_a_bucket(
        self, session: Cluster, serving: Callable[..., Sandbox], tmp_path: Path, s3: S3
    ) -> None:
        s3.make_bucket("spark")
        server = serving(MANY, Behaviour(latency=0.1))
        with (
            Accidents(session, server, kill_at=40) as accidents,
            closing(CountingEngine(session.spark, None)) as on_spark,
        ):
            accidents.begin()
            found = blocking.export(spec_for(server, "s3://spark/calls"), engine=on_spark)
        assert accidents.happened == ["killed"]
        assert on_spark.tasks >= 4
        assert (found.state, found.rows) == ("complete", len(MANY))
        stored = exporter.open_dataset("s3://spark/calls").to_table()
        assert_same(by_id(stored.drop_columns(["created_date"])), records(MANY))
        assert blocking.verify("s3://spark/calls").exit_status == 0


class TestManual:
    pytestmark = on_spark

    def test_its_programs_run(self, session: Cluster, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        s3.make_bucket("bucket")
        monkeypatch.chdir(tmp_path)
        source, pushdown, on_executors, finished = PAGES["spark"].in_language("python")
        names: dict[str, Any] = {"spark": session.spark}
        assert len(source.strip().splitlines()) == 4
        exec(source, names)
        january = records(AT_HOME, since=parse_timestamp("2026-01-01"), until=parse_timestamp("2026-02-01"))
        assert_same(by_id(names["calls"].toArrow()), january)
        try:
            exec(pushdown, names)
        finally:
            session.spark.conf.set("spark.sql.python.filterPushdown.enabled", "false")
        exec(on_executors, names)
        assert (names["summary"].state, names["summary"].rows) == (
            "complete",
            len(records(AT_HOME, since=parse_timestamp("2026-01-01"))),
        )
        blocking.export(ExportSpec(destination="demo-export", until="2026-02-01"))
        # Java does not follow a change of directory.
        exec(finished.replace("demo-export", str(tmp_path / "demo-export")), names)
        day = records(AT_HOME, since=parse_timestamp("2026-01-15"), until=parse_timestamp("2026-01-16"))
        assert names["calls"].where("created_date = DATE'2026-01-15'").count() == len(day) > 0
        assert names["calls"].count() == len(records(AT_HOME, until=parse_timestamp("2026-02-01")))


def test_slots_are_a_number() -> None:
    for wrong in (0, -1, True, "2"):
        with pytest.raises(UsageError, match=r"slots .*: must be a whole number, at least 1"):
            engine(None, wrong)  # type: ignore[arg-type]


def test_without_spark_the_source_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.delitem(sys.modules, "exporter.engines.spark.source", raising=False)
    monkeypatch.delitem(vars(exporter.spark), "Anyreach", raising=False)
    with pytest.raises(UsageError, match=r"(?s)needs Spark 4\.0 or later.*pip install"):
        _ = exporter.spark.Anyreach


def test_nothing_loads_spark_before_it_is_used() -> None:
    code = "import sys, exporter.spark, exporter.__main__; sys.exit('pyspark' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
