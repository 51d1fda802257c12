"""Four values of each key of an export in a config file, as TOML writes them, all of which are taken alone."""

import tomllib
from typing import Any, Final, TypeAlias

from exporter.options.config_layers import SPEC_KEYS

Four: TypeAlias = tuple[str, str, str, str]


def _each(text: str) -> Four:
    return text.format("one"), text.format("two"), text.format("three"), text.format("four")


_TIMES: Final = ("2026-01-01", "2026-01-02T10:00:00", "2026-01-03T10:00:00+02:00", '"2026-01-04"')
_TEXTS: Final = ('"one"', '"two"', '"three"', '"four"')
_PATHS: Final = ('"/one"', '"/two"', '"/three"', '"/four"')
_COUNTS: Final = ("1", "2", "3", "4")
_SIZES: Final = ('"300MiB"', "400000000", '"500MB"', '"1GiB"')
_DURATIONS: Final = ('"1h"', "7200", '"3h"', '"4h"')
_SWITCHES: Final = ("true", "false", "true", "false")
_LITERALS: Final[dict[str, Four]] = {
    **dict.fromkeys(("since", "until", "created_after", "created_before", "updated_after", "updated_before"), _TIMES),
    "lag": ('"1m"', "120", '"3m"', '"4m"'),
    "direction": ('"inbound"', '"outbound"', '["inbound"]', '"inbound,outbound"'),
    "channel": ('"telephone"', '"webrtc"', '["email", "text"]', '"text"'),
    "status": ('"completed"', '"failed"', '["ringing", "failed"]', '"cancelled"'),
    "agent_id": ('"one"', '["two", "three"]', '"four"', '"five"'),
    "duration_above": _COUNTS,
    "duration_below": _DURATIONS,
    "user_turn_count_above": _COUNTS,
    "user_turn_count_below": _COUNTS,
    "custom_metadata": ('{ a = "one" }', "{ a = 2 }", "'{\"a\": 3}'", "{ b = { c = true } }"),
    "filters": ('{ x = "one" }', '{ x = "two", y = "one" }', '{ x = "three" }', '{ y = "four" }'),
    "fields": ('"duration"', '["summary", "agent"]', '"summary"', '"agent,duration"'),
    "exclude_fields": ('"duration"', '["summary", "agent"]', '"summary"', '"agent,duration"'),
    "partition_by": ('"day"', '"hour"', '"month"', '"none"'),
    "timezone": ('"UTC"', '"Europe/Berlin"', '"Asia/Tokyo"', '"America/New_York"'),
    "tables": ('"conversations"', '["conversations", "turns"]', '"conversations,turns"', '["conversations"]'),
    "table_format": ('"delta"', '"iceberg"', '"delta"', '"iceberg"'),
    "file_mode": ('"private"', '"group"', '"private"', '"group"'),
    "processes": ('"auto"', "2", '"3"', "4"),
    "concurrency": _COUNTS,
    "hydrate": ('"auto"', '"never"', '"always"', '"auto"'),
    "max_rps": ("1", "2.5", "3", "4.5"),
    "wait": ('"1m"', "120", '"3m"', '"4m"'),
    "page_size": _COUNTS,
    "part_size": _SIZES,
    "memory": _SIZES,
    "trust_clock": ('"server"', '"local"', '"server"', '"local"'),
    **dict.fromkeys(("token_file", "ca_file", "privacy_key_file", "data_key_file", "policy"), _PATHS),
    "insecure_http": _SWITCHES,
    "base_url": _each('"https://{}.example"'),
    "token": ('"${ONE}"', '"${TWO}"', '"${THREE}"', '"${FOUR}"'),
    "recordings": _SWITCHES,
    "recording_filters": _each('{{ user_id = "{}" }}'),
    "recording_concurrency": _COUNTS,
    "recording_rate": _SIZES,
    "max_recording_size": _SIZES,
    "recordings_wait": _DURATIONS,
    "recording_retention": ('"1d"', "172800", '"3d"', '"4d"'),
    "recording_port": ('"1"', '["2", "3"]', '"4"', '"5"'),
    "recording_host": ('"one.example"', '["two.example", "three.example"]', '"four.example"', '"five.example"'),
    "allow_network": ('"10.1.0.0/16"', '["10.2.0.0/16"]', '"10.3.0.0/16"', '"10.4.0.0/16"'),
    "expire": ('"1y"', '{ conversations = "2y" }', '["3y"]', '"never"'),
}
#: The other key that an option goes with.
GOES_WITH: Final = {"iceberg_catalog": 'table_format = "iceberg"'}
LITERALS: Final = {name: _LITERALS.get(name, _TEXTS) for name in SPEC_KEYS}
ENVIRONMENT: Final = {name: f"ak_{name.lower()}" for name in ("ONE", "TWO", "THREE", "FOUR")}


def value_of(literal: str) -> Any:
    """Returns what a value in a config file means, once its variables are replaced."""
    value = tomllib.loads(f"value = {literal}")["value"]
    return ENVIRONMENT[value[2:-1]] if isinstance(value, str) and value.startswith("${") else value
