"""Says about each command what its help shows besides options: examples, exit statuses, and its page of the manual."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Section(StrEnum):
    """Titles a group of commands in the list of all, in this order."""

    START = "Start here"
    EXPORT = "Export"
    CHECK = "Check"
    UPKEEP = "Upkeep"
    MORE = "More"


@dataclass(frozen=True, kw_only=True)
class About:
    """Holds what help says about a command.

    `topic` is its page of the manual. `examples` are command lines, each after what it does. `table` is a title, and
    the head of a table of the page that help shows under this title.
    """

    section: Section
    topic: str
    examples: tuple[tuple[str, str], ...]
    statuses: dict[int, str]
    table: tuple[str, str] | None = None


_DONE: Final = {0: "done", 1: "failed; the message says whether to run it again", 2: "the command line is wrong"}
_NO_EXPORT: Final = "the command line is wrong, or DEST holds no export"
_REFUSED: Final = "the token was refused, or lacks a scope"
_LOCKED: Final = "another run holds DEST"
_INTERRUPTED: Final = "interrupted; run it again to go on"
_RUN: Final = {
    0: "complete and proven",
    1: "failed, or not complete; run it again to resume",
    2: "the command line, the environment or DEST is wrong; nothing was touched",
    3: "all was read, and something is in doubt: unproven, in quarantine or withheld",
    4: _REFUSED,
    5: _LOCKED,
    130: _INTERRUPTED,
}

ABOUT: Final[dict[str, About]] = {
    "demo": About(
        section=Section.START,
        topic="start",
        examples=(
            ("Make up 2,000 conversations, and export them to demo-export", "exporter demo"),
            ("More of them, to another directory", "exporter demo tried --rows 20000 --days 90"),
        ),
        statuses={status: _RUN[status] for status in (0, 1, 2, 5, 130)},
    ),
    "export": About(
        section=Section.EXPORT,
        topic="export",
        examples=(
            ("January, to the directory calls", "exporter export calls --since 2026-01 --until 2026-02"),
            (
                "Only failed calls, with the items of their transcripts, to a bucket",
                "exporter export s3://lake/failed --status failed --tables conversations,turns",
            ),
        ),
        statuses=_RUN,
    ),
    "sync": About(
        section=Section.EXPORT,
        topic="sync",
        examples=(
            ("Each night: what is new, and what has changed", "exporter sync calls"),
            (
                "Make the export if there is none, with what was created this year",
                "exporter sync calls --since this-year --json",
            ),
        ),
        statuses=_RUN,
    ),
    "status": About(
        section=Section.EXPORT,
        topic="resume",
        examples=(
            ("What is there, what is missing, and who is at work", "exporter status calls"),
            ("The same, for a program", "exporter status calls --json"),
        ),
        statuses={0: "DEST holds an export, whatever its state", 1: _DONE[1], 2: _NO_EXPORT},
    ),
    "verify": About(
        section=Section.CHECK,
        topic="verify",
        examples=(
            ("Check every file, without a network", "exporter verify calls"),
            ("Take out what is damaged; the next export reads it again", "exporter verify calls --repair"),
        ),
        statuses={
            0: "sound, complete and proven; a repair may have made it so",
            1: "a file or DEST cannot be read now, or the repair could not be written",
            2: _NO_EXPORT,
            3: "something is wrong; or all is sound, and the export is not complete or not proven",
            5: _LOCKED,
            130: "interrupted; run it again to start over",
        },
    ),
    "audit": About(
        section=Section.CHECK,
        topic="audit",
        examples=(
            ("Compare a tenth of the export with the API", "exporter audit calls --sample 10%"),
            ("Fetch what differs in last month's part", "exporter audit calls --since last-month --repair"),
        ),
        statuses={
            0: "all that was compared is the same; a repair may have made it so",
            1: "the API or DEST failed, or a 404 proves nothing",
            2: f"{_NO_EXPORT}; or the list is empty, and all would be deleted",
            3: "something differs, and was not repaired; or a time is unproven",
            4: _REFUSED,
            5: _LOCKED,
            130: _INTERRUPTED,
        },
    ),
    "reread": About(
        section=Section.UPKEEP,
        topic="reread",
        examples=(
            ("Read last week again, and replace it", "exporter reread calls --since last-week --until this-week"),
            ("Read again what an earlier token was not shown", "exporter reread calls --withheld"),
        ),
        statuses=_RUN,
    ),
    "compact": About(
        section=Section.UPKEEP,
        topic="compact",
        examples=(
            ("Merge the small files that nightly runs leave", "exporter compact calls"),
            ("Into files of another size", "exporter compact calls --part-size 512MiB"),
        ),
        statuses=_DONE | {2: _NO_EXPORT, 5: _LOCKED, 130: _INTERRUPTED},
    ),
    "vacuum": About(
        section=Section.UPKEEP,
        topic="vacuum",
        examples=(
            ("See what would be deleted", "exporter vacuum calls --dry-run"),
            ("Delete all that was replaced two days ago or earlier", "exporter vacuum calls --older-than 2d"),
        ),
        statuses=_DONE | {2: _NO_EXPORT, 5: _LOCKED, 130: _INTERRUPTED},
    ),
    "schema": About(
        section=Section.MORE,
        topic="columns",
        examples=(
            ("The columns of an export", "exporter schema calls"),
            (
                "Those that an export of three fields would have, in SQL",
                "exporter schema --fields id,duration,summary --format sql",
            ),
        ),
        statuses=_DONE | {2: _NO_EXPORT},
    ),
    "sandbox": About(
        section=Section.MORE,
        topic="sandbox",
        examples=(
            ("Serve 3,000 made-up conversations", "exporter sandbox --rows 3000"),
            (
                "Serve small pages, and let every tenth request fail",
                "exporter sandbox --behaviour page_cap=100 --behaviour fault_rate=0.1",
            ),
        ),
        statuses={0: "ended by Ctrl-C", 1: _DONE[1], 2: _DONE[2]},
        table=("Switches, each given as --behaviour NAME=VALUE", "switch"),
    ),
    "help": About(
        section=Section.MORE,
        topic="index",
        examples=(
            ("Show a topic, or a command's options and its page", "exporter help sync"),
            ("Save the whole manual", "exporter help --all > manual.md"),
        ),
        statuses={0: "shown", 2: "there is no such topic"},
    ),
    "version": About(
        section=Section.MORE,
        topic="index",
        examples=(
            ("Print the version", "exporter version"),
            ("The same", "exporter -V"),
        ),
        statuses={0: "printed"},
    ),
}
