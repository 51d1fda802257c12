"""Builds HTML out of elements. A plain text is escaped wherever it goes; only what is made here is taken for markup."""

import html
import re
from typing import Final, TypeAlias

#: Elements that have no end tag.
_VOID: Final = frozenset({"meta", "br", "hr", "rect", "col"})
#: Control characters, and halves of surrogate pairs.
_UNWRITABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

Child: TypeAlias = "str | None"


class Markup(str):
    """Holds HTML that is written as it is."""

    __slots__ = ()


def element(tag: str, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """Returns an element. Attributes that are None or False are left out, and True ones have no value.

    Of an attribute's name, a `_` at the end is dropped, and others become `-`.
    """
    given = "".join(
        f" {_attribute_name(name)}" if value is True else f' {_attribute_name(name)}="{escaped(str(value))}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Markup(f"<{tag}{given}>" if tag != "rect" else f"<rect{given}/>")
    return Markup(f"<{tag}{given}>{joined(*children)}</{tag}>")


def joined(*children: Child) -> Markup:
    """Returns what stands one after the other; None is nothing."""
    return Markup("".join(escaped(child) for child in children if child is not None))


def escaped(text: str) -> str:
    """Returns a text as it stands in HTML, also between quotes; what is markup already stays as it is.

    Control characters and halves of surrogate pairs, which HTML cannot hold, are replaced.
    """
    if isinstance(text, Markup):
        return text
    return html.escape(writable(text), quote=True)


def writable(text: str) -> str:
    """Returns a text without characters that HTML cannot hold: another stands in the place of each."""
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _attribute_name(name: str) -> str:
    return name.removesuffix("_").replace("_", "-")
