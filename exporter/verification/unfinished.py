"""Judges what a protection, or a change of the key, has left that was cut short, which the same command finishes. Pure.

Until then, files lie there that no commit names any more, because they are deleted only after others took their place.
"""

import re
from collections.abc import Collection
from typing import Final, Literal, TypeAlias

import msgspec

from exporter.layout import CHANGES, QUARANTINE, is_of_run
from exporter.log.state import Commit, State
from exporter.verification.problems import Problem

#: The command that was cut short.
Rewriting: TypeAlias = Literal["protect", "rekey"]

#: A file that a run has written, by its name; a run has 12 digits.
_OF_RUN: Final = re.compile(rf"(?:{QUARANTINE}|{CHANGES})/[0-9a-f]{{12}}-[^/]*")
_WHAT: Final[dict[Rewriting, str]] = {"protect": "a protection", "rekey": "a change of the key"}


def pending_command(state: State) -> Rewriting | None:
    """Returns the command that files wait for which are not yet as the policy and the encryption want them."""
    files = state.files.values()
    if any(file.key != state.privacy.key_name for file in files):
        return "rekey"
    return None if all(map(state.privacy.is_protected, files)) else "protect"


def unfinished_command(
    state: State, last: Commit, problems: Collection[Problem], *, has_ended: bool
) -> Rewriting | None:
    """Returns the command that was cut short. It may have put all in order except for what it had yet to delete; then
    the `last` commit is of that kind, and its run has not ended."""
    command = pending_command(state)
    is_left = any(problem.what in ("orphan", "behind") for problem in problems)
    if command is None and not has_ended and is_left:
        return "protect" if last.kind == "protect" else "rekey" if last.kind == "rekey" else None
    return command


def excuse_rewriting(state: State, problems: Collection[Problem], command: Rewriting | None) -> list[Problem]:
    """Returns problems as they are to be judged while `command` is not finished.

    Without one, a run of these kinds may have been killed before its first commit, for which it writes rows in
    quarantine and changes again; no reader takes those for data.
    """
    if command is None:
        return [_uncommitted(one) if _is_of_no_run(state, one) else one for one in problems]
    return [
        msgspec.structs.replace(
            one, what="behind", detail=f"{one.detail.partition(':')[0]}: {_WHAT[command]} is not finished"
        )
        if one.what in ("orphan", "success", "manifest", "behind")
        else one
        for one in problems
    ]


def _is_of_no_run(state: State, problem: Problem) -> bool:
    is_aside = problem.what == "orphan" and _OF_RUN.fullmatch(problem.file) is not None
    return is_aside and not any(is_of_run(problem.file, run) for run in state.runs)


def _uncommitted(problem: Problem) -> Problem:
    return msgspec.structs.replace(
        problem, what="behind", detail="a run that was killed before its first commit left it"
    )
