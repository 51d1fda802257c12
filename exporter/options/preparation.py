"""Prepares what a run would be given, each part by itself: one that is wrong hides no other one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from exporter.errors import UsageError
from exporter.options.dialect import for_caller
from exporter.options.spec import ExportSpec
from exporter.run.prepared import Given, Prepared

T = TypeVar("T")


def prepare(spec: ExportSpec, environment: Mapping[str, str], *, heeds_signals: bool = False) -> Prepared:
    """Returns what `spec.resolve` would, or an error for each part. Raises `InterruptedExportError` as that does."""
    with for_caller():
        settings = _given(lambda: spec.way(environment))
        credentials = _given(lambda: spec.credentials(environment, heeds_signals=heeds_signals))
        organization = None if credentials.value is None else credentials.value.organization
        plain = settings.value or spec.settings()
        asked = _given(lambda: spec.selection(plain, organization))
        without_policy = asked.value or replace(spec, policy=None).selection(plain, organization)
    return Prepared(
        asked=without_policy,
        settings=settings,
        credentials=credentials,
        keys=spec.keys(environment),
        policy_error=asked.error,
    )


def _given(make: Callable[[], T]) -> Given[T]:
    try:
        return Given(make())
    except UsageError as error:
        return Given(error=error)
