"""Makes the rows of the manual's table of options from `ExportSpec`: `python -m tests.options.manual_rows`."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from exporter.options.option import Option
from exporter.options.parse import flag_of
from exporter.options.spec import OPTIONS, ExportSpec

#: Words that are code in a text: flags, names with an underscore, ages and sizes.
_CODE = re.compile(r"(?<![\w-])(--[a-z-]+|[A-Za-z]*_\w+|\d+(?:d|[MG]i?B)|conversations,turns)(?![\w-])")


def rows() -> Iterator[str]:
    """Returns a row for each option: its flag, its help and its default."""
    defaults = {each.name: each.default for each in dataclasses.fields(ExportSpec)}
    for name, option in OPTIONS.items():
        # The text names what takes an option back.
        flags = [flag.partition("/")[0] for flag in option.flags or (flag_of(name),)]
        flag = " ".join([*flags, *([option.metavar] if option.metavar else [])])
        yield f"| `{flag}` | {_text(option)} | {_default(option, defaults[name])} |".replace("|  |", "| |")


def _text(option: Option) -> str:
    head, listed, values = option.help.rstrip(".").partition(": ")
    if listed and re.fullmatch(r"\w+(, \w+)+", values):
        return f"{_in_code(head)}: {', '.join(f'`{value}`' for value in values.split(', '))}."
    return _in_code(option.help)


def _in_code(text: str) -> str:
    return _CODE.sub(r"`\1`", text)


def _default(option: Option, default: Any) -> str:
    if option.otherwise:
        return _in_code(option.otherwise)
    return "" if default is None or default is False else f"`{default}`"


if __name__ == "__main__":
    print("\n".join(rows()))
