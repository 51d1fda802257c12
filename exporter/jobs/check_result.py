"""Holds what `exporter check` has found: a finding for each thing that a run needs."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from exporter.errors import ExporterError
from exporter.jobs.summary import FROM_GOOD_TO_BAD
from exporter.progress import Quiet

#: `unknown` means that the API, or the machine, does not say; what is `not tried` needs something that is wrong.
Grade: TypeAlias = Literal["ok", "warning", "unknown", "wrong", "not tried"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Tells how it is with one thing that a run needs, and what to do. A run would end with `exit_status`, or worse."""

    name: str
    grade: Grade
    what: str
    exit_status: int = 0


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """Tells whether a run at `destination` would have all that it needs; `exit_status` is what it would end with."""

    destination: str
    findings: tuple[Finding, ...]

    @property
    def exit_status(self) -> int:
        return max((each.exit_status for each in self.findings), key=FROM_GOOD_TO_BAD.index, default=0)

    @property
    def is_ready(self) -> bool:
        """Returns whether nothing is wrong."""
        return self.exit_status == 0

    def of(self, grade: Grade) -> tuple[Finding, ...]:
        """Returns the findings of this grade."""
        return tuple(each for each in self.findings if each.grade == grade)


class Warnings(Quiet):
    """Keeps what a run would warn of."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, event: str, /, **details: object) -> None:
        self.said.append(event)

    def take(self) -> list[str]:
        """Returns the warnings since the last call."""
        said, self.said = self.said, []
        return said


@dataclass(slots=True)
class Told:
    """Receives what a check has to tell if nothing is wrong: words, and what is worth a warning."""

    what: str = ""
    grade: Grade = "ok"
    exit_status: int = 0

    def is_wrong(self, what: str, exit_status: int) -> None:
        self.what, self.grade, self.exit_status = what, "wrong", exit_status

    def warn(self, what: str) -> None:
        self.what, self.grade = what, "warning"

    def is_unknown(self, what: str) -> None:
        self.what, self.grade = what, "unknown"


@dataclass(slots=True)
class Findings:
    """Collects findings, and tells each to `tell` as soon as it is made."""

    tell: Callable[[Finding], None]
    made: list[Finding] = field(default_factory=list)

    @contextmanager
    def about(self, name: str) -> Iterator[Told]:
        """Makes a finding of what the block tells, or of the `ExporterError` that ends it, which goes no further."""
        told = Told()
        try:
            yield told
        except ExporterError as error:
            self.add(name, "wrong", str(error), error.exit_status)
        else:
            self.add(name, told.grade, told.what, told.exit_status)

    def not_tried(self, names: Iterable[str], needed: str) -> None:
        """Tells that `needed`, which is wrong, kept these from being tried."""
        for name in names:
            self.add(name, "not tried", f"needs {needed}, which is wrong")

    def add(self, name: str, grade: Grade, what: str, exit_status: int = 0) -> None:
        """Makes a finding."""
        finding = Finding(name=name, grade=grade, what=what, exit_status=exit_status)
        self.made.append(finding)
        self.tell(finding)

    def is_wrong(self, name: str) -> bool:
        """Returns whether this was found wrong, or not tried."""
        return any(each.name == name and each.grade in ("wrong", "not tried") for each in self.made)
