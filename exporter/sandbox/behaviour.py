"""Describes how the stand-in server behaves: a switch for everything that source.md calls unknown or possible.

Each switch has the same name on the command line (`--behaviour cursor=inclusive`), where times are in seconds.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Final, Literal, TypeAlias, get_args

import msgspec

from exporter.contract import FIELD_NAMES, FILTERS_BY_NAME, RESERVED_PARAMETERS
from exporter.errors import UsageError
from exporter.sandbox.readings import TIMES, reads_of
from exporter.sandbox.switches import read_switches
from exporter.words import any_of, did_you_mean

Fault: TypeAlias = Literal[
    "500",
    "502",
    "503",
    "504",
    "reset",
    "reset-mid-body",
    "short-body",
    "half-json",
    "html",
    "wrong-type",
    "stall",
    "stall-mid-body",
    "trickle",
    "gzip",
    "gzip-bomb",
    "redirect",
    "oversized",
]
FAULTS: Final[tuple[str, ...]] = get_args(Fault)
PARAMETERS: Final = frozenset(FILTERS_BY_NAME) | frozenset(RESERVED_PARAMETERS)
BOUNDS: Final = frozenset(TIMES) - {"cursor"}

_AtLeast0 = msgspec.Meta(ge=0)
_AtLeast1 = msgspec.Meta(ge=1)
_Above0 = msgspec.Meta(gt=0)
_Share = msgspec.Meta(ge=0, le=1)


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Holds the server's switches. The defaults make a well-meaning server; numbers in brackets refer to source.md.

    Raises `ValueError` for an unknown parameter in `ignores` or `excludes`, an unknown field in `list_omits`, an
    unknown reading, an impossible change, and for a fault rate without faults.
    """

    #: [1] A strict cursor serves rows older than it; an inclusive one also those of its own time.
    cursor: Literal["strict", "inclusive"] = "strict"
    #: [2] `created_at` and `updated_at` are served this precisely; microseconds are stored.
    precision: Literal["us", "ms", "s"] = "us"
    rounding: Literal["cut", "half-even", "half-up"] = "cut"
    #: [2] `fixed` shows the precision's digits; `python` six, or none when zero; `trimmed` no trailing zeros.
    fraction: Literal["fixed", "python", "trimmed"] = "fixed"
    offset: Literal["Z", "+00:00", "none"] = "Z"
    #: [2, 14] A time that is asked for is compared with what is stored, what is served, or its day alone.
    compares: Literal["stored", "served", "day"] = "stored"
    #: [14] The times that are asked for, all or the named one, are read like this: `cut-ms`, `cursor:+3h`.
    reads: tuple[str, ...] = ()
    #: [14] These bounds leave out their own time.
    excludes: tuple[str, ...] = ()

    default_limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    #: [4] A page never holds more rows, or (beyond its first row) more bytes, than this; nothing says so.
    page_cap: Annotated[int, _AtLeast1] | None = None
    page_bytes: Annotated[int, _AtLeast1] | None = None
    #: [14] The chances that a page ends early, with at least one row; is empty; holds an element that is not a row.
    short_pages: Annotated[float, _Share] = 0.0
    empty_pages: Annotated[float, _Share] = 0.0
    odd_elements: Annotated[float, _Share] = 0.0
    #: [14] An API that filters after its limit makes short and empty pages where rows do not match.
    filters: Literal["before-limit", "after-limit"] = "before-limit"
    #: [3] Rows of one `created_at` always come in the same order, or in a new one for every request.
    equals: Literal["fixed", "shuffled"] = "fixed"
    #: `oldest` answers from the other end; `shuffled` mixes the rows of a page; `unordered` pages rows as they lie.
    order: Literal["newest", "oldest", "shuffled", "unordered"] = "newest"
    #: [5] These parameters are not looked at.
    ignores: tuple[str, ...] = ()
    #: A parameter that no reference names is not looked at, is answered with 422, or leaves the rows whose field of
    #: that name has that value (or a number `_above` or `_below` it).
    unknown: Literal["ignored", "refused", "applied"] = "ignored"
    #: [6] A row becomes visible this many seconds after its `created_at`.
    visible_delay: Annotated[float, _AtLeast0] = 0.0
    #: [7] `token_created` is left out unless a `status` is asked for.
    hides_token_created: bool = False
    #: Fields are served that no reference names.
    extra_fields: bool = False
    #: [13] The list leaves these fields out, also when they are asked for; a conversation by itself has them.
    list_omits: tuple[str, ...] = ()

    #: A page is answered after this many seconds.
    latency: Annotated[float, _AtLeast0] = 0.0
    #: [8] This many requests a second are answered, and this many at once after a pause; beyond them 429.
    rate: Annotated[float, _Above0] | None = None
    burst: Annotated[int, _AtLeast1] = 1
    retry_after: Literal["seconds", "date", "absent"] = "seconds"
    #: [8] This many requests may be in flight; beyond them 503.
    max_in_flight: Annotated[int, _AtLeast1] | None = None

    #: [9] The chance that a request meets one of `faults`. `script` comes first: a fault or `ok` for each request.
    fault_rate: Annotated[float, _Share] = 0.0
    faults: tuple[Fault, ...] = ("500", "502", "503", "504", "reset", "reset-mid-body", "short-body", "half-json")
    script: tuple[Fault | Literal["ok"], ...] = ()
    #: `gzip-bomb` and `oversized` blow a body up to this many bytes; `trickle` sends this many bytes a second.
    oversized_bytes: Annotated[int, _AtLeast1] = 256 * 1024 * 1024
    trickle_rate: Annotated[int, _AtLeast1] = 2000

    #: [10] After this many requests the token is refused, or no longer reads sensitive fields.
    revoked_after: Annotated[int, _AtLeast0] | None = None
    role_changed_after: Annotated[int, _AtLeast0] | None = None
    #: [10] After this many requests each token is refused, and the one that takes its place is accepted: `…_next`.
    rotates_after: Annotated[int, _AtLeast0] | None = None
    #: Answers say that the token ends this many seconds from now.
    token_ends_in: float | None = None

    #: An organization that is named beside an `ak_` key must be the key's; otherwise the answer is 403.
    checks_organization: bool = False

    #: [15] `Date` says the server's time plus `date_ahead` seconds, in every answer, in the `first` alone, or in one of
    #: two at random (`jumping`); always the time of the first answer (`frozen`); or nothing that can be read.
    date: Literal["steady", "first", "jumping", "frozen", "malformed", "absent"] = "steady"
    date_ahead: float = 0.0

    #: The scopes of the token are told (`served`, or as `objects`), refused with 403 or 500, unknown with 404, a page
    #: for people, or written in another way.
    scopes: Literal["served", "objects", "forbidden", "failing", "absent", "html", "odd"] = "served"

    #: Whether the usage summary is served, refused with 403, or unknown.
    usage: Literal["served", "forbidden", "absent"] = "served"
    #: Which of `from` and `to` count: the first, both or none; by day, both or the first.
    usage_ends: Literal["half-open", "included", "excluded", "days-included", "days-excluded"] = "half-open"
    #: Conversations with these channels or statuses do not count.
    usage_leaves_out: tuple[str, ...] = ()
    #: Days are those of this time zone, and of the beginning or the end of a conversation.
    usage_zone: str = "UTC"
    usage_day: Literal["created", "ended"] = "created"
    #: What happened in this many seconds before now does not count yet.
    usage_lag_seconds: Annotated[float, _AtLeast0] = 0.0
    #: Deleted conversations go on to count.
    usage_keeps_deleted: bool = False
    #: The duration of each conversation counts as it is, or is rounded up to a minute.
    usage_minutes: Literal["exact", "up"] = "exact"
    usage_numbers: Literal["plain", "text", "float"] = "plain"
    #: The list of days has all, those with conversations, or half of them; or there is none. It has this key.
    usage_daily: Literal["full", "sparse", "incomplete", "absent"] = "full"
    usage_daily_key: str = "daily"
    #: The last day with conversations, and the total, count this many more.
    usage_off: int = 0

    #: [14] After this many requests other switches change: `precision=ms`, `page_cap=20`.
    changes_after: Annotated[int, _AtLeast0] = 0
    changes: tuple[str, ...] = ()

    #: This seeds whatever is left to chance: faults and shuffling.
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.ignores) - PARAMETERS):
            near = did_you_mean(unknown[0], PARAMETERS)
            raise ValueError(f"ignores={unknown[0]}: there is no such parameter.{near}".rstrip("."))
        if unknown := sorted(set(self.excludes) - BOUNDS):
            raise ValueError(f"excludes={unknown[0]}: must be {any_of(sorted(BOUNDS))}")
        if unknown := sorted(set(self.list_omits) - set(FIELD_NAMES)):
            raise ValueError(
                f"list_omits={unknown[0]}: there is no such field.{did_you_mean(unknown[0], FIELD_NAMES)}".rstrip(".")
            )
        reads_of(self.reads, "")
        reads_of([f"in-{self.usage_zone}"], "")
        if self.fault_rate and not self.faults:
            raise ValueError("a fault_rate needs faults")
        _changed(self)

    def at(self, position: int) -> "Behaviour":
        """Returns the behaviour for the request at `position`; the first one since it was set is at 1."""
        return _changed(self) if self.changes and position > self.changes_after else self


_SWITCHES: Final = {field.name: field.type for field in msgspec.structs.fields(Behaviour)}


def behaviour_from_options(pairs: Iterable[str]) -> Behaviour:
    """Returns the behaviour that texts such as `cursor=inclusive`, `page_cap=100` or `faults=500,reset` ask for.

    Raises `UsageError` for a switch or a value that is not known; if a switch is given twice, the last one counts.
    """
    try:
        return Behaviour(**read_switches(pairs, _SWITCHES))
    except ValueError as error:
        raise UsageError(f"--behaviour {error}") from error


@lru_cache
def _changed(behaviour: Behaviour) -> Behaviour:
    """Returns `behaviour` after its changes."""
    if not behaviour.changes:
        return behaviour
    chosen = read_switches(behaviour.changes, _SWITCHES)
    changed = Behaviour(**chosen)
    return msgspec.structs.replace(behaviour, changes=(), **{name: getattr(changed, name) for name in chosen})
