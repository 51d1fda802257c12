"""Holds conversations between their page and their batch: as a typed row, or as a misfit.

Row classes are made from `contract.FIELDS`, with the fields that are asked for and the unknown ones met before. A value
that was not served is `UNSET`, which is not `None` (a served `null`). JSON fields and numbers hold their text as
served; free text that is not ASCII is UTF-8.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from exporter.contract import ALWAYS_FIELDS, FIELDS, Instant, Kind

#: More unknown names than this are data in the place of names.
_MAX_UNKNOWN_NAMES: Final = 64
_NUMBERS: Final = frozenset(field.name for field in FIELDS if field.kind is Kind.INTEGER)
_NARROW: Final = frozenset({*ALWAYS_FIELDS, "extra"})
_REQUIRED: Final = ("id", "created_at")
_SERVED_TEXT: Final = Raw | UnsetType


class Misfit(msgspec.Struct, frozen=True, gc=False):
    """Represents a row that does not fit its column types, or has no usable `id` or `created_at`.

    `id` is the row's own if usable, otherwise made from a hash of its text. `created_at` is its own, cut to
    microseconds if served finer, otherwise that of the row before it on the page. `text` is the row's JSON as served;
    if that is not UTF-8, it is `base64:` and the Base64 of the bytes, which cannot be taken for a JSON object.
    """

    id: str
    created_at: Instant
    reason: str
    text: bytes

    def detach(self) -> None:
        """Does nothing: its text is not part of the page."""


class OpenObject(msgspec.Struct, gc=False, kw_only=True):
    """Represents an object of the API, which may have unknown members in classes that `open_class` makes.

    `unknown` pairs the attributes that hold unknown members with their keys as JSON text. `opaque` names the attributes
    whose values are text that may hold keys of its own.
    """

    unknown: ClassVar[tuple[tuple[str, bytes], ...]] = ()
    opaque: ClassVar[frozenset[str]] = frozenset()

    def unknown_members(self) -> dict[bytes, bytes]:
        """Returns the texts of the unknown members, by the texts of their keys."""
        return {
            key: bytes(value) for attribute, key in self.unknown if (value := getattr(self, attribute)) is not UNSET
        }


class Agent(OpenObject, kw_only=True):
    """Holds the field `agent`, as far as it is known."""

    id: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET


class ServedRow(OpenObject, kw_only=True):
    """Represents a row that fits. Its other attributes have the names of the API's fields.

    `may_have_extra` says that rows of this class must be asked for their `extra_text`.
    """

    may_have_extra: ClassVar[bool] = True

    id: str

    def detach(self) -> None:
        """Copies its texts out of the page it came on, which otherwise stays in memory with it."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Raw):
                setattr(self, name, value.copy())

    def drop(self) -> None:
        """Drops everything except its id, and thereby its page: a batch has the rest by now."""
        for name in self.__struct_fields__:
            if name != "id":
                setattr(self, name, UNSET)

    def is_narrow(self) -> bool:
        """Returns whether only `contract.ALWAYS_FIELDS` were served."""
        return all(getattr(self, name) is UNSET for name in self.__struct_fields__ if name not in _NARROW)

    def extra_text(self) -> bytes | None:
        """Returns what no column holds, as a JSON object; None if there is nothing."""
        members = self.unknown_members()
        agent = getattr(self, "agent", UNSET)
        if isinstance(agent, Agent) and (inside := object_text(agent.unknown_members())):
            members[b'"agent"'] = inside
        return object_text(members)


class ExactRow(ServedRow, kw_only=True):
    """Represents a row that was put together field by field."""

    extra: bytes | None = None

    def extra_text(self) -> bytes | None:
        return self.extra


EncodeRow: TypeAlias = ServedRow | Misfit


def object_text(members: Mapping[bytes, bytes]) -> bytes | None:
    """Returns the JSON object with these texts, sorted by key so that it is always the same; None without members."""
    if not members:
        return None
    return b"{" + b",".join(key + b":" + members[key] for key in sorted(members)) + b"}"


def are_learnable(unknown: frozenset[str], unknown_inside: frozenset[str]) -> bool:
    """Returns whether a class, and one inside it, can have members of these names: they are few, and none is of a kind
    that msgspec does not take because JSON must escape it."""
    if len(unknown) + len(unknown_inside) > _MAX_UNKNOWN_NAMES:
        return False
    return all(character >= " " and character not in '"\\' for name in unknown | unknown_inside for character in name)


def row_class(
    asked: Iterable[str], unknown: Sequence[str] = (), unknown_in_agent: Sequence[str] = ()
) -> type[ServedRow]:
    """Returns the class that a page's rows decode into.

    Documented fields that were not asked for may still come (source.md, 5); no column keeps them.
    """
    agent = open_class("Agent", Agent, [], unknown_in_agent)
    row: type[ServedRow] = open_class("Row", ServedRow, _fields(asked, agent), unknown)
    row.may_have_extra = bool(unknown or unknown_in_agent)
    return row


def exact_row_class(asked: Iterable[str]) -> type[ExactRow]:
    """Returns the class of rows put together field by field; it takes keyword arguments, and is never decoded into."""
    made: type[Any] = msgspec.defstruct("Exact", _fields(asked, Agent), bases=(ExactRow,), kw_only=True, gc=False)
    return made


def open_class(name: str, base: type[OpenObject], fields: Sequence[Any], unknown: Sequence[str]) -> type[Any]:
    """Returns a class that is decoded into, with `fields` as in `msgspec.defstruct` and the `unknown` members."""
    keys = {f"unknown_{number}": key for number, key in enumerate(unknown)}
    fields = [*fields, *((attribute, _SERVED_TEXT, UNSET) for attribute in keys)]
    return msgspec.defstruct(
        name,
        fields,
        bases=(base,),
        namespace={
            "unknown": tuple((attribute, msgspec.json.encode(key)) for attribute, key in keys.items()),
            "opaque": frozenset(attribute for attribute, kind, *_ in fields if kind == _SERVED_TEXT) - _NUMBERS,
        },
        rename=keys,
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _fields(asked: Iterable[str], agent: type[Agent]) -> list[Any]:
    types: dict[Kind, Any] = {
        Kind.STRING: str | None,
        Kind.INTEGER: Raw,
        Kind.TIMESTAMP: str | None,
        Kind.AGENT: agent | None,
        Kind.JSON: Raw,
    }
    return [
        (field.name, str)
        if field.name in _REQUIRED
        else (field.name, (types[field.kind] if field.name in asked else Raw) | UnsetType, UNSET)
        for field in FIELDS
    ]
