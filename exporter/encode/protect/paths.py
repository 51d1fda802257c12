"""Reads the paths of rules, and follows several of them through a JSON value at once."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, TypeAlias

import msgspec

from exporter.errors import UsageError
from exporter.privacy import Rule


class Step(Enum):
    """Leads to any element of an array (`[*]`), or any number of levels down (`**`)."""

    ELEMENT = "[*]"
    DEPTH = "**"


#: A step of a path: to the member of this name, or as `Step` says.
Segment: TypeAlias = str | Step
#: How far each path has been followed: the number of the target, and of the steps taken.
States: TypeAlias = frozenset[tuple[int, int]]
NOWHERE: Final[States] = frozenset()
#: The path that leads on through an object, or an array, by whether it is an object.
Wanted: TypeAlias = Mapping[bool, str]

_SEGMENT: Final = re.compile(r'(?:\.|^)(?:("(?:[^"\\]|\\.)+")|(\*\*)|([^."\[\]*]+))|(\[\*\])')


def parse_path(text: str) -> tuple[str, tuple[Segment, ...]]:
    """Returns the column of a path, and the steps inside it: `.name`, `[*]` for each element of an array, `.**` for any
    number of levels, and `."a.b"` for a name with dots. Raises `UsageError`."""
    segments: list[Segment] = []
    position = 0
    while position < len(text):
        found = _SEGMENT.match(text, position)
        if found is None or (position == 0 and (found[3] is None or text.startswith("."))):
            raise UsageError(f'the path {text}: write column.name, column.list[*].name, column.**.name or column."a.b"')
        quoted, depth, plain, _ = found.groups()
        try:
            segments.append(msgspec.json.decode(quoted, type=str) if quoted else plain or Step(depth or "[*]"))
        except msgspec.MsgspecError as error:
            raise UsageError(f"the path {text}: {quoted} is not a name in quotes") from error
        position = found.end()
    if not segments:
        raise UsageError("a path cannot be empty")
    return text[: len(str(segments[0]))], tuple(segments[1:])


class Target(msgspec.Struct, frozen=True):
    """Says which `rule` the steps lead to. `path` names both."""

    path: str
    steps: tuple[Segment, ...]
    rule: Rule

    @property
    def is_deep(self) -> bool:
        """Returns whether the rule is for the values inside an object, because it cannot read the object itself.

        Content may be an image or speech, with its words inside: `redact` looks through these.
        """
        return self.rule.action == "redact" or self.steps[-1:] == (Step.DEPTH,)

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Returns what orders the rules that meet at one value. The one with the most names counts."""
        names = sum(isinstance(step, str) for step in self.steps)
        return names, -self.steps.count(Step.DEPTH), len(self.steps), self.path


class Routes:
    """Follows the paths of all `targets` of one column at once, a step at a time."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets: Final = tuple(targets)
        self._names = frozenset(step for target in targets for step in target.steps if isinstance(step, str))
        self._steps: dict[tuple[States, str | Step | None], States] = {}
        self._chosen: dict[States, Target | None] = {NOWHERE: None}
        self._wanted: dict[States, Wanted] = {NOWHERE: {}}
        self.start: Final = self._closed({(number, 0) for number in range(len(targets))})

    def member(self, states: States, name: str) -> States:
        """Returns where the paths are at the member of this name."""
        # Names that no path has are alike. Only so many are remembered, because the rest is data.
        return self._step(states, name if name in self._names else None)

    def element(self, states: States) -> States:
        """Returns where the paths are at an element of an array."""
        return self._step(states, Step.ELEMENT)

    def target(self, states: States) -> Target | None:
        """Returns whose rule is for a value, if any."""
        if states not in self._chosen:
            ended = [self.targets[number] for number, step in states if step == len(self.targets[number].steps)]
            self._chosen[states] = max(ended, key=lambda target: target.rank, default=None)
        return self._chosen[states]

    def wanted(self, states: States) -> Wanted:
        """Returns what a value must be for the paths to lead on from it; empty if any value is fine, as for `**`."""
        if states not in self._wanted:
            deep = {number for number, step in states if Step.DEPTH in self.targets[number].steps[: step + 1]}
            self._wanted[states] = {
                isinstance(target.steps[step], str): target.path
                for number, step in sorted(states)
                for target in [self.targets[number]]
                if number not in deep and step < len(target.steps) and target.rule.action != "keep"
            }
        return self._wanted[states]

    def _step(self, states: States, to: Segment | None) -> States:
        if not states:
            return states
        if (states, to) not in self._steps:
            after: set[tuple[int, int]] = set()
            for number, position in states:
                target = self.targets[number]
                if position == len(target.steps):
                    # A rule for an array is for its elements, and one that keeps an object keeps what is inside.
                    if to is Step.ELEMENT or target.is_deep or target.rule.action == "keep":
                        after.add((number, position))
                elif target.steps[position] is Step.DEPTH:
                    after.add((number, position))
                elif target.steps[position] == to:
                    after.add((number, position + 1))
            self._steps[states, to] = self._closed(after)
        return self._steps[states, to]

    def _closed(self, states: set[tuple[int, int]]) -> States:
        """Adds what is reached without a step: `**` also stands for no level."""
        reached = {*states}
        for number, position in states:
            steps = self.targets[number].steps
            while position < len(steps) and steps[position] is Step.DEPTH:
                position += 1
                reached.add((number, position))
        return frozenset(reached)


def routes_of(rules: Mapping[str, Rule]) -> dict[str, Routes]:
    """Returns the paths of rules by column. Raises `UsageError` for what is no path."""
    targets = defaultdict[str, list[Target]](list)
    for path, rule in rules.items():
        column, steps = parse_path(path)
        targets[column].append(Target(path, steps, rule))
    return {column: Routes(found) for column, found in targets.items()}


def rule_at(routes: Mapping[str, Routes], column: str, steps: Sequence[Segment]) -> Rule | None:
    """Returns whose rule is for a value at these steps inside a column, if any."""
    if column not in routes:
        return None
    followed = routes[column]
    states = followed.start
    for step in steps:
        states = followed.element(states) if step is Step.ELEMENT else followed.member(states, str(step))
    target = followed.target(states)
    return None if target is None else target.rule
