"""What calls return holds each time as a `datetime` in UTC, and no integer that is a time or an interval."""

import types
from collections.abc import Iterator
from datetime import datetime
from inspect import getmembers, iscoroutinefunction
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import exporter
from exporter.api import calls, privacy, upkeep
from exporter.contract import BEGINNING, DAY, to_datetime
from exporter.coverage import Interval, Period

#: The names of fields that are times, and how others end.
TIMES = {"at", "start", "end", "since", "until", "day", "days", "reading", "audited", "period", "gaps", "intervals"}
ENDINGS = ("_at", "_since", "_since_before", "_start", "_end", "_ahead")


def results() -> set[type]:
    """Returns what calls return, and what an observer is told."""
    found = {exporter.StreamReport, exporter.Snapshot}
    for module in (calls, privacy, upkeep):
        for _, call in getmembers(module, iscoroutinefunction):
            if call.__module__ == module.__name__ and not call.__name__.startswith("_"):
                found.add(get_type_hints(call)["return"])
    return {kind for kind in found if kind.__module__.startswith("exporter.")}


def fields_of(kind: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yields each field below a type, with the types that it may hold that have no fields of their own."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return
    if get_origin(kind) in (Union, types.UnionType, tuple, list, dict):
        for each in get_args(kind):
            yield from fields_of(each, path)
    elif isinstance(kind, type) and kind.__module__.startswith("exporter."):
        for name, hint in get_type_hints(kind, include_extras=True).items():
            yield from fields_of(hint, f"{path}.{name}")
    else:
        yield path, kind


def test_every_call_has_a_result() -> None:
    names = {"Summary", "SyncResult", "RereadResult", "AuditResult", "CompactResult", "VacuumResult", "VerifyResult"}
    names |= {"ConvertResult", "RecordingsResult", "ExpireResult", "EraseResult", "ProtectResult", "RekeyResult"}
    names |= {"CheckResult", "PlanResult", "ReconcileResult"}
    assert {kind.__name__ for kind in results()} == {*names, "AcceptResult", "Status", "StreamReport", "Snapshot"}
    assert all(getattr(exporter, kind.__name__) is kind for kind in results())


def test_no_time_is_an_integer_or_a_text() -> None:
    found = [field for kind in results() for field in fields_of(kind, kind.__name__)]
    times = [(path, kind) for path, kind in found if kind is datetime]
    assert {"Summary.range_end", "Status.gaps.start", "Status.last_run.ended_at", "AcceptResult.accepted.at"} <= {
        path for path, _ in times
    }
    for path, kind in found:
        name = path.rpartition(".")[2]
        assert kind not in (int, str) or not (name in TIMES or name.endswith(ENDINGS)), path


def test_nothing_of_the_engine_is_in_a_result() -> None:
    """Its values hold times as integers."""
    engine = {"Interval", "Unproven", "Misfit", "Acceptance", "Doubts", "QuarantineFile", "WithheldRows", "Differences"}
    for kind in results():
        assert not engine & set(_names(kind)), kind


def _names(kind: Any) -> Iterator[str]:
    for each in get_args(kind):
        yield from _names(each)
    if isinstance(kind, type) and kind.__module__.startswith("exporter."):
        yield kind.__name__
        for hint in get_type_hints(kind).values():
            yield from _names(hint)


def test_an_interval_is_a_period_whose_start_is_none_if_it_is_open() -> None:
    assert Interval(BEGINNING, DAY).period == Period(None, to_datetime(DAY))
    assert Interval(BEGINNING + 1, DAY).period == Period(to_datetime(BEGINNING + 1), to_datetime(DAY))
