"""Says about each command what its help shows besides options and exit statuses: examples, and a page of the manual."""

from typing import Final

from exporter.cli.about_kind import About, Section
from exporter.cli.about_upkeep import ABOUT_UPKEEP

ABOUT: Final[dict[str, About]] = {
    "demo": About(
        line="Export made-up conversations from a server in this process: no token, no network.",
        section=Section.START,
        topic="start",
        examples=(
            ("Make up 2,000 conversations, and export them to demo-export", "exporter demo"),
            ("More of them, to another directory", "exporter demo tried --rows 20000 --days 90"),
        ),
    ),
    "export": About(
        line="Export conversations to DEST. The same command again resumes, or changes nothing.",
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
        line="Bring DEST up to the present: read what is new, and what has changed since it was read.",
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
        line="Keep the recordings of DEST's conversations: fetch those that it does not have yet.",
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
        line="Write the audio of one conversation to stdout, decrypted if it is encrypted.",
        section=Section.EXPORT,
        topic="recordings",
        examples=(
            ("Save the audio of a conversation", "exporter recordings cat calls ID > call.mp3"),
            ("Hear it", "exporter recordings cat calls ID | ffplay -autoexit -"),
        ),
    ),
    "changes": About(
        line="Give what has changed at DEST since a generation: rows to insert, to update and to delete.",
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
        line="Bring many exports up to date, each as a process of its own that no other can harm.",
        section=Section.EXPORT,
        topic="run",
        examples=(
            ("Each night: bring all exports of the config file up to date", "exporter run --all"),
            (
                "Two of them, with 5 requests a second at most, and the result as JSON",
                "exporter run acme globex --max-rps 5 --json",
            ),
            ("All of them, their reading divided among 8 processes", "exporter run --all --engine processes:8"),
        ),
    ),
    "report": About(
        line="Draw DEST as one page for a browser: whether it is complete, and what its conversations show.",
        section=Section.CHECK,
        topic="report",
        examples=(
            ("The whole export, to report.html", "exporter report calls"),
            ("Last month, by agent", "exporter report calls --since last-month --until this-month --by agent_id"),
        ),
    ),
    "check": About(
        line="Say whether a run at DEST would have all that it needs: token, API, rights, room, keys. Leaves "
        "nothing behind.",
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
        line="Say what a run at DEST would read and write, and how long it would take. Writes nothing.",
        section=Section.EXPORT,
        topic="plan",
        examples=(
            ("What an export of everything would take", "exporter plan calls"),
            ("At 5 requests a second, with recordings", "exporter plan calls --since 2026-01 --max-rps 5 --recordings"),
        ),
    ),
    "status": About(
        line="Say what DEST holds, what is missing, and which run is at work there. Changes nothing, and "
        "needs no token.",
        section=Section.EXPORT,
        topic="resume",
        examples=(
            ("What is there, what is missing, and who is at work", "exporter status calls"),
            ("Fail if it is incomplete, in doubt or older than a day", "exporter status calls --max-age 26h"),
        ),
    ),
    "verify": About(
        line="Check every file at DEST against the log and the manifest. Needs no token and no network.",
        section=Section.CHECK,
        topic="verify",
        examples=(
            ("Check every file, without a network", "exporter verify calls"),
            ("Take out what is damaged; the next export reads it again", "exporter verify calls --repair"),
        ),
    ),
    "audit": About(
        line="Compare DEST with the API: the ids and times of change of every conversation that DEST has read.",
        section=Section.CHECK,
        topic="audit",
        examples=(
            ("Compare a tenth of the export with the API", "exporter audit calls --sample 10%"),
            ("Fetch what differs in last month's part", "exporter audit calls --since last-month --repair"),
        ),
    ),
    "reconcile": About(
        line="Compare DEST with the platform's own totals, which it bills by: conversations and minutes, day by day.",
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
    **ABOUT_UPKEEP,
}
