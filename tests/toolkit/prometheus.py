"""Reads Prometheus' text format strictly: what `promtool check metrics` would refuse fails here."""

import re
from typing import Final, TypeAlias

Labels: TypeAlias = tuple[str | tuple[str, str], ...]

_NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE: Final = re.compile(rf"({_NAME})\{{((?:[^\"}}]|\"(?:[^\"\\]|\\.)*\")*)\}} (\S+)")
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(?:,|$)')
_UNITS: Final = ("minutes", "hours", "days", "milliseconds", "kilobytes", "megabytes", "percent")


def samples_of(text: str) -> dict[Labels, float]:
    """Returns the samples by name and labels, each of a family with one HELP, one TYPE, and its lines together."""
    assert text.endswith("\n")
    samples: dict[Labels, float] = {}
    families: list[str] = []
    family = ""
    lines = iter(text.split("\n")[:-1])
    for line in lines:
        if line.startswith("# HELP "):
            family, help_ = line.removeprefix("# HELP ").split(" ", 1)
            assert help_
            assert family not in families, f"{family} is not in one piece"
            families.append(family)
            assert next(lines) == f"# TYPE {family} gauge"
            # A gauge is not named like a counter, and units are the base units.
            assert not family.endswith(("_total", "_count", "_sum", "_bucket", "_info"))
            assert not set(family.split("_")) & set(_UNITS)
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        assert name == family
        found = list(_LABEL.finditer(labels))
        assert "".join(each[0] for each in found) == labels, labels
        key = (name, *((each[1], _unescaped(each[2])) for each in found))
        assert key not in samples
        samples[key] = float(value)
    return samples


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), text)
