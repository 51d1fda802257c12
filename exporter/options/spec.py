"""What a caller asks for, as one value, and what options come to: one set of rules for the command line and Python."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from exporter import contract, route
from exporter.errors import UsageError
from exporter.model import TableKind
from exporter.options import parse
from exporter.options.credentials import load_credentials
from exporter.settings import (
    PARTITIONS,
    Credentials,
    PartitionBy,
    RunSettings,
    Selection,
    TrustedClock,
    check_range,
)

_DEFAULTS: Final = RunSettings()
#: Beside those of the command line.
_OF_PYTHON: Final = frozenset({"destination", "token", "base_url"})
#: What a caller may give, where the command line sees to it by itself; None where that is the default.
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("lag", "concurrency", "page_size"), (int,)),
    "max_rps": (int, float),
    **dict.fromkeys(("token", "org_id", "base_url", "iceberg_catalog"), (str,)),
    **dict.fromkeys(("part_size", "memory"), (int, str)),
    **dict.fromkeys(("destination", "token_file", "ca_file"), (str, Path)),
    "filters": (Mapping,),
}
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "partition_by": PARTITIONS,
    "table_format": get_args(TableKind),
    "trust_clock": get_args(TrustedClock),
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the options come to."""

    asked: Selection
    settings: RunSettings
    credentials: Credentials


def understand(options: Mapping[str, Any], environment: Mapping[str, str]) -> Invocation:
    """Checks everything that can be checked before the first request. Raises `UsageError`.

    `options`: those of the command line, by their names with underscores: of texts, numbers, and lists of texts.
    """
    asked, settings = _settle(options)
    base_url = route.check_base_url(
        environment.get(contract.BASE_URL_VARIABLE) or contract.DEFAULT_BASE_URL,
        insecure_http=options["insecure_http"],
    )
    route.trust(options["ca_file"])  # raises what is wrong with the file before a run begins
    settings = msgspec.structs.replace(
        settings,
        base_url=base_url,
        proxy=route.choose_proxy(environment, base_url),
        ca_file=options["ca_file"],
    )
    return Invocation(asked, settings, load_credentials(environment, options["token_file"], options["org_id"]))


def _settle(options: Mapping[str, Any]) -> tuple[Selection, RunSettings]:
    """What needs no environment."""
    now = time.time_ns() // 1000
    start, end = parse.choose_range(
        options["since"], options["until"], options["created_after"], options["created_before"], now
    )
    settings = RunSettings(
        lag_seconds=options["lag"],
        trust_clock=options["trust_clock"],
        concurrency=options["concurrency"],
        max_rps=options["max_rps"],
        page_size=options["page_size"],
        target_part_bytes=parse.parse_size(options["part_size"], "--part-size"),
        memory_bytes=parse.parse_size(options["memory"], "--memory"),
    )
    if end is None:
        check_range(start, now - settings.lag_seconds * contract.SECOND)
    named = {name: options[name] or () for name in contract.FILTERS_BY_NAME}
    asked = Selection(
        since=start,
        until=end,
        filters=parse.choose_filters(named, options["raw"] or ()),
        fields=parse.choose_fields(options["fields"], options["exclude_fields"]),
        partition_by=options["partition_by"],
        tables=parse.choose_tables(options["tables"]),
        table_format=parse.choose_table_format(options["table_format"], options["iceberg_catalog"]),
    )
    return asked, settings


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """What to export, whereto, how, and as whom: the options of `exporter export`, by the same names and defaults.

    Times are ISO 8601 texts (UTC without an offset), ages such as `7d`, dates or datetimes (UTC without a zone).
    `until` is excluded, `created_before` included. `lag`: seconds. `filters`: as `--filter`, sent unchecked.
    `part_size` and `memory`: bytes, or texts such as `256MiB`. `destination`: not needed for a stream.

    `token`, `org_id` and `base_url` are those of the environment (`ANYREACH_TOKEN`, `ANYREACH_ORG_ID`,
    `ANYREACH_BASE_URL`) unless given; what the environment says is read when the spec is used. Neither `repr` nor `str`
    shows the token. Raises `UsageError`, in the words of the command line, for what is wrong by itself.
    """

    destination: str | Path | None = None
    since: str | date | None = None
    until: str | date | None = None
    lag: int = _DEFAULTS.lag_seconds
    created_after: str | date | None = None
    created_before: str | date | None = None
    direction: str | None = None
    channel: str | None = None
    status: str | None = None
    user_id: str | None = None
    agent_number: str | None = None
    agent_id: str | None = None
    agent_version_id: str | None = None
    web_widget_id: str | None = None
    duration_above: int | None = None
    duration_below: int | None = None
    user_turn_count_above: int | None = None
    user_turn_count_below: int | None = None
    custom_metadata: Mapping[str, Any] | str | None = None
    updated_after: str | date | None = None
    updated_before: str | date | None = None
    filters: Mapping[str, str] | None = None
    fields: Sequence[str] | str | None = None
    exclude_fields: Sequence[str] | str | None = None
    partition_by: PartitionBy | None = None
    tables: Sequence[str] | str | None = None
    table_format: TableKind | None = None
    iceberg_catalog: str | None = None
    concurrency: int = _DEFAULTS.concurrency
    max_rps: float | None = None
    page_size: int = _DEFAULTS.page_size
    part_size: int | str = "256MiB"
    memory: int | str = "384MiB"
    trust_clock: TrustedClock | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | str | None = None
    org_id: str | None = None
    ca_file: Path | str | None = None
    insecure_http: bool = False
    base_url: str | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None and each.default is None:
                continue
            kinds, choices = _KINDS.get(each.name), _CHOICES.get(each.name)
            if kinds and (not isinstance(value, kinds) or isinstance(value, bool)):
                words = " or ".join(kind.__name__ for kind in kinds)
                raise UsageError(f"{each.name}: has to be {words}, not {type(value).__name__}")
            if choices and value not in choices:
                raise UsageError(f"{each.name}: has to be {' or '.join(choices)}, not {value!r}")
        _settle(self._options())

    def understand(self, environment: Mapping[str, str]) -> Invocation:
        """What it comes to now: ages count from here. Raises `UsageError`."""
        given = {contract.TOKEN_VARIABLE: self.token, contract.BASE_URL_VARIABLE: self.base_url}
        if self.token is not None and self.token_file is not None:
            raise UsageError("token and token_file: give one of them")
        named = {name: value for name, value in given.items() if value is not None}
        understood = understand(self._options(), {**environment, **named})
        # Signals are the business of the program that this is part of; it cancels the task.
        settings = msgspec.structs.replace(understood.settings, heeds_signals=False)
        return Invocation(understood.asked, settings, understood.credentials)

    def _options(self) -> dict[str, Any]:
        """As the command line would have them."""
        options = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _OF_PYTHON}
        for name in ("since", "until", "created_after", "created_before", "part_size", "memory"):
            options[name] = _text(options[name])
        for name in ("fields", "exclude_fields", "tables"):
            options[name] = _text(options[name])
        for name in ("token_file", "ca_file"):
            options[name] = None if options[name] is None else Path(options[name])
        for name in contract.FILTERS_BY_NAME:
            text = _text(options[name])
            options[name] = None if text is None else [text]
        options["raw"] = [f"{name}={value}" for name, value in (options.pop("filters") or {}).items()]
        return options


def _text(value: object) -> str | None:
    """A value as it would be typed."""
    match value:
        case None | str():
            return value
        case date():
            return value.isoformat()
        case Mapping():
            return json.dumps(value)
        case Sequence():
            return ",".join(value)
    return str(value)
