"""Defines the request of a caller as one value, `ExportSpec`.

Each option is stated here once, as a field: the flag, its help and metavar, the Python keyword, the default and the
manual's row are made from that entry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, get_type_hints

import msgspec

from exporter import contract, route
from exporter.clock import wall_clock
from exporter.contract import Instant
from exporter.model import CONVERSATIONS, TABLES, TableKind
from exporter.options import filters, parse
from exporter.options.credentials import check_sources, load_credentials
from exporter.options.dialect import for_caller
from exporter.options.keywords import check_kind, refusing_unknown
from exporter.options.option import Group, Option, options_of
from exporter.options.privacy import PrivacyOptions
from exporter.options.recordings import RecordingOptions
from exporter.options.resolved import Resolved as Resolved
from exporter.options.retention import to_ages
from exporter.options.times import WORDS, to_seconds
from exporter.settings import (
    FILE_MODES,
    HYDRATIONS,
    LEAST_MEMORY_BYTES,
    PARTITIONS,
    Credentials,
    FileMode,
    Hydrate,
    PartitionBy,
    RunSettings,
    Selection,
    TrustedClock,
    check_lag,
    check_wait,
)
from exporter.zones import UTC_NAME, known_zones, load_zone

_DEFAULTS, _MIB = RunSettings(), 1024**2
_Time: TypeAlias = str | date | None
_Names: TypeAlias = str | Sequence[str] | None
_of_range = partial(Option, group=Group.RANGE)
_of_created = partial(Option, group=Group.RANGE, values=WORDS)
_of_filter = partial(Option, group=Group.FILTERS, of_dataset=True)
_of_dataset = partial(Option, group=Group.WRITTEN, of_dataset=True)
_of_reading = partial(Option, group=Group.READ)
_of_connection = partial(Option, group=Group.CONNECTION)


def _filter(text: str, metavar: str, names: tuple[str, ...] = ()) -> Any:
    wanted = f"Only conversations {text}{': ' if names else ''}{', '.join(names)}."
    return _of_filter(wanted, metavar, names=names).field(None)


@refusing_unknown
@dataclass(frozen=True, kw_only=True)
class ExportSpec(PrivacyOptions, RecordingOptions):
    """Says what to export, where to, how, and as whom, with the options of `exporter export` and their defaults.

    Times are texts as on the command line, dates or datetimes. Without an offset, they are in `timezone`: in the one
    that is stored at the destination, or in UTC, unless it is given. `until` is excluded, `created_before` is included.
    Durations are seconds, or texts such as `5m`. `status=["completed", "failed"]` is any of several values, which
    `direction`, `channel` and `agent_id` also take. `filters` are those of `--filter`. `part_size` and
    `memory` are bytes, or texts such as `256MiB`. `token_command` is arguments. A stream needs no `destination`.

    `token`, `org_id` and `base_url` are those of the environment (`ANYREACH_TOKEN`, `ANYREACH_ORG_ID`,
    `ANYREACH_BASE_URL`) unless they are given; the environment is read when the spec is used. Neither `repr` nor `str`
    shows the token. Raises `UsageError`, in the words of the command line, for a value that is wrong by itself.
    """

    destination: str | Path | None = None
    since: _Time = _of_created(
        "Read conversations created at this time or later: 2026-01, yesterday, last-month, 7d.",
        "TIME",
        otherwise="the beginning",
    ).field(None)
    until: _Time = _of_created(
        "Read conversations created before this time: --since 2026-01 --until 2026-02 is January.",
        "TIME",
        otherwise="now, less the lag",
    ).field(None)
    lag: int | str = _of_range(
        "Leave out conversations newer than this, because the API may not list them yet.", "DURATION"
    ).field(f"{_DEFAULTS.lag_seconds}s")
    created_after: _Time = _of_created("The same as --since, by the API's name.", "TIME", of_dataset=True).field(None)
    created_before: _Time = _of_created(
        "As --until, by the API's name, except that this time is included.", "TIME", of_dataset=True
    ).field(None)
    direction: _Names = _filter("in this direction, or any of several (A,B)", "DIRECTION", names=contract.DIRECTIONS)
    channel: _Names = _filter("on this channel, or on any of several (A,B)", "CHANNEL", names=contract.CHANNELS)
    status: _Names = _filter("with this status, or any of several (A,B)", "STATUS", names=contract.STATUSES)
    user_id: str | None = _filter("of users whose id contains this text; case does not matter", "ID")
    agent_number: str | None = _filter("of agents whose number contains this text; case does not matter", "NUMBER")
    agent_id: _Names = _filter("of the agent with this id; give the option again for each further one", "ID")
    agent_version_id: str | None = _filter("of the agent version with this id", "ID")
    web_widget_id: str | None = _filter("of the web widget with this id", "ID")
    duration_above: int | str | None = _filter("at least this long", "DURATION")
    duration_below: int | str | None = _filter("at most this long", "DURATION")
    user_turn_count_above: int | None = _filter("with at least this many turns of the user", "N")
    user_turn_count_below: int | None = _filter("with at most this many turns of the user", "N")
    custom_metadata: Mapping[str, Any] | str | None = _filter("whose metadata contains this JSON object", "JSON")
    updated_after: _Time = _filter("last changed at this time or later", "TIME")
    updated_before: _Time = _filter("last changed at this time or earlier", "TIME")
    filters: Mapping[str, str] | None = _of_filter(
        "Send any other parameter of the API, or a newer value. A name near a known one is refused, and another "
        "is tried once; repeatable.",
        "NAME=VALUE",
        flags=("--filter",),
        repeats=True,
        values=tuple(f"{name}=" for name in contract.FILTERS_BY_NAME),
    ).field(None)
    fields: _Names = _of_dataset(
        f"Write only these fields, besides {', '.join(contract.ALWAYS_FIELDS)}.",
        "A,B",
        otherwise="all",
        names=contract.FIELD_NAMES,
    ).field(None)
    exclude_fields: _Names = _of_dataset("Write all fields except these.", "A,B", names=contract.FIELD_NAMES).field(
        None
    )
    partition_by: PartitionBy | None = _of_dataset(
        f"Make a directory for each unit of time: {', '.join(PARTITIONS)}.", "UNIT", otherwise="day", values=PARTITIONS
    ).field(None)
    timezone: str | None = _of_dataset(
        "Make partitions in this time zone, and read times without an offset in it; an IANA name such as "
        "Europe/Berlin.",
        "NAME",
        otherwise="the one that is stored, otherwise UTC",
        values=known_zones,
    ).field(None)
    tables: _Names = _of_dataset(
        "Write these tables; conversations,turns adds a row for each item of a transcript.",
        "A,B",
        otherwise=CONVERSATIONS,
        names=TABLES,
    ).field(None)
    table_format: TableKind | None = _of_dataset("Also keep each table as one of: delta, iceberg.", "KIND").field(None)
    iceberg_catalog: str | None = _of_dataset(
        "Keep the Iceberg tables in this catalog, as pyiceberg's configuration names it.",
        "CATALOG[/NAMESPACE]",
        otherwise="the export's own, in _iceberg",
    ).field(None)
    file_mode: FileMode | None = Option(
        "Let their owner alone read the files on a disk (private), or also the group of DEST (group).",
        "MODE",
        group=Group.WRITTEN,
        otherwise="as before; at first private",
        values=FILE_MODES,
    ).field(None)
    processes: int | str = _of_reading(
        "Read in this many processes, each with its own --concurrency and --memory; auto: one a core.", "N"
    ).field(1)
    concurrency: int = _of_reading("Send at most this many requests at once; 1 to 1024.", "N").field(
        _DEFAULTS.concurrency
    )
    hydrate: Hydrate = _of_reading(
        "Ask by id for fields that the list leaves out: auto (if a few conversations show that it does), never, or "
        "always (every row that lacks a field).",
        "WHEN",
        values=HYDRATIONS,
    ).field(_DEFAULTS.hydrate)
    max_rps: int | float | None = _of_reading(
        "Send at most this many requests a second.", "X", otherwise="no ceiling"
    ).field(None)
    wait: int | str = _of_connection(
        "Give up after this long if nothing at the API's address accepts a connection: 2m, or a number of seconds.",
        "DURATION",
    ).field(f"{_DEFAULTS.wait_seconds:g}s")
    page_size: int = _of_reading("Ask for at most this many rows in a page; 1 to 1000.", "N").field(_DEFAULTS.page_size)
    part_size: int | str = Option(
        "Make files of about this size: 256MiB, 1GB, or a number of bytes.", "SIZE", group=Group.WRITTEN
    ).field(f"{_DEFAULTS.target_part_bytes // _MIB}MiB")
    memory: int | str = _of_reading(
        f"Take at most this much memory at the peak; at least {LEAST_MEMORY_BYTES // _MIB}MiB.", "SIZE"
    ).field(f"{_DEFAULTS.memory_bytes // _MIB}MiB")
    trust_clock: TrustedClock | None = _of_range(
        "Believe this clock if the server's and this machine's differ: server, local.",
        "WHOSE",
        otherwise="the earlier one, and neither if they differ by more than an hour",
    ).field(None)
    token: str | None = field(default=None, repr=False)
    token_file: Path | str | None = _of_connection(
        "Read the token from this file, which nobody else may be able to read.",
        "FILE",
        otherwise=contract.TOKEN_VARIABLE,
    ).field(None)
    token_command: _Names = _of_connection(
        "Take the token from what this command prints within 30 s. It runs without a shell.", "COMMAND"
    ).field(None)
    org_id: str | None = _of_connection(
        "Read this organization, with a personal token.", "ID", otherwise=contract.ORGANIZATION_VARIABLE
    ).field(None)
    ca_file: Path | str | None = _of_connection(
        "Trust the certificate authorities in this PEM file besides the system's.", "FILE"
    ).field(None)
    insecure_http: bool = _of_connection("Allow plain HTTP, over which the token travels unencrypted.").field(False)
    base_url: str | None = None
    reads_on = True  # what begins after now is refused

    def __post_init__(self) -> None:
        for name, hint in _HINTS.items():
            check_kind(name, getattr(self, name), hint)
        with for_caller():
            self._select(self.settings())
            check_sources(self.token, self.token_file, self.token_command)

    def resolve(self, environment: Mapping[str, str], *, heeds_signals: bool = False) -> Resolved:
        """Returns the spec as jobs take it; ages count from now.

        `heeds_signals` is for a process of our own: a program handles signals itself, and cancels the task.
        Raises `UsageError` for everything that can be found wrong before the first request.
        """
        with for_caller():
            settings = msgspec.structs.replace(self.way(environment), heeds_signals=heeds_signals)
            credentials = self.credentials(environment, heeds_signals=heeds_signals)
            asked = self.selection(settings, credentials.organization)
            return Resolved(asked, settings, credentials, self.keys(environment))

    def way(self, environment: Mapping[str, str]) -> RunSettings:
        """Returns the settings, with the way to the API. Raises `UsageError`."""
        named = environment.get(contract.BASE_URL_VARIABLE) if self.base_url is None else self.base_url
        base_url = route.check_base_url(named or contract.DEFAULT_BASE_URL, insecure_http=self.insecure_http)
        ca_file = None if self.ca_file is None else Path(self.ca_file)
        if ca_file is not None:
            route.trust(ca_file)  # raises what is wrong with the file before a run begins
        proxy = route.choose_proxy(environment, base_url)
        return msgspec.structs.replace(self.settings(), base_url=base_url, proxy=proxy, ca_file=ca_file)

    def credentials(self, environment: Mapping[str, str], *, heeds_signals: bool = False) -> Credentials:
        """Returns the token, and what it needs. Raises as `load_credentials`."""
        said = (self.token_file, self.org_id, self.token_command, self.token)
        return load_credentials(environment, *said, route.proxies_in(environment), heeds_signals=heeds_signals)

    def selection(self, settings: RunSettings, organization: str | None = None) -> Selection:
        """Returns what is asked for, with the policy of the file, if there is one. Raises `UsageError`."""
        asked = msgspec.structs.replace(self._select(settings), organization=organization)
        file = self.read_policy()
        return asked if file is None else msgspec.structs.replace(asked, policy=file.policy, encryption=file.encryption)

    def settings(self) -> RunSettings:
        """Returns what the spec alone says of how to read and write."""
        lag_seconds, wait_seconds = to_seconds(self.lag, "--lag"), to_seconds(self.wait, "--wait")
        check_lag(lag_seconds, self.lag)
        check_wait(wait_seconds, self.wait)
        parse.to_processes(self.processes)
        return RunSettings(
            lag_seconds=lag_seconds,
            trust_clock=self.trust_clock,
            concurrency=self.concurrency,
            max_rps=self.max_rps,
            hydrate=self.hydrate,
            wait_seconds=wait_seconds,
            page_size=self.page_size,
            target_part_bytes=parse.to_bytes(self.part_size, "--part-size"),
            memory_bytes=parse.to_bytes(self.memory, "--memory"),
            recordings=self.recording_settings(load_zone(parse.choose_timezone(self.timezone) or UTC_NAME)),
        )

    def _select(self, settings: RunSettings) -> Selection:
        now, timezone = wall_clock(), parse.choose_timezone(self.timezone)
        times = (self.since, self.until, self.created_after, self.created_before, self.updated_after)
        if timezone is not None:
            return msgspec.structs.replace(self._select_in(timezone, now, settings), timezone=timezone)
        selected = self._select_in(UTC_NAME, now, settings, is_known=False)
        in_zone = partial(self._select_in, now=now, settings=settings)
        return msgspec.structs.replace(selected, in_zone=in_zone) if any((*times, self.updated_before)) else selected

    def _select_in(self, timezone: str, now: Instant, settings: RunSettings, *, is_known: bool = True) -> Selection:
        """Returns the selection with times in a zone. Unless it `is_known`, all that depends on it is left to check."""
        zone = load_zone(timezone)
        latest = now - settings.lag_seconds * contract.SECOND if self.reads_on else None
        bounds = (self.since, self.until, self.created_after, self.created_before)
        since, until = parse.choose_range(*bounds, now, zone, latest=latest, is_zone_known=is_known)
        named = {name: getattr(self, name) for name in contract.FILTERS_BY_NAME}
        return Selection(
            since=since,
            until=until,
            filters=filters.choose_filters(named, self.filters or {}, zone, is_zone_known=is_known),
            fields=parse.choose_fields(self.fields, self.exclude_fields),
            partition_by=self.partition_by,
            tables=parse.choose_tables(self.tables),
            table_format=parse.choose_table_format(self.table_format, self.iceberg_catalog),
            file_mode=self.file_mode,
            recordings=self.recordings,
            retention=to_ages(self.expire),
        )


_HINTS: Final = get_type_hints(ExportSpec)
OPTIONS: Final = options_of(ExportSpec)
OF_RECORDINGS: Final = tuple(options_of(RecordingOptions))
OF_THE_DATASET: Final = tuple(name for name, each in OPTIONS.items() if each.of_dataset)
