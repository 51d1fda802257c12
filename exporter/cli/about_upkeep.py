"""Says about commands that keep an export in order, and about those beside exports, what their help shows."""

from typing import Final

from exporter.cli.about_kind import About, Section

ABOUT_UPKEEP: Final[dict[str, About]] = {
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
