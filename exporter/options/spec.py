"""Defines the request of a caller as one value, `ExportSpec`.

Each option is stated here once, as a field: the flag, its help and metavar, the Python keyword, the default and the
manual's row are made from that entry.
"""

import time
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec

from exporter import contract, route
from exporter.errors import UsageError
from exporter.model import CONVERSATIONS, TABLES, TableKind
from exporter.options import parse
from exporter.options.credentials import load_credentials
from exporter.options.option import Option, options_of
from exporter.progress import Observer
from exporter.run.context import RunContext
from exporter.settings import (
    LEAST_MEMORY_BYTES,
    PARTITIONS,
    Credentials,
    PartitionBy,
    RunSettings,
    Selection,
    TrustedClock,
    check_range,
)

_DEFAULTS: Final = RunSettings()
_MIB: Final = 1024**2
_Time: TypeAlias = str | date | None
_Names: TypeAlias = Sequence[str] | str | None
_of_dataset = partial(Option, of_dataset=True)


def _filter(text: str, metavar: str = "TEXT", values: tuple[str, ...] = ()) -> Any:
    wanted = f"Only conversations {text}{': ' if values else ''}{', '.join(values)}."
    return _of_dataset(wanted, metavar, values=values).field(None)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Holds what jobs take: a spec, checked and complete."""

    asked: Selection
    settings: RunSettings
    credentials: Credentials

    def context(self, observer: Observer) -> RunContext:
        """Returns the context of a run that tells `observer` of its progress."""
        return RunContext(self.settings, self.credentials, observer)


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """Says what to export, where to, how, and as whom, with the options of `exporter export` and their defaults.

    Times are ISO 8601 texts (UTC without an offset), ages such as `7d`, dates or datetimes (UTC without a zone).
    `until` is excluded, `created_before` is included. `lag` is in seconds. `filters` are sent unchecked, as `--filter`.
    `wait` is in seconds, or a text
    such as `2m`. `part_size` and `memory` are bytes, or texts such as `256MiB`. A stream needs no `destination`.

    `token`, `org_id` and `base_url` are those of the environment (`ANYREACH_TOKEN`, `ANYREACH_ORG_ID`,
    `ANYREACH_BASE_URL`) unless they are given; the environment is read when the spec is used. Neither `repr` nor `str`
    shows the token. Raises `UsageError`, in the words of the command line, for a value that is wrong by itself.
    """

    destination: str | Path | None = None
    since: _Time = Option(
        "Start of the range of created_at, included; an age such as 7d counts from now.", "TIME", "the beginning"
    ).field(None)
    until: _Time = Option(
        "End of the range, excluded; a later one than --lag allows is cut to that.", "TIME", "the latest that it allows"
    ).field(None)
    lag: int = Option(
        "End the range at least this long before the server's clock, even with a later --until, because the API may "
        "not list the newest conversations yet. A sync also reads again what changed in this time before the last run, "
        "and an audit tolerates what changed in this time before it was read, or later.",
        "SECONDS",
    ).field(_DEFAULTS.lag_seconds)
    created_after: _Time = _of_dataset("The same as --since, by the API's name.", "TIME").field(None)
    created_before: _Time = _of_dataset("The same as --until, but included, by the API's name.", "TIME").field(None)
    direction: str | None = _filter("in this direction", values=contract.DIRECTIONS)
    channel: str | None = _filter("on this channel", values=contract.CHANNELS)
    status: str | None = _filter("with this status", values=contract.STATUSES)
    user_id: str | None = _filter("of users whose id contains this, in any case")
    agent_number: str | None = _filter("of agents whose number contains this, in any case")
    agent_id: str | None = _filter("of the agent with this id")
    agent_version_id: str | None = _filter("of the agent version with this id")
    web_widget_id: str | None = _filter("of the web widget with this id")
    duration_above: int | None = _filter("of at least this many seconds", "N")
    duration_below: int | None = _filter("of at most this many seconds", "N")
    user_turn_count_above: int | None = _filter("with at least this many turns of the user", "N")
    user_turn_count_below: int | None = _filter("with at most this many turns of the user", "N")
    custom_metadata: Mapping[str, Any] | str | None = _filter("whose metadata contains this JSON object", "JSON")
    updated_after: _Time = _filter("last changed at this time or later", "TIME")
    updated_before: _Time = _filter("last changed at this time or earlier", "TIME")
    filters: Mapping[str, str] | None = _of_dataset(
        "Any other parameter of the API, or a newer value, sent unchecked; repeatable.",
        "NAME=VALUE",
        flags=("--filter",),
        values=tuple(f"{name}=" for name in contract.FILTERS_BY_NAME),
    ).field(None)
    fields: _Names = _of_dataset(
        f"Only these fields, besides {', '.join(contract.ALWAYS_FIELDS)}.", "A,B", "all", names=contract.FIELD_NAMES
    ).field(None)
    exclude_fields: _Names = _of_dataset("All fields except these.", "A,B", names=contract.FIELD_NAMES).field(None)
    partition_by: PartitionBy | None = _of_dataset(
        f"Make a directory for each unit of time: {', '.join(PARTITIONS)}.", "UNIT", "day"
    ).field(None)
    tables: _Names = _of_dataset(
        "Tables to write; conversations,turns also writes the items of transcripts.", "A,B", CONVERSATIONS, names=TABLES
    ).field(None)
    table_format: TableKind | None = _of_dataset("Also keep each table as one of: delta, iceberg.", "KIND").field(None)
    iceberg_catalog: str | None = _of_dataset(
        "Catalog of Iceberg tables, as pyiceberg's configuration names it.", "CATALOG[/NAMESPACE]", "a file in _iceberg"
    ).field(None)
    concurrency: int = Option("Requests at once, at most; 1 to 1024.", "N").field(_DEFAULTS.concurrency)
    max_rps: int | float | None = Option("Requests a second, at most, from the first one on.", "X", "no ceiling").field(
        None
    )
    wait: int | float | str = Option(
        "Give up after this long if the API never answers at all: 2m, or a number of seconds.", "DURATION"
    ).field(f"{_DEFAULTS.wait_seconds:g}s")
    page_size: int = Option("Rows in a page, at most; 1 to 1000.", "N").field(_DEFAULTS.page_size)
    part_size: int | str = Option("Make files of about this size: 256MiB, 1GB, or a number of bytes.", "SIZE").field(
        f"{_DEFAULTS.target_part_bytes // _MIB}MiB"
    )
    memory: int | str = Option(
        f"Memory that the process may take at its peak, at least {LEAST_MEMORY_BYTES // _MIB}MiB.", "SIZE"
    ).field(f"{_DEFAULTS.memory_bytes // _MIB}MiB")
    trust_clock: TrustedClock | None = Option(
        "Clock to believe if the server's and this machine's differ: server, local.",
        "WHOSE",
        "the earlier one, and neither if they differ by more than an hour",
    ).field(None)
    token: str | None = field(default=None, repr=False)
    token_file: Path | str | None = Option(
        "File that holds the token, and that nobody else can read.", "FILE", contract.TOKEN_VARIABLE
    ).field(None)
    org_id: str | None = Option("Organization of a personal token.", "ID", contract.ORGANIZATION_VARIABLE).field(None)
    ca_file: Path | str | None = Option(
        "Certificate authorities to trust besides the system's, in PEM form.", "FILE"
    ).field(None)
    insecure_http: bool = Option("Let the token travel unencrypted, over plain HTTP.").field(False)
    base_url: str | None = None

    def __post_init__(self) -> None:
        for name, hint in _HINTS.items():
            _check_kind(name, getattr(self, name), hint)
        self._select(self.settings())

    def resolve(self, environment: Mapping[str, str], *, heeds_signals: bool = False) -> Resolved:
        """Returns the spec as jobs take it; ages count from now.

        `heeds_signals` is for a process of our own: a program handles signals itself, and cancels the task.
        Raises `UsageError` for everything that can be found wrong before the first request.
        """
        if self.token is not None and self.token_file is not None:
            raise UsageError("token and token_file: give only one of them")
        given = {contract.TOKEN_VARIABLE: self.token, contract.BASE_URL_VARIABLE: self.base_url}
        environment = {**environment, **{name: value for name, value in given.items() if value is not None}}
        settings = self.settings()
        asked = self._select(settings)
        base_url = route.check_base_url(
            environment.get(contract.BASE_URL_VARIABLE) or contract.DEFAULT_BASE_URL,
            insecure_http=self.insecure_http,
        )
        ca_file = None if self.ca_file is None else Path(self.ca_file)
        route.trust(ca_file)  # raises what is wrong with the file before a run begins
        settings = msgspec.structs.replace(
            settings,
            base_url=base_url,
            proxy=route.choose_proxy(environment, base_url),
            ca_file=ca_file,
            heeds_signals=heeds_signals,
        )
        token_file = None if self.token_file is None else Path(self.token_file)
        return Resolved(asked, settings, load_credentials(environment, token_file, self.org_id))

    def settings(self) -> RunSettings:
        """Returns what the spec alone says of how to read and write."""
        return RunSettings(
            lag_seconds=self.lag,
            trust_clock=self.trust_clock,
            concurrency=self.concurrency,
            max_rps=self.max_rps,
            wait_seconds=parse.to_seconds(self.wait, "--wait"),
            page_size=self.page_size,
            target_part_bytes=parse.to_bytes(self.part_size, "--part-size"),
            memory_bytes=parse.to_bytes(self.memory, "--memory"),
        )

    def _select(self, settings: RunSettings) -> Selection:
        now = time.time_ns() // 1000
        since, until = parse.choose_range(self.since, self.until, self.created_after, self.created_before, now)
        if until is None:
            check_range(since, now - settings.lag_seconds * contract.SECOND)
        named = {name: getattr(self, name) for name in contract.FILTERS_BY_NAME}
        return Selection(
            since=since,
            until=until,
            filters=parse.choose_filters(named, self.filters or {}),
            fields=parse.choose_fields(self.fields, self.exclude_fields),
            partition_by=self.partition_by,
            tables=parse.choose_tables(self.tables),
            table_format=parse.choose_table_format(self.table_format, self.iceberg_catalog),
        )


_HINTS: Final = get_type_hints(ExportSpec)
OPTIONS: Final = options_of(ExportSpec)
OF_THE_DATASET: Final = tuple(name for name, each in OPTIONS.items() if each.of_dataset)


def _check_kind(name: str, value: object, hint: Any) -> None:
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    choices = [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]
    kinds = tuple(get_origin(member) or member for member in members if get_origin(member) is not Literal)
    if value in choices or (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))):
        return
    if choices:
        raise UsageError(f"{name}: must be {' or '.join(choices)}, not {value!r}")
    words = " or ".join(kind.__name__ for kind in kinds if kind is not types.NoneType)
    raise UsageError(f"{name}: must be {words}, not {type(value).__name__}")
