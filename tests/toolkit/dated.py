"""Reads what a command has logged: lines that begin with the time."""

import re

_DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "


def undated(text: str) -> str:
    """Returns the text without the time at the start of its lines."""
    return re.sub(f"^{_DATE}", "", text, flags=re.MULTILINE)


def are_dated(text: str) -> bool:
    """Tells whether each line begins with a time."""
    return all(re.match(_DATE, line) for line in text.splitlines())
