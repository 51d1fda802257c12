"""Sends spans and metrics of a run to an OpenTelemetry collector, as the usual `OTEL_*` variables say.

Nothing is imported unless they ask for it. A collector that is slow or gone costs a run at most `_LAST_SECONDS`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Final

from exporter.trace import Attribute, Span, followed_by
from exporter.version import __version__
from exporter.words import install_command

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

_SERVICE: Final = "exporter"
#: At its end, a run waits no longer than this for what has not been sent yet.
_LAST_SECONDS: Final = 5.0
_SIGNALS: Final = ("TRACES", "METRICS")
_OTLP: Final = "otlp"
_NONE: Final = "none"
_PROTOCOL: Final = "http/protobuf"
_COUNTED: Final = {
    "requests": ("{request}", "Requests to the API."),
    "retries": ("{request}", "Requests that were repeated."),
    "throttled": ("{request}", "Requests that the API refused as too fast."),
    "rows": ("{row}", "Conversations that were read."),
}


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Returns whether the environment asks for telemetry."""
    return any(_wants(environment, signal) for signal in _SIGNALS)


def _wants(environment: Mapping[str, str], signal: str) -> bool:
    if _is_disabled(environment):
        return False
    if names := _exporters(environment, signal):
        return _OTLP in names
    return any(environment.get(f"OTEL_EXPORTER_OTLP_{which}ENDPOINT") for which in ("", f"{signal}_"))


def _is_disabled(environment: Mapping[str, str]) -> bool:
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _exporters(environment: Mapping[str, str], signal: str) -> list[str]:
    """Returns the exporters that a variable lists for a signal."""
    return [name for each in environment.get(f"OTEL_{signal}_EXPORTER", "").split(",") if (name := each.strip())]


def _unsupported(environment: Mapping[str, str]) -> list[str]:
    """Returns what the variables list and nothing here sends to."""
    if _is_disabled(environment):
        return []
    listed = (name for signal in _SIGNALS for name in _exporters(environment, signal))
    return [*dict.fromkeys(name for name in listed if name not in (_OTLP, _NONE))]


@contextmanager
def telemetry(
    environment: Mapping[str, str], export: str, warn: Callable[[str], object], note: Callable[[str], object]
) -> Iterator[None]:
    """Sends what happens in the block, if the environment asks for it. `export` is the name of what runs.

    `warn` is told once if not everything has arrived, and `note` if the packages for it are not installed: many
    clusters set the variables for every container.
    """
    if unsupported := _unsupported(environment):
        names = " and ".join(f"OTEL_{signal}_EXPORTER" for signal in _SIGNALS if _exporters(environment, signal))
        warn(f"telemetry: {names}: only {_OTLP} and {_NONE} are known, and not {', '.join(unsupported)}")
    if not is_wanted(environment):
        yield
        return
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", *(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL" for signal in _SIGNALS)):
        if (protocol := environment.get(name)) not in (None, "", _PROTOCOL):
            warn(f"telemetry: {name} is {protocol}, but only {_PROTOCOL} can be sent; nothing is")
            yield
            return
    complaints = _Complaints()
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(complaints)
    try:
        try:
            tracer, meter = _providers(environment)
        except ImportError:
            package = "anyreach-exporter[otel]"
            note(f"OTEL_* variables ask for telemetry, for which packages are missing: {install_command(package)}")
            yield
            return
        except Exception as error:  # noqa: BLE001 - no variable of a collector may fail a run
            warn(f"telemetry: the OTEL_* variables cannot be used ({type(error).__name__}); nothing was sent")
            yield
            return
        try:
            with followed_by(_Sender(tracer, meter, export)):
                yield
        finally:
            sending = Thread(target=_finish, args=(tracer, meter, complaints), daemon=True)
            sending.start()
            sending.join(_LAST_SECONDS)
            if sending.is_alive() or complaints.came:
                warn("telemetry: not everything has reached the collector that OTEL_EXPORTER_OTLP_ENDPOINT names")
    finally:
        logger.removeHandler(complaints)


def _providers(environment: Mapping[str, str]) -> tuple["TracerProvider | None", "MeterProvider | None"]:
    """Returns where spans and metrics go; None for what is not wanted."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    is_named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    named = {"service.version": __version__} | ({} if is_named else {"service.name": _SERVICE})
    resource = Resource.create(named)
    tracer = meter = None
    if _wants(environment, "TRACES"):
        # Its end is here, and not when the interpreter exits, where it could take long.
        tracer = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracer.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    if _wants(environment, "METRICS"):
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        meter = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    return tracer, meter


def _finish(tracer: "TracerProvider | None", meter: "MeterProvider | None", complaints: "_Complaints") -> None:
    try:
        if tracer is not None:
            tracer.shutdown()
        if meter is not None:
            meter.shutdown(timeout_millis=1000 * _LAST_SECONDS)
    except Exception:  # noqa: BLE001 - a run has ended, and keeps its status
        complaints.came = True


class _Complaints(logging.Handler):
    """Notes that a library has complained. What it says may quote a header of a collector."""

    came = False

    def emit(self, record: logging.LogRecord) -> None:
        self.came = self.came or record.levelno >= logging.WARNING


class _Sender:
    """Makes OpenTelemetry's spans and metrics of what it follows."""

    def __init__(self, tracer: "TracerProvider | None", meter: "MeterProvider | None", export: str) -> None:
        self._tracer = None if tracer is None else tracer.get_tracer(_SERVICE, __version__)
        instruments = None if meter is None else meter.get_meter(_SERVICE, __version__)
        self._counters = {
            name: instruments.create_counter(f"{_SERVICE}.{name}", unit, help_)
            for name, (unit, help_) in _COUNTED.items()
            if instruments is not None
        }
        self._duration = None
        if instruments is not None:
            self._duration = instruments.create_histogram(
                f"{_SERVICE}.request.duration", "s", "How long a request to the API takes."
            )
        self._export: dict[str, Attribute] = {f"{_SERVICE}.export": export}

    def count(self, name: str, amount: int) -> None:
        if (counter := self._counters.get(name)) is not None:
            counter.add(amount, self._export)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Attribute]) -> Iterator[Span]:
        began = time.monotonic()
        try:
            with self._recorded(name, attributes) as span:
                yield span
        finally:
            if name == "request" and self._duration is not None:
                self._duration.record(time.monotonic() - began, self._export)

    @contextmanager
    def _recorded(self, name: str, attributes: Mapping[str, Attribute]) -> Iterator[Span]:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        if self._tracer is None:
            yield lambda **_more: None
            return
        is_request = name == "request"
        with self._tracer.start_as_current_span(
            name,
            kind=SpanKind.CLIENT if is_request else SpanKind.INTERNAL,
            attributes={**self._export, **_named(attributes)} | ({"http.request.method": "GET"} if is_request else {}),
            # The message of an error is not sent, nor is where it arose.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield lambda **more: span.set_attributes(_named(more))
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise


def _named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {f"{_SERVICE}.{name}": value for name, value in attributes.items()}
