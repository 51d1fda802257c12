"""A conversation between its page and its batch: a typed row, or a misfit.

Row classes are made from `contract.FIELDS`, for the fields asked for and the unknown ones met so far. A value that was
not served is `UNSET`, which is not `None` (a served `null`). JSON fields and numbers hold their text as served; free
text that is not ASCII is UTF-8.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from exporter.contract import ALWAYS_FIELDS, FIELDS, Instant, Kind

_NUMBERS: Final = frozenset(field.name for field in FIELDS if field.kind is Kind.INTEGER)
_NARROW: Final = frozenset({*ALWAYS_FIELDS, "extra"})
_REQUIRED: Final[dict[str, Any]] = {"id": str, "created_at": str}


class Misfit(msgspec.Struct, frozen=True, gc=False):
    """A row that does not fit its column types, or has no usable `id` or `created_at`.

    `id` is the row's own where usable, else made from a hash of its text. `created_at` is its own, cut to microseconds
    if served finer, or else that of the row before it on the page. `text` is the row's JSON as served; where that is
    not UTF-8 it is `base64:` and the Base64 of the bytes, which no JSON object can be taken for.
    """

    id: str
    created_at: Instant
    reason: str
    text: bytes

    def detach(self) -> None:
        """Its text is its own."""


class Agent(msgspec.Struct, gc=False, kw_only=True):
    """The field `agent`, as far as it is known.

    Of both this and `ServedRow`: `unknown` pairs the attributes that hold unknown members with their keys as JSON text;
    `opaque` names the attributes whose values are text that may hold keys of its own.
    """

    unknown: ClassVar[tuple[tuple[str, bytes], ...]] = ()
    opaque: ClassVar[frozenset[str]] = frozenset()

    id: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET


class ServedRow(msgspec.Struct, gc=False, kw_only=True):
    """A row that fits. Its other attributes bear the names of the API's fields.

    `may_have_extra`: rows of this class must be asked for their `extra_text`.
    """

    may_have_extra: ClassVar[bool] = True
    unknown: ClassVar[tuple[tuple[str, bytes], ...]] = ()
    opaque: ClassVar[frozenset[str]] = frozenset()

    id: str

    def detach(self) -> None:
        """Lets go of the page it came on, which otherwise stays in memory with it."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Raw):
                setattr(self, name, value.copy())

    def drop(self) -> None:
        """Lets go of all but its id, and so of its page: a batch has the rest by now."""
        for name in self.__struct_fields__:
            if name != "id":
                setattr(self, name, UNSET)

    def is_narrow(self) -> bool:
        """Whether nothing but `contract.ALWAYS_FIELDS` was served."""
        return all(getattr(self, name) is UNSET for name in self.__struct_fields__ if name not in _NARROW)

    def extra_text(self) -> bytes | None:
        """What no column holds, as a JSON object; None when there is nothing."""
        members = _unknown_members(self)
        agent = getattr(self, "agent", UNSET)
        if isinstance(agent, Agent) and (inside := object_text(_unknown_members(agent))):
            members[b'"agent"'] = inside
        return object_text(members)


class ExactRow(ServedRow, kw_only=True):
    """A row that was put together field by field."""

    extra: bytes | None = None

    def extra_text(self) -> bytes | None:
        return self.extra


EncodeRow: TypeAlias = ServedRow | Misfit


def object_text(members: Mapping[bytes, bytes]) -> bytes | None:
    """A JSON object of key and value texts, sorted by key so that it does not depend on what came before; or None."""
    if not members:
        return None
    return b"{" + b",".join(key + b":" + members[key] for key in sorted(members)) + b"}"


def is_learnable(name: str) -> bool:
    """Whether a row class can have a member of this name (msgspec takes none that JSON must escape)."""
    return all(character >= " " and character not in '"\\' for character in name)


def row_class(
    asked: Iterable[str], unknown: Sequence[str] = (), unknown_in_agent: Sequence[str] = ()
) -> type[ServedRow]:
    """The class that a page's rows decode into.

    Documented fields that were not asked for may come all the same (source.md, 5); no column keeps them.
    """
    agent = _with_unknown("Agent", Agent, {}, unknown_in_agent)
    row: type[ServedRow] = _with_unknown("Row", ServedRow, _members(asked, agent), unknown)
    row.may_have_extra = bool(unknown or unknown_in_agent)
    return row


def exact_row_class(asked: Iterable[str]) -> type[ExactRow]:
    """The class of rows put together field by field; it takes keyword arguments, and is never decoded into."""
    members = _optional(_members(asked, Agent))
    made: type[Any] = msgspec.defstruct("Exact", members, bases=(ExactRow,), kw_only=True, gc=False)
    return made


def _members(asked: Iterable[str], agent: type[Agent]) -> dict[str, Any]:
    types: dict[Kind, Any] = {
        Kind.STRING: str | None,
        Kind.INTEGER: Raw,
        Kind.TIMESTAMP: str | None,
        Kind.AGENT: agent | None,
        Kind.JSON: Raw,
    }
    return {field.name: types[field.kind] if field.name in asked else Raw for field in FIELDS} | _REQUIRED


def _with_unknown(name: str, base: type[Any], members: Mapping[str, Any], unknown: Sequence[str]) -> type[Any]:
    keys = {f"unknown_{number}": key for number, key in enumerate(unknown)}
    types = {**members, **dict.fromkeys(keys, Raw)}
    return msgspec.defstruct(
        name,
        _optional(types),
        bases=(base,),
        namespace={
            "unknown": tuple((attribute, msgspec.json.encode(key)) for attribute, key in keys.items()),
            "opaque": frozenset(attribute for attribute, kind in types.items() if kind is Raw) - _NUMBERS,
        },
        rename=keys,
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _optional(types: Mapping[str, Any]) -> list[Any]:
    return [
        (attribute, kind) if attribute in _REQUIRED else (attribute, kind | UnsetType, UNSET)
        for attribute, kind in types.items()
    ]


def _unknown_members(holder: Agent | ServedRow) -> dict[bytes, bytes]:
    return {
        key: bytes(value) for attribute, key in holder.unknown if (value := getattr(holder, attribute)) is not UNSET
    }
