"""Reads the options of the data source, which are texts, and settles once what all reads of a DataFrame share."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args, get_type_hints

import msgspec
import pyarrow as pa

from exporter import contract
from exporter.contract import MINUTE, SECOND, Instant, to_datetime
from exporter.encode.schema import arrow_schema
from exporter.errors import UsageError
from exporter.options.dialect import for_caller
from exporter.options.filters import parse_filter
from exporter.options.parse import to_choice, to_number
from exporter.options.spec import ExportSpec
from exporter.settings import RunSettings
from exporter.words import did_you_mean
from exporter.zones import UTC_NAME

#: The options that are those of an export.
_OF_EXPORT: Final = (
    "since",
    "until",
    "created_after",
    "created_before",
    "lag",
    "trust_clock",
    *contract.FILTERS_BY_NAME,
    "fields",
    "exclude_fields",
    "hydrate",
    "concurrency",
    "max_rps",
    "page_size",
    "memory",
    "wait",
    "token_file",
    "org_id",
    "base_url",
    "ca_file",
    "insecure_http",
)
_OWN: Final = ("windows", "slots", "pushdown")
NAMES: Final = (*_OF_EXPORT, *_OWN)
_HINTS: Final = get_type_hints(ExportSpec)
#: Each core of an executor may run a task. With less memory, pages are smaller, and there are more.
_DEFAULTS: Final = {"concurrency": "4", "memory": "384MiB"}
_MOST_WINDOWS: Final = 100_000
_TYPES: Final = {
    pa.string(): "STRING",
    pa.int64(): "BIGINT",
    pa.timestamp("us", "UTC"): "TIMESTAMP",
}


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Holds what every read of a DataFrame shares, as plain data without a secret.

    `spec` has a range that is settled, and the address and the organization that the driver's environment names. The
    rows are read in `windows`, if their number is given, `slots` of them at once. With `pushdown`, filters of Spark
    narrow the range.
    """

    spec: ExportSpec
    windows: int | None = None
    slots: int | None = None
    pushdown: bool = False

    @property
    def schema(self) -> pa.Schema:
        """Returns the columns, as every batch has them."""
        return arrow_schema(self.spec.selection(self.spec.settings()).fields)

    @property
    def ddl(self) -> str:
        """Returns the columns in Spark's SQL."""
        return ", ".join(f"`{field.name}` {_sql_type(field.type)}" for field in self.schema)

    def share_of(self, settings: RunSettings) -> RunSettings:
        """Returns the settings of one of the reads that run at once: it has its part of `max_rps`."""
        if settings.max_rps is None or self.slots is None:
            return settings
        return msgspec.structs.replace(settings, max_rps=settings.max_rps / self.slots)


def settle(given: Mapping[str, str], environment: Mapping[str, str], now: Instant) -> SourceOptions:
    """Returns the options, settled `now`, so that every read of a DataFrame has the same range.

    Without `until`, it ends at the last full minute that is older than the lag. Raises `UsageError`.
    """
    with for_caller():
        _check_names(given)
        values = {**_DEFAULTS, **given}
        own: dict[str, str] = {name: values.pop(name) for name in _OWN if name in values}
        spec = ExportSpec(**{name: _value(name, text) for name, text in values.items()})
        windows, slots = (_count(name, own) for name in ("windows", "slots"))
        if spec.max_rps is not None and slots is None:
            raise UsageError("max_rps: give slots also, the number of tasks that Spark runs at once: each has its part")
        settings = spec.way(environment)
        asked = spec.selection(settings).within(UTC_NAME)
        latest = now - settings.lag_seconds * SECOND
        until = latest // MINUTE * MINUTE if asked.until is None else min(asked.until, latest)
        if asked.since is not None and asked.since >= until:
            raise UsageError("since: the range is empty, because it ends before the last full minute, less the lag")
        settled = dataclasses.replace(
            spec,
            since=to_datetime(asked.since),
            until=to_datetime(until),
            created_after=None,
            created_before=None,
            base_url=settings.base_url,
            org_id=spec.org_id or environment.get(contract.ORGANIZATION_VARIABLE, "").strip() or None,
        )
        return SourceOptions(
            spec=settled, windows=windows, slots=slots, pushdown=_is_true("pushdown", own.get("pushdown", "false"))
        )


def _check_names(given: Mapping[str, str]) -> None:
    for name in given:
        if name in ("token", "token_command"):
            raise UsageError(
                f"{name}: a token is no option, because Spark shows options. Put it into {contract.TOKEN_VARIABLE} "
                "in the environment of the driver and of every executor, or name a token_file"
            )
        if name == "path":
            raise UsageError("load() and table names have no path here: give options, such as since and until")
        if name not in NAMES:
            raise UsageError(f"{name}: there is no such option.{did_you_mean(name, NAMES)}")


def _value(name: str, text: str) -> Any:
    """Returns the value of an option of an export that was given as a text. Raises `UsageError`."""
    if name in contract.FILTERS_BY_NAME:
        return parse_filter(name, text)
    kinds = get_args(_HINTS[name]) or (_HINTS[name],)
    if bool in kinds:
        return _is_true(name, text)
    if str in kinds or any(isinstance(kind, str) for kind in kinds):
        return text
    return to_number(text, float if float in kinds else int, name) if int in kinds else text


def _is_true(name: str, text: str) -> bool:
    return to_choice(text.lower(), ("true", "false"), name) == "true"


def _count(name: str, given: Mapping[str, str]) -> int | None:
    return int(to_number(given[name], int, name, 1, _MOST_WINDOWS)) if name in given else None


def _sql_type(type_: pa.DataType) -> str:
    if pa.types.is_struct(type_):
        return f"STRUCT<{', '.join(f'`{member.name}`: {_sql_type(member.type)}' for member in type_)}>"
    return _TYPES[type_]
