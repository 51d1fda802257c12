"""Reconciles what is asked for with what a destination holds: decides what it will become. Pure."""

from typing import Final

import msgspec

from exporter.contract import BEGINNING, FIELD_NAMES, FILTERS_BY_NAME, MUTABLE_FILTERS, Instant, format_instant
from exporter.coverage import Coverage, Interval
from exporter.errors import DestinationError, NoExportError, UsageError
from exporter.log.expiry import row_floor
from exporter.log.state import State
from exporter.pipeline.role import is_same_organization
from exporter.privacy import Policy, Retention
from exporter.settings import Request, Selection
from exporter.store.location import Location, Url
from exporter.words import key_value
from exporter.zones import UTC_NAME

_NEVER: Final[Instant] = 1 << 62


def stored_export(state: State, destination: Location) -> tuple[Request, Interval]:
    """Returns the request of the export at `destination`, and its range. Raises `DestinationError` if there is none."""
    if state.request is None or state.range is None:
        raise NoExportError(f"{destination}: no export here; check the path, or run exporter export first")
    return state.request, state.range


def in_stored_zone(state: State, asked: Selection) -> Selection:
    """Returns what is asked for with times in the stored time zone, or in UTC, unless they are in one that was given.

    A start that the export has had, and has let expire since, becomes the start that is left: the command that began it
    also goes on. Ages are those of `settle_retention`. Raises `UsageError` for a range that is empty there.
    """
    asked = asked.within((state.request or Request()).timezone)
    asked = msgspec.structs.replace(asked, retention=settle_retention(state, asked.retention))
    floor, first = row_floor(state.privacy.floors), state.first_start
    if asked.since is None or state.range is None or not BEGINNING < first <= asked.since < floor:
        return asked
    return msgspec.structs.replace(asked, since=state.range.start)


def settle_retention(state: State, asked: Retention | None) -> Retention | None:
    """Returns for how many seconds what is kept from now on: as it is stored, except for names that are asked for.
    None means as before, and an age of 0 takes a name out.
    """
    if not asked:
        return asked
    return {name: seconds for name, seconds in {**state.privacy.retention, **asked}.items() if seconds}


def settle_request(state: State, asked: Selection, destination: Location) -> Request:
    """Returns the request of the export: the stored one, if there is one, with which what is asked for must agree.

    Raises `DestinationError` if it does not.
    """
    stored, policy = state.request, state.privacy.policy or asked.policy
    if stored is None:
        return Request(
            filters=asked.filters or {},
            fields=without_dropped(asked.fields, policy),
            partition_by=asked.partition_by or Request().partition_by,
            tables=asked.tables or Request().tables,
            timezone=asked.timezone or UTC_NAME,
        )
    fields = None if asked.fields is None else without_dropped(asked.fields, policy)
    differences = [
        f"{name}: {shown(kept)} stored, {shown(wanted)} asked for"
        for name, kept, wanted in (
            ("filters", stored.filters, asked.filters),
            ("fields", without_dropped(stored.fields, policy), fields),
            ("partitions", stored.partition_by, asked.partition_by),
            ("tables", stored.tables, asked.tables),
            ("time zone", stored.timezone, asked.timezone),
        )
        if wanted is not None and wanted != kept
    ]
    kept_by, asked_by = state.organization, asked.organization
    if kept_by is not None and asked_by is not None and not is_same_organization(kept_by, asked_by):
        differences.append(f"organization: {kept_by} stored, {asked_by} asked for by --org-id or ANYREACH_ORG_ID")
    if differences:
        raise DestinationError(
            f"{destination}: holds another export ({'; '.join(differences)}).\n"
            "Choose another destination, or leave these options out to go on with what is there"
        )
    return stored


