"""The tables of options agree with the help of each command."""

import re
from itertools import chain

import pytest

from exporter.cli.runner import SUMMARY_KEYS
from exporter.jobs.protection_result import Protection
from exporter.sandbox import DENSITIES
from tests.toolkit.manual import PAGES, defaults_in, help_of, in_code, names_in

OPTIONS = PAGES["options"]
#: The options of an export, by which the manual describes those of other commands.
OF_AN_EXPORT = [names_in(option) for option, *_ in OPTIONS.table_headed("option", "export")]
OF_RECORDINGS = set(OF_AN_EXPORT[OF_AN_EXPORT.index(names_in("--recordings")) : OF_AN_EXPORT.index(names_in("--json"))])
#: What is said once of an export, and is no option of the commands that work on it later.
OF_EXPORTS_ALONE = {names_in("--policy"), names_in("--expire")}
FROM_CONCURRENCY_ON = set(OF_AN_EXPORT[OF_AN_EXPORT.index(names_in("--concurrency")) :])


CONFIG = names_in("--config")


def defaults_of(command: str) -> dict[frozenset[str], str]:
    """Returns the options of a command, except the one that is said once of all that have a destination."""
    return {names: default for names, default in defaults_in(help_of(command)).items() if names != CONFIG}


def help_names(command: str) -> set[frozenset[str]]:
    return set(defaults_of(command))


def beside(command: str) -> set[frozenset[str]]:
    """Returns the options that a command has besides those of an export."""
    return {names_in(in_code(option)[0]) for option, *_ in OPTIONS.table_headed("option", command)}


@pytest.mark.parametrize(
    "command",
    [
        *(
            "export",
            "demo",
            "run",
            "status",
            "verify",
            "reconcile",
            "accept",
            "changes",
            "erase",
            "compact",
            "rekey",
            "vacuum",
            "expire",
            "policy",
        ),
        *("schema", "convert", "report", "sql", "sandbox"),
    ],
)
def test_options(command: str) -> None:
    page, section = (PAGES["sandbox"], "Options") if command == "sandbox" else (OPTIONS, command)
    rows = page.table_headed("option", section)
    described = {names_in(option.partition("/")[0]): default.replace("`", "") for option, _, default in rows}
    actual = defaults_of(command)
    assert described.keys() == actual.keys()
    assert {names: described[names] for names, default in actual.items() if default} == {
        names: default for names, default in actual.items() if default
    }


def test_options_of_a_sync() -> None:
    (taken_away,) = re.findall(r"takes the same, except (.*?), and:", OPTIONS.section("sync"), re.DOTALL)
    names = {names_in(name) for name in in_code(taken_away)}
    assert len(names) == 2
    assert help_names("sync") == help_names("export") - names | beside("sync")


@pytest.mark.parametrize("command", ["audit", "reread"])
def test_options_of_commands_that_read_again(command: str) -> None:
    said, without = " ".join(OPTIONS.section(command).split()), {*OF_RECORDINGS, *OF_EXPORTS_ALONE}
    taken = (
        "takes [`--lag`](#the-lag), all from `--concurrency` on except `--policy`, `--expire` and those of recordings,"
    )
    assert taken in said
    assert help_names(command) == {names_in("--lag"), *FROM_CONCURRENCY_ON} - without | beside(command)


def test_options_of_recordings() -> None:
    said = " ".join(OPTIONS.section("recordings").split())
    assert "except `--part-size`, `--policy`, `--expire` and `--recordings`" in said
    without = {names_in("--part-size"), *OF_EXPORTS_ALONE, names_in("--recordings")}
    assert help_names("recordings") == {names_in("--lag"), *FROM_CONCURRENCY_ON} - without | beside("recordings")


def test_options_of_the_other_commands() -> None:
    named = {names for names in map(names_in, in_code(OPTIONS.section("Other commands"))) if names}
    assert named == {frozenset({"--version"})}
    completion = {frozenset({"--install-completion"}), frozenset({"--show-completion"})}
    assert completion <= set(map(names_in, in_code(OPTIONS.section("Help and completion"))))
    assert defaults_in(help_of("")).keys() - completion == {frozenset({"--version"}), frozenset({"--help", "-h"})}


def test_the_option_of_all_commands_with_a_destination() -> None:
    said = " ".join(OPTIONS.section("The config file").split())
    assert "Every command that takes DEST, except `exporter demo`, also takes" in said
    rows = OPTIONS.table_headed("option", "The config file")
    assert [names_in(option) for option, *_ in rows] == [CONFIG]
    assert CONFIG in defaults_in(help_of("vacuum"))
    assert CONFIG not in defaults_in(help_of("demo"))


def test_choices_and_the_summary() -> None:
    tables = chain(OPTIONS.tables_headed("option"), PAGES["sandbox"].tables_headed("option"))
    rows = {in_code(option)[0].split()[0]: in_code(text) for option, text, *_ in chain(*tables)}
    options = help_of("export")
    for option in ("--direction", "--channel", "--status"):
        (text,) = [text for head, text in options.items() if head.split()[0] == option]
        assert ", ".join(rows[option]) in text
    assert rows["--partition-by"] == ["day", "hour", "week", "month", "none"]
    assert rows["--density"] == list(DENSITIES)
    (line,) = [text for option, text, *_ in OPTIONS.table_headed("option", "export") if option.startswith("`--json`")]
    protection = ("protection", *Protection.__struct_fields__)
    assert tuple(in_code(line)) == (*SUMMARY_KEYS, "recordings", *protection)
