"""Says about commands that keep an export in order, and about those beside exports, what their help shows."""

from typing import Final

from exporter.cli.about_kind import About, Section

ABOUT_UPKEEP: Final[dict[str, About]] = {
    "accept": About(
        line="Accept what DEST has in doubt, so that only a new doubt ends with status 3. Needs no token and "
        "no network.",
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
        line="Read DEST again, or a range of it, and replace what it holds by what comes.",
        section=Section.UPKEEP,
        topic="reread",
        examples=(
            ("Read last week again, and replace it", "exporter reread calls --since last-week --until this-week"),
            ("Read again what an earlier token was not shown", "exporter reread calls --withheld"),
        ),
    ),
    "erase": About(
        line="Erase somebody from DEST for good, and prove that nothing is left. Needs the privacy key, but no token.",
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
        line="Merge small files at DEST, and change nothing else. Needs no token and no network.",
        section=Section.UPKEEP,
        topic="compact",
        examples=(
            ("Merge the small files that nightly runs leave", "exporter compact calls"),
            ("Into files of another size", "exporter compact calls --part-size 512MiB"),
        ),
    ),
    "protect": About(
        line="Bring what DEST holds under a policy, or under a stricter one. Needs no token and no network.",
        section=Section.UPKEEP,
        topic="privacy",
        examples=(
            ("Protect what is stored, and all that comes", "exporter protect calls --policy policy.toml"),
            ("Finish what was cut short", "exporter protect calls"),
        ),
    ),
    "rekey": About(
        line="Encrypt all files of DEST with another key; or, if they are not encrypted yet, with a first one.",
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
        line="Delete replaced files at DEST, and the versions of its tables that need them. Needs no token "
        "and no network.",
        section=Section.UPKEEP,
        topic="vacuum",
        examples=(
            ("See what would be deleted", "exporter vacuum calls --dry-run"),
            ("Delete all that was replaced two days ago or earlier", "exporter vacuum calls --older-than 2d"),
        ),
    ),
    "policy": About(
        line="Check a policy file, and show what each rule means. Needs no token, no network and no key.",
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
        line="Make a key: 32 random bytes in base64, to a new FILE that only its owner can read, or to stdout.",
        section=Section.MORE,
        topic="keys",
        examples=(
            ("Make a key, in a new file", "exporter keygen privacy.key"),
            ("Make one for a store of secrets, on stdout", "exporter keygen"),
        ),
    ),
    "expire": About(
        line="Delete what is older than DEST keeps it. Needs no token and no network.",
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
        line="Show the columns of a table: those at DEST, or those that `export` would write with these options.",
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
    "sql": About(
        line="Ask DEST in SQL: its tables are conversations, turns and recordings. Changes nothing, and needs "
        "no token.",
        section=Section.MORE,
        topic="sql",
        examples=(
            (
                "Conversations by channel",
                "exporter sql calls 'SELECT channel, count(*) FROM conversations GROUP BY ALL'",
            ),
            ("Ask one query after another", "exporter sql calls"),
            ("The columns of a table, as JSON", "exporter sql calls 'DESCRIBE turns' --format json"),
            ("To a Parquet file", "exporter sql calls 'FROM turns WHERE interrupted' -o turns.parquet"),
        ),
    ),
    "convert": About(
        line="Write a table of DEST as CSV or JSON Lines, for readers that know no Parquet. Needs no token "
        "and no network.",
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
    "view": About(
        line="Show the conversations at DEST in a browser on this machine until Ctrl-C: find, read and hear them.",
        section=Section.MORE,
        topic="view",
        examples=(
            ("Look at an export in the browser", "exporter view calls"),
            ("On a machine without a browser: print the address", "exporter view calls --no-browser --port 8123"),
        ),
    ),
    "sandbox": About(
        line="Serve made-up conversations on loopback until Ctrl-C, to try exports against.",
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
        line="Show a topic of the manual, or the options of a command and its page; without TOPIC, list the topics.",
        section=Section.MORE,
        topic="index",
        examples=(
            ("Show a topic, or a command's options and its page", "exporter help sync"),
            ("Save the whole manual", "exporter help --all > manual.md"),
        ),
    ),
    "version": About(
        line="Print the version.",
        section=Section.MORE,
        topic="index",
        examples=(
            ("Print the version", "exporter version"),
            ("The same", "exporter -V"),
        ),
    ),
}