def without_dropped(fields: tuple[str, ...] | None, policy: Policy | None) -> tuple[str, ...] | None:
    """Returns the fields that are wanted (None: all) without those that the policy drops whole.

    If it drops any, these are the documented ones: what is new at the API is left out with what the policy calls extra.
    """
    dropped = set() if policy is None else {path for path, rule in policy.rules.items() if rule.action == "drop"}
    if not dropped.intersection(FIELD_NAMES):
        return fields
    return tuple(name for name in (FIELD_NAMES if fields is None else fields) if name not in dropped)


def settle_range(state: State, asked: Selection, latest: Instant) -> Interval:
    """Returns the range to bring the destination to: the stored one, widened to what is asked for, up to `latest`.

    Raises `UsageError` for an empty range, and for an earlier start than what has expired.
    """
    stored = state.range
    until = min(asked.until, latest) if asked.until is not None else latest if stored is None else stored.end
    since = asked.since if asked.since is not None else BEGINNING if stored is None else stored.start
    if stored is not None and asked.since is not None and asked.since < (floor := row_floor(state.privacy.floors)):
        raise UsageError(
            f"--since {format_instant(asked.since)}: expired: rows before {format_instant(floor)} are not kept. Leave "
            "--since out"
        )
    if since >= until:
        clamped = asked.until is None or asked.until > latest
        raise UsageError(
            f"nothing to export: the range starts at {format_instant(since)} and ends at {format_instant(until)}"
            + (", the server's clock less the lag" if clamped and stored is None else "")
            + (", where this export ends; give --until to widen it" if asked.until is None and stored else "")
        )
    if stored is None:
        return Interval(since, until)
    return Interval(min(since, stored.start), max(until, stored.end))


def check_file_mode(asked: Selection, destination: Location) -> None:
    """Raises `UsageError` if a file mode is asked for where files have none."""
    if asked.file_mode is not None and isinstance(destination, Url):
        raise UsageError(
            f"--file-mode {asked.file_mode}: {destination} is in an object store, where files have no modes. Leave it "
            "out, and let the policy of the bucket say who may read"
        )


def between(range_: Interval, asked: Selection) -> Coverage:
    """Returns the part of a range that lies between the bounds that are asked for."""
    start = range_.start if asked.since is None else max(range_.start, asked.since)
    end = range_.end if asked.until is None else min(range_.end, asked.until)
    return Coverage([Interval(start, end)] if start < end else ())


def missed_by(range_: Interval, asked: Selection) -> str:
    """Returns where a range begins or ends that has nothing between the bounds that are asked for."""
    if asked.since is not None and asked.since >= range_.end:
        return f"ends at {format_instant(range_.end)}"
    return f"begins at {format_instant(range_.start)}"


def known_end(state: State, asked: Selection) -> Instant | None:
    """Returns the end of the range that `settle_range` will return, or None if only the clock tells."""
    end = settle_range(state, asked, _NEVER).end
    return None if end == _NEVER else end


def asks_for_more(stored: Interval, asked: Selection) -> bool:
    """Returns whether the stored range must be widened."""
    earlier = asked.since is not None and asked.since < stored.start
    later = asked.until is not None and asked.until > stored.end
    misses = asked.until is None and asked.since is not None and asked.since >= stored.end
    return earlier or later or misses


def changing_filters(request: Request) -> list[str]:
    """Returns the filters that a conversation may begin or cease to match."""
    # The value that an unknown parameter is compared with may change as well.
    return [name for name in request.filters if name in MUTABLE_FILTERS or name not in FILTERS_BY_NAME]


def has_sensitive_fields(state: State) -> bool:
    """Returns whether some of the stored rows came with sensitive fields."""
    return any(withheld < rows for withheld, rows in state.conversations.each("withheld_rows", "rows"))


def shown(value: object) -> str:
    """Returns a part of a request in words."""
    match value:
        case None:
            return "all"
        case tuple():
            return ",".join(value)
        case dict():
            return " ".join(key_value(name, shown(filter_)) for name, filter_ in value.items()) or "none"
    return str(value)
