"""Defines the options of recordings: which are kept, from where, and how fast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import partial
from typing import Final, TypeAlias

from exporter.contract import FILTERS_BY_NAME
from exporter.errors import UsageError
from exporter.fetch.media.address import parse_host, parse_network
from exporter.options import filters, parse
from exporter.options.option import Group, Option
from exporter.options.times import to_seconds
from exporter.settings import Filters, RecordingSettings
from exporter.store.location import quoted

_DEFAULTS: Final = RecordingSettings()
_Texts: TypeAlias = str | Sequence[str] | None
_of_recording = partial(Option, group=Group.RECORDINGS)
_several = partial(Option, group=Group.RECORDINGS, repeats=True)
#: The statuses of recordings that can be tried again. What is refused may be admitted by other options.
RETRIED: Final = ("failed", "expired", "gone", "refused")
RETRIED_BY_DEFAULT: Final = frozenset(("failed", "expired"))
#: No source keeps recordings for less: a number without a unit was meant to be one of days.
_LEAST_RETENTION_SECONDS: Final = 3600
_UNCHECKED: Final = " To send a newer one unchecked"


@dataclass(frozen=True, kw_only=True)
class RecordingOptions:
    """Says which recordings are kept beside the conversations, and how they are fetched."""

    recordings: bool | None = _of_recording(
        "Also keep the recordings, in this run and all later ones; --no-recordings ends that.",
        otherwise="as before; at first not",
        flags=("--recordings/--no-recordings",),
    ).field(None)
    recording_filters: Mapping[str, str] | None = _several(
        "Keep only recordings of conversations that match this filter of the API: channel=telephone; repeatable.",
        "NAME=VALUE",
        flags=("--recording-filter",),
        values=tuple(f"{name}=" for name in FILTERS_BY_NAME),
    ).field(None)
    recording_concurrency: int = _of_recording("Fetch at most this many recordings at once; 1 to 256.", "N").field(
        _DEFAULTS.concurrency
    )
    recording_rate: int | str | None = _of_recording(
        "Take at most this much a second of all recordings together: 10MB.", "SIZE", otherwise="no limit"
    ).field(None)
    max_recording_size: int | str = _of_recording(
        "Refuse recordings larger than this: 1GiB, or a number of bytes.", "SIZE"
    ).field(f"{_DEFAULTS.most_bytes // 1024**3}GiB")
    recordings_wait: int | str = _of_recording(
        "Ask again for the recording of a conversation that has none yet until it is this old.", "DURATION"
    ).field(f"{_DEFAULTS.wait_seconds // 3600}h")
    recording_retention: int | str | None = _of_recording(
        "Say what the source has deleted, or will next, if it keeps recordings for this long: 14d.",
        "DURATION",
        otherwise="not known",
    ).field(None)
    recording_host: _Texts = _several(
        "Fetch only from this host and those under it; repeatable.", "HOST", otherwise="any with a public address"
    ).field(None)
    recording_port: _Texts = _several(
        "Fetch from this port; repeatable.", "PORT", otherwise=", ".join(map(str, _DEFAULTS.ports))
    ).field(None)
    allow_network: _Texts = _several(
        "Also fetch from addresses in this private network, over plain HTTP as well: 10.1.0.0/16; repeatable.",
        "NETWORK",
        otherwise="public addresses alone",
    ).field(None)

    def recording_settings(self, zone: tzinfo = UTC) -> RecordingSettings:
        """Returns the options as jobs take them; times in filters are in `zone`. Raises `UsageError`."""
        rate, retention = self.recording_rate, self.recording_retention
        return RecordingSettings(
            filters=_choose_filters(self.recording_filters or {}, zone),
            concurrency=self.recording_concurrency,
            bytes_per_second=None if rate is None else parse.to_bytes(rate, "--recording-rate"),
            most_bytes=parse.to_bytes(self.max_recording_size, "--max-recording-size"),
            wait_seconds=to_seconds(self.recordings_wait, "--recordings-wait"),
            retention_seconds=None if retention is None else to_retention(retention),
            hosts=tuple(map(parse_host, _texts(self.recording_host))),
            ports=tuple(map(_to_port, _texts(self.recording_port))) or _DEFAULTS.ports,
            networks=tuple(map(parse_network, _texts(self.allow_network))),
        )


def to_retention(given: int | str) -> int:
    """Returns for how many seconds the source keeps recordings. Raises `UsageError`."""
    seconds = to_seconds(given, "--recording-retention")
    if seconds < _LEAST_RETENTION_SECONDS:
        raise UsageError(f"--recording-retention {quoted(str(given))}: shorter than an hour; write days, such as 14d")
    return seconds


def _texts(given: _Texts) -> Sequence[str]:
    return [given] if isinstance(given, str) else given or ()


def _to_port(text: str) -> int:
    return int(parse.to_number(text, int, "--recording-port", 1, 65_535))


def _choose_filters(given: Mapping[str, str], zone: tzinfo) -> Filters:
    """Returns the filters by name: those that are known are checked, and others are sent as they are."""
    chosen: dict[str, str | tuple[str, ...]] = {}
    for name, value in given.items():
        known = name in FILTERS_BY_NAME
        try:
            named = {name: filters.parse_filter(name, value)} if known else {}
            chosen |= filters.choose_filters(named, {} if known else {name: value}, zone) or {}
        except UsageError as error:
            reason = str(error).partition(": ")[2].partition(_UNCHECKED)[0].rstrip(".")
            raise UsageError(f"--recording-filter {quoted(f'{name}={value}')}: {reason}") from error
    # Together, they must not be too many lists, or contradict one another.
    several = {name: value for name, value in chosen.items() if name in FILTERS_BY_NAME}
    return {**chosen, **(filters.choose_filters(several, {}, zone) or {})}


def choose_retried(given: _Texts) -> frozenset[str]:
    """Returns the statuses of recordings that are tried again. Raises `UsageError`."""
    return frozenset(parse.to_choice(each, RETRIED, "--retry") for each in _texts(given)) or RETRIED_BY_DEFAULT
