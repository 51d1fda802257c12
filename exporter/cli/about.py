"""Says about each command what its help shows besides options and exit statuses: examples, and a page of the manual."""

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

    `topic` is its page of the manual. `examples` are command lines, each after what it does. `tables` are titles, each
    with the head of a table of the page that help shows under this title.
    """

    section: Section
    topic: str
    examples: tuple[tuple[str, str], ...]
    tables: tuple[tuple[str, str], ...] = ()


ABOUT: Final[dict[str, About]] = {
    "demo": About(
        section=Section.START,
        topic="start",
        examples=(
            ("Make up 2,000 conversations, and export them to demo-export", "exporter demo"),
            ("More of them, to another directory", "exporter demo tried --rows 20000 --days 90"),
        ),
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
    ),
    "recordings": About(
        section=Section.EXPORT,
        topic="recordings",
        examples=(
            ("Keep every recording that is not kept yet", "exporter recordings calls"),
            (
                "First those that the source deletes first, after two weeks",
                "exporter recordings calls --oldest-first --recording-retention 14d",
            ),
        ),
    ),
    "recordings cat": About(
        section=Section.EXPORT,
        topic="recordings",
        examples=(
            ("Save the audio of a conversation", "exporter recordings cat calls ID > call.mp3"),
            ("Hear it", "exporter recordings cat calls ID | ffplay -autoexit -"),
        ),
    ),
    "changes": About(
        section=Section.EXPORT,
        topic="changes",
        examples=(
            ("All rows, as a first load", "exporter changes calls --from-generation 0 --output all.parquet"),
            (
                "What has changed since then, with the figures as JSON",
                "exporter changes calls --from-generation 17 --output new.parquet --json",
            ),
            ("Look at changes", "exporter changes calls --from-generation 17 | head"),
        ),
    ),
    "run": About(
        section=Section.EXPORT,
        topic="run",
        examples=(
            ("Each night: bring all exports of the config file up to date", "exporter run --all"),
            (
                "Two of them, with 5 requests a second at most, and the result as JSON",
                "exporter run acme globex --max-rps 5 --json",
            ),
        ),
    ),
    "check": About(
        section=Section.EXPORT,
        topic="check",
        examples=(
            ("See whether a first export would have all that it needs", "exporter check calls"),
            (
                "The same in a bucket, with the options of the export, for a program",
                "exporter check s3://bucket/calls --policy policy.toml --json",
            ),
        ),
    ),
    "plan": About(
        section=Section.EXPORT,
        topic="plan",
        examples=(
            ("What an export of everything would take", "exporter plan calls"),
            ("At 5 requests a second, with recordings", "exporter plan calls --since 2026-01 --max-rps 5 --recordings"),
        ),
    ),
    "status": About(
        section=Section.EXPORT,
        topic="resume",
        examples=(
            ("What is there, what is missing, and who is at work", "exporter status calls"),
            ("Fail if it is incomplete, in doubt or older than a day", "exporter status calls --max-age 26h"),
        ),
    ),
    "verify": About(
        section=Section.CHECK,
        topic="verify",
        examples=(
            ("Check every file, without a network", "exporter verify calls"),
            ("Take out what is damaged; the next export reads it again", "exporter verify calls --repair"),
        ),
    ),
    "audit": About(
        section=Section.CHECK,
        topic="audit",
        examples=(
            ("Compare a tenth of the export with the API", "exporter audit calls --sample 10%"),
            ("Fetch what differs in last month's part", "exporter audit calls --since last-month --repair"),
        ),
    ),
    "reconcile": About(
        section=Section.CHECK,
        topic="reconcile",
        examples=(
            ("Compare all days with what the platform counts and bills", "exporter reconcile calls"),
            (
                "Last month, day by day",
                "exporter reconcile calls --since last-month --until this-month --all-days",
            ),
        ),
    ),
    "accept": About(
        section=Section.CHECK,
        topic="accept",
        examples=(
            ("See what is in doubt", "exporter accept calls --dry-run"),
            (
                "Accept it, so that exit status 3 means a new doubt",
                "exporter accept calls --note 'seen with the vendor'",
            ),
        ),
    ),
    "reread": About(
        section=Section.UPKEEP,
        topic="reread",
        examples=(
            ("Read last week again, and replace it", "exporter reread calls --since last-week --until this-week"),
            ("Read again what an earlier token was not shown", "exporter reread calls --withheld"),
        ),
    ),
    "erase": About(
        section=Section.UPKEEP,
        topic="erase",
        examples=(
            (
                "One person, whose value is read from a file, for a request",
                "exporter erase calls --by user_id --values-from FILE --reference DSR-14",
            ),
            ("Only say what would be erased", "exporter erase calls --by user_id --values-from FILE --dry-run"),
            ("Go on with an erasure that was cut short", "exporter erase calls"),
        ),
    ),
    "compact": About(
        section=Section.UPKEEP,
        topic="compact",
        examples=(
            ("Merge the small files that nightly runs leave", "exporter compact calls"),
            ("Into files of another size", "exporter compact calls --part-size 512MiB"),
        ),
    ),
    "protect": About(
        section=Section.UPKEEP,
        topic="privacy",
        examples=(
            ("Protect what is stored, and all that comes", "exporter protect calls --policy policy.toml"),
            ("Finish what was cut short", "exporter protect calls"),
        ),
    ),
    "rekey": About(
        section=Section.UPKEEP,
        topic="encryption",
        examples=(
            ("Encrypt all files with another key", "exporter rekey calls --to d2 --new-key-file new.key"),
            (
                "The same, with the key in use in a file as well",
                "exporter rekey calls --to d2 --data-key-file data.key --new-key-file new.key",
            ),
        ),
    ),
    "vacuum": About(
        section=Section.UPKEEP,
        topic="vacuum",
        examples=(
            ("See what would be deleted", "exporter vacuum calls --dry-run"),
            ("Delete all that was replaced two days ago or earlier", "exporter vacuum calls --older-than 2d"),
        ),
    ),
    "policy": About(
        section=Section.MORE,
        topic="policy",
        examples=(
            ("Check a policy, and show what each rule means", "exporter policy check policy.toml"),
            (
                "Also count what it would do to conversations, without showing any",
                "exporter policy check policy.toml --rows conversations.jsonl",
            ),
        ),
    ),
    "keygen": About(
        section=Section.MORE,
        topic="keys",
        examples=(
            ("Make a key, in a new file", "exporter keygen privacy.key"),
            ("Make one for a store of secrets, on stdout", "exporter keygen"),
        ),
    ),
    "expire": About(
        section=Section.UPKEEP,
        topic="expire",
        examples=(
            (
                "Keep conversations for three years, and their transcripts for 90 days",
                "exporter expire calls conversations=3y,conversation=90d",
            ),
            ("See what would be deleted", "exporter expire calls --dry-run"),
            ("Delete nothing from now on", "exporter expire calls never"),
        ),
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
    ),
    "convert": About(
        section=Section.MORE,
        topic="convert",
        examples=(
            ("The conversations, as CSV for a spreadsheet or a program", "exporter convert calls --output calls.csv"),
            (
                "A file for each day, as JSON Lines",
                "exporter convert calls --format jsonl --by-partition --output days",
            ),
        ),
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
            (
                "Let links of recordings live a minute, and cut off every tenth download",
                "exporter sandbox --media lifetime_seconds=60 --media cut=0.1",
            ),
        ),
        tables=(
            ("Switches, each given as --behaviour NAME=VALUE", "switch"),
            ("Switches of the recordings, each given as --media NAME=VALUE", "media switch"),
            ("Shares of recordings that meet a fault, each given as --media NAME=SHARE", "fault"),
        ),
    ),
    "help": About(
        section=Section.MORE,
        topic="index",
        examples=(
            ("Show a topic, or a command's options and its page", "exporter help sync"),
            ("Save the whole manual", "exporter help --all > manual.md"),
        ),
    ),
    "version": About(
        section=Section.MORE,
        topic="index",
        examples=(
            ("Print the version", "exporter version"),
            ("The same", "exporter -V"),
        ),
    ),
}
