"""Spans and metrics reach a collector of the test's own, and nothing is imported where nobody asks for them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from exporter import telemetry
from exporter.contract import DAY, format_instant
from exporter.sandbox import TOKEN, Row, make_conversations
from exporter.telemetry import is_wanted
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.records import SINCE
from tests.toolkit.listeners import Listener, listening

pytestmark = pytest.mark.usefixtures("hasty")

RANGE = ("--since", format_instant(SINCE), "--until", format_instant(SINCE + 4 * DAY))


@pytest.fixture
def rows() -> list[Row]:
    return make_conversations(60, SINCE, SINCE + 4 * DAY, seed=3, transcripts=False, density="flat")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    with listening() as listener:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", listener.url)
        yield listener


def spans_in(collector: Listener) -> list[Span]:
    bodies = [each.body for each in collector.heard if each.path == "/v1/traces"]
    requests = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    scopes = [scope for request in requests for resource in request.resource_spans for scope in resource.scope_spans]
    return [span for scope in scopes for span in scope.spans]


def attributes_of(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def metrics_in(collector: Listener) -> dict[str, Any]:
    bodies = [each.body for each in collector.heard if each.path == "/v1/metrics"]
    requests = [ExportMetricsServiceRequest.FromString(body) for body in bodies]
    scopes = [scope for each in requests for resource in each.resource_metrics for scope in resource.scope_metrics]
    return {metric.name: metric for scope in scopes for metric in scope.metrics}


def test_a_run_its_windows_and_its_requests_are_seen(
    rows: list[Row],
    serving: Serving,
    command: Command,
    collector: Listener,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    asked = ("--user-id", "caller-7", "--json")
    done = command("export", out, *RANGE, *asked, server=serving(rows))
    assert (done.status, done.err) == (0, "")
    spans = spans_in(collector)
    by_id = {span.span_id: span for span in spans}
    by_name = {name: [span for span in spans if span.name == name] for name in ("run", "window", "request")}
    assert sum(map(len, by_name.values())) == len(spans)
    (run,) = by_name["run"]
    assert all(by_id[span.parent_span_id] is run for span in by_name["window"])
    assert any(by_id[span.parent_span_id].name == "window" for span in by_name["request"])
    assert {span.trace_id for span in spans} == {run.trace_id}
    assert run.start_time_unix_nano <= min(span.start_time_unix_nano for span in spans)
    attributes = attributes_of(run)
    assert attributes["exporter.command"] == "export"
    assert attributes["exporter.exit_status"] == 0
    assert attributes["exporter.export"] == str(out)
    assert all(span.kind == Span.SPAN_KIND_CLIENT for span in by_name["request"])

    metrics, summary = metrics_in(collector), json.loads(done.out)
    totals = {name: sum(point.as_int for point in metric.sum.data_points) for name, metric in metrics.items()}
    (durations,) = metrics["exporter.request.duration"].histogram.data_points
    assert len(by_name["request"]) == totals["exporter.requests"] == durations.count >= summary["requests"] > 0

    sent = b"".join(each.body for each in collector.heard)
    for secret in (TOKEN, "caller-7"):
        assert secret.encode() not in sent
    assert b"exporter" in sent


def test_an_error_is_named_without_its_message(
    rows: list[Row],
    serving: Serving,
    command: Command,
    collector: Listener,
    tmp_path: Path,
) -> None:
    assert command("export", tmp_path / "out", *RANGE, server=serving(rows), token="ak_a-wrong-one").status == 4
    failed = [span for span in spans_in(collector) if span.status.code == Status.STATUS_CODE_ERROR]
    assert {attributes_of(span)["error.type"] for span in failed} == {"AccessError"}
    assert not any(span.events or span.status.message for span in failed)
    assert not any(b"ak_a-wrong-one" in each.body for each in collector.heard)


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_collector_that_is_gone_or_silent_costs_a_warning(
    rows: list[Row],
    serving: Serving,
    command: Command,
    collector: Listener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_silent: bool,
) -> None:
    monkeypatch.setattr(telemetry, "_LAST_SECONDS", 0.3)
    if is_silent:
        collector.silence.set()
    else:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1/secret")
    done = command("export", tmp_path / "out", *RANGE, server=serving(rows))
    assert done.status == 0
    assert done.err.count("telemetry: not everything has reached the collector") == 1
    assert "secret" not in done.err


def test_what_only_another_protocol_can_take_is_not_sent(
    rows: list[Row],
    serving: Serving,
    command: Command,
    collector: Listener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    done = command("export", tmp_path / "out", *RANGE, server=serving(rows))
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is grpc, but only http/protobuf can be sent" in done.err
    assert not collector.heard


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, False),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": " , ", "OTEL_METRICS_EXPORTER": "none"},
            True,
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, True),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c",
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_METRICS_EXPORTER": "none",
            },
            False,
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "TRUE"}, False),
    ],
)
def test_the_usual_variables_ask_for_it(variables: dict[str, str], wanted: bool) -> None:
    assert is_wanted(variables) is wanted


@pytest.mark.parametrize(
    ("variables", "warnings"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp,console", "OTEL_METRICS_EXPORTER": "prometheus"}, ["console, prometheus"]),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}, ["console"]),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, []),
    ],
)
def test_what_nothing_is_sent_to_is_one_warning(variables: dict[str, str], warnings: list[str]) -> None:
    told: list[str] = []
    # No address: what is wanted beside that is not sent here either.
    with telemetry.telemetry(variables | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "acme", told.append, told.append):
        pass
    assert [each.rpartition(" and not ")[2] for each in told if "only otlp and none" in each] == warnings


def test_traces_or_metrics_alone_can_be_turned_off(
    rows: list[Row],
    serving: Serving,
    command: Command,
    collector: Listener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert command("export", tmp_path / "out", *RANGE, server=serving(rows)).status == 0
    assert set(collector.paths) == {"/v1/metrics"}
    (read,) = metrics_in(collector)["exporter.rows"].sum.data_points
    assert read.as_int == 60


def test_nothing_is_imported_where_nobody_asks(serving: Serving, rows: list[Row], tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from exporter.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "print([name for name in sys.modules if name.startswith(('exporter.telemetry', 'opentelemetry', 'google'))])\n"
        "sys.exit(status)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", program, "export", str(tmp_path / "out"), *RANGE],
        env=environment | {"ANYREACH_BASE_URL": serving(rows).url, "ANYREACH_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "['exporter.telemetry']"
