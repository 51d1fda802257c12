"""Describes how the stand-in's media host behaves: how links live, when recordings come and go, and what goes wrong.

Each switch has the same name on the command line (`--media lifetime_seconds=60`), where a fault is a switch of its own:
`--media cut=0.05`.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal, TypeAlias, get_args

import msgspec

from exporter.errors import UsageError
from exporter.sandbox.switches import read_switches

MediaFault: TypeAlias = Literal[
    # These heal, after as many attempts as the behaviour says.
    "early-404",
    "429",
    "503",
    "drop",
    "cut",
    "norange",
    "weak",
    "changed",
    "416",
    "no-content-range",
    # This one heals with another link.
    "expired",
    # These answer with the right bytes, in another way.
    "no-length",
    "slow",
    "unknown-type",
    "redirect",
    # These never heal.
    "cut-always",
    "long",
    "empty",
    "endless",
    "oversized",
    "gzip",
    "html",
    "html-as-audio",
    "json",
    "gone",
    "forbidden",
    "redirect-name",
    "redirect-http",
    "redirect-literal",
    "redirect-private",
    "redirect-loop",
]
MEDIA_FAULTS: Final[tuple[MediaFault, ...]] = get_args(MediaFault)

#: How a link is signed, and its end told: not at all, in the URL, or beside it.
Dialect: TypeAlias = Literal["expires", "amazon", "opaque", "path", "details"]

_AtLeast0 = msgspec.Meta(ge=0)
_AtLeast1 = msgspec.Meta(ge=1)
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class MediaBehaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Holds the media host's switches. The defaults make a well-meaning host; sizes are in bytes.

    Raises `ValueError` if the shares of the faults are more than 1 together.
    """

    #: A link is dead this many seconds after it was signed, which is when its conversation was read.
    lifetime_seconds: Annotated[int, _AtLeast1] = 3600
    #: `expires` and `amazon` name the end in the URL, `details` beside it as `expires_at`, and `opaque` nowhere. Nor
    #: does `path`, whose signature is a component of the path: no two links have the same.
    dialect: Dialect = "expires"
    #: `list` wraps the details in a list. For a call without a recording, or not yet with one, `processing` says that
    #: it is being made, and `null-url` that its URL is null.
    details_shape: Literal["plain", "list", "processing", "null-url"] = "plain"
    #: `recording_details` is null until this many seconds after the end of the call; `updated_at` stands still.
    late_seconds: Annotated[float, _AtLeast0] = 0.0
    #: A recording is deleted this many seconds after `created_at`: it answers with `deleted`.
    retention_seconds: Annotated[float, _AtLeast0] | None = None
    deleted: Literal["404", "410"] = "404"
    #: `recording_details` of a deleted recording stays, with a link that lives; becomes null; or is absent.
    deleted_details: Literal["kept", "null", "absent"] = "kept"

    #: This share of the calls has a recording; the others have null, as everything that is written.
    share: _Share = 1.0
    #: A recording has exactly this many bytes; by default one or two seconds.
    bytes_each: Annotated[int, msgspec.Meta(ge=100)] | None = None
    #: There are this many different recordings; by default each call has its own.
    distinct: Annotated[int, _AtLeast1] | None = None

    #: The shares of conversations whose recordings meet a fault. A conversation meets the same one in each run.
    faults: Mapping[MediaFault, _Share] = {}
    #: A fault that heals does so after this many attempts at a recording.
    heals_after: Annotated[int, _AtLeast1] = 1
    #: What `429` and `503` say in `Retry-After`.
    retry_after_seconds: Annotated[int, _AtLeast0] = 1
    #: `slow` sends this many bytes a second, and `oversized` announces this many.
    slow_rate: Annotated[int, _AtLeast1] = 2000
    oversized_bytes: Annotated[int, _AtLeast1] = 50_000_000_000
    #: `redirect-name` leads to this name of the same host.
    redirect_host: str = "localhost"

    #: The host drops every connection, from this many seconds after its start on, and for how long.
    down_after_seconds: Annotated[float, _AtLeast0] | None = None
    down_for_seconds: Annotated[float, _AtLeast0] = 60.0

    #: This seeds which calls have a recording, and which meet a fault.
    seed: int = 0

    def __post_init__(self) -> None:
        if (total := sum(self.faults.values())) > 1 + 1e-9:
            raise ValueError(f"{', '.join(self.faults)}: the shares are {total:.3g} together, more than 1")


_FIELDS: Final = {field.name: field.type for field in msgspec.structs.fields(MediaBehaviour)}
_SWITCHES: Final = {name: kind for name, kind in _FIELDS.items() if name != "faults"} | dict.fromkeys(
    MEDIA_FAULTS, _Share
)


def media_from_options(pairs: Iterable[str]) -> MediaBehaviour:
    """Returns the behaviour that texts such as `lifetime_seconds=60` or `cut=0.05` ask for.

    Raises `UsageError` for a switch, a fault or a value that is not known; the last one counts if one is given twice.
    """
    try:
        chosen = read_switches(pairs, _SWITCHES)
        faults = {name: chosen.pop(name) for name in MEDIA_FAULTS if name in chosen}
        return MediaBehaviour(**chosen, faults=faults)
    except ValueError as error:
        raise UsageError(f"--media {error}") from error
