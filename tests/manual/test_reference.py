"""Lists in the manual agree with the code: columns, keys, names, variables, switches, rooms, figures."""

import json
import re
import sys
from itertools import chain
from pathlib import Path
from typing import get_args, get_origin

import msgspec

import exporter
from benchmarks.__main__ import PARTS
from benchmarks.results import load as load_results
from benchmarks.targets import table as targets_table
from exporter.contract import BASE_URL_VARIABLE, DEFAULT_BASE_URL, ORGANIZATION_VARIABLE, TOKEN_VARIABLE
from exporter.encode.schema import arrow_schema
from exporter.keys import DATA_VARIABLE, NEW_DATA_VARIABLE, PRIVACY_VARIABLE
from exporter.layout import RUNS
from exporter.options.config_place import CONFIG_VARIABLE
from exporter.pipeline.free_space import RESERVED_BYTES
from exporter.run.record import Command
from exporter.sandbox import (
    FAULTS,
    MEDIA_FAULTS,
    ORGANIZATION,
    Behaviour,
    MediaBehaviour,
    Row,
    behaviour_from_options,
    gate,
    media_from_options,
)
from exporter.words import format_size
from tests.manual.conftest import JANUARY
from tests.manual.test_commands import keys_of
from tests.toolkit.manual import PAGES, README, ROOT, in_code, run_shell, serving


def test_the_names_of_the_library() -> None:
    described = {
        name.partition("(")[0].removeprefix("await ")
        for names, _ in PAGES["python"].table_headed("name")
        for name in in_code(names)
    }
    returned = {"Summary", "Status", "Stream", "StreamReport", "ChangeFeed", "Report"}
    results = (
        "Sync",
        "Recordings",
        "Reread",
        "Audit",
        "Reconcile",
        "Check",
        "Plan",
        "Accept",
        "Verify",
        "Compact",
        "Rekey",
        "Vacuum",
        "Expire",
        "Protect",
        "Erase",
        "Convert",
    )
    returned |= {f"{result}Result" for result in results}
    assert described | returned | {"__version__"} == set(exporter.__all__)


def test_columns() -> None:
    described = [(in_code(name)[0], in_code(kind)[0]) for name, kind in PAGES["columns"].table_headed("column")]
    assert described == [(field.name, str(field.type)) for field in arrow_schema(None)]


def check_manifest_keys(export: Path) -> None:
    manifest = json.loads((export / "_manifest.json").read_bytes())
    described = {in_code(key)[0]: in_code(text) for key, text in PAGES["manifest"].table_headed("key")}
    # These are there once there are recordings, or something is done about personal data.
    some = ("media", "recordings", "protection", "erasures", "retention", "expired_before")
    assert [key for key in described if key in manifest or key not in some] == list(manifest)
    for key, value in manifest.items():
        assert set(keys_of(value)) - {"created_date"} <= set(described[key]), key


def test_manifest_keys(demo: Path) -> None:
    check_manifest_keys(demo / "demo-export")


def test_quarantine(tmp_path: Path) -> None:
    rows = [Row(JANUARY, raw=f'{{"id":"{n}","created_at":"2026-01-01T00:00:00Z","duration":{n}.5}}') for n in range(2)]
    with serving(rows) as url:
        done = run_shell("exporter export odd", tmp_path, ANYREACH_TOKEN=gate.TOKEN, ANYREACH_BASE_URL=url)
    assert done.returncode == 3, done.stderr
    assert not (tmp_path / "odd/_SUCCESS").exists()
    check_manifest_keys(tmp_path / "odd")
    (file,) = json.loads((tmp_path / "odd/_manifest.json").read_bytes())["quarantine"]["files"]
    line = (tmp_path / "odd" / file["path"]).read_text(encoding="utf-8").splitlines()[0]
    assert set(json.loads(line)) <= set(in_code(PAGES["exit-statuses"].section("Status 3 of an export or a sync")))


def test_the_list_of_runs(demo: Path) -> None:
    (line,) = (demo / "demo-export" / RUNS).read_text(encoding="utf-8").splitlines()
    page = PAGES["schedule"]
    described = list(chain(*(in_code(names) for names, _ in page.table_headed("field"))))
    assert sorted(described) == sorted(json.loads(line))
    section = page.section("What the runs did")
    assert f"`{RUNS}`" in section
    assert {f"`{name}`" for name in get_args(Command)} <= set(re.findall(r"`\w+`", section))


def test_variables() -> None:
    assert [in_code(name) for name, _ in PAGES["options"].table_headed("variable")] == [
        [TOKEN_VARIABLE],
        [ORGANIZATION_VARIABLE],
        [BASE_URL_VARIABLE],
        [PRIVACY_VARIABLE],
        [DATA_VARIABLE],
        [NEW_DATA_VARIABLE],
        [CONFIG_VARIABLE],
        ["HTTPS_PROXY", "https_proxy"],
        ["http_proxy"],
        ["NO_PROXY", "no_proxy"],
        ["SSL_CERT_FILE", "SSL_CERT_DIR"],
    ]
    assert DEFAULT_BASE_URL in PAGES["options"].text


def test_switches() -> None:
    table = PAGES["sandbox"].table_headed("switch")
    rows = {in_code(name)[0]: (in_code(text), in_code(default)) for name, text, default in table}
    plain = {in_code(name)[0]: default.strip("`") for name, _, default in table}
    fields = {field.name: field for field in msgspec.structs.fields(Behaviour)}
    assert list(rows) == list(fields)
    for name, field in fields.items():
        if plain[name]:
            assert behaviour_from_options([f"{name}={plain[name]}"]) == Behaviour(), name
        else:
            assert field.default in (None, ()), name
        if get_origin(field.type) is not None and all(isinstance(value, str) for value in get_args(field.type)):
            assert set(get_args(field.type)) <= set(rows[name][0]), name
    assert rows["faults"][0] == list(FAULTS)


def test_media_switches() -> None:
    table = PAGES["sandbox"].table_headed("media switch")
    rows = {in_code(name)[0]: (in_code(text), plain.strip("` ")) for name, text, plain in table}
    fields = {field.name: field for field in msgspec.structs.fields(MediaBehaviour) if field.name != "faults"}
    assert list(rows) == list(fields)
    for name, field in fields.items():
        texts, plain = rows[name]
        if plain:
            assert media_from_options([f"{name}={plain}"]) == MediaBehaviour(), name
        else:
            assert field.default is None, name
        if get_origin(field.type) is not None and all(isinstance(value, str) for value in get_args(field.type)):
            assert set(get_args(field.type)) <= set(texts), name
    faults = [in_code(name)[0] for name, _ in PAGES["sandbox"].table_headed("fault")]
    assert sorted(faults) == sorted(MEDIA_FAULTS)


def test_tokens_of_the_sandbox() -> None:
    section = PAGES["sandbox"].section("Tokens")
    tokens = {text for text in in_code(section) if re.match("ak_|pat_", text)}
    assert tokens == {*gate.FIRST_TOKENS, gate.rotated(gate.TOKEN, Behaviour(rotates_after=0), 1)}
    assert f"`{ORGANIZATION}`" in section


def entries_of_the_package() -> set[str]:
    actual = {f"{entry.name}/" if entry.is_dir() else entry.name for entry in (ROOT / "exporter").iterdir()}
    return {name for name in actual if not name.startswith("_") and name != "py.typed"}


def test_layout() -> None:
    (layout,) = re.findall(r"^```\n(exporter/\n.*?)^```$", PAGES["contributing"].text, re.DOTALL | re.MULTILINE)
    described = set(re.findall(r"(\w+/|\w+\.py)(?= )", layout.split("tests/")[0]))
    assert entries_of_the_package() == described


def test_the_rooms_in_the_readme() -> None:
    named = list(chain(*(in_code(rooms) for rooms, _ in README.table_headed("room"))))
    assert sorted(named) == sorted(name for name in entries_of_the_package() if name.endswith("/"))


def test_the_files_that_contributors_are_sent_to() -> None:
    named = {name for name in in_code(PAGES["contributing"].prose) if name.endswith(".py")}
    assert {"options/spec.py", "log/commits.py", "encode/tables.py"} <= named
    assert [name for name in named if not any((root / name).is_file() for root in (ROOT, ROOT / "exporter"))] == []


def test_the_long_runs() -> None:
    page = PAGES["contributing"]
    commands = [page.command_holding(name) for name in ("WALK_EXAMPLES=", "WORLDS=", "SEQUENCES=")]
    for command in "".join(commands).splitlines():
        *variables, _, _ = re.split(r"(?<=\d) (?=[.E])| \.venv", command)
        for variable in variables:
            name = variable.partition("=")[0]
            assert f'"{name}"' in (ROOT / command.split()[-1]).read_text(encoding="utf-8"), name


def test_the_unknowns_keep_their_numbers() -> None:
    """The code cites these numbers, and the headings beside them."""
    page = PAGES["source"]
    numbers = re.findall(r"^(\d+)\. ", page.section("What is unknown, and what can go wrong"), re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 16)]
    cited = set()
    for path in chain(*((ROOT / room).rglob("*.py") for room in ("exporter", "tests"))):
        cited |= set(re.findall(r"\(source\.md, (\d+|[A-Z]\w+)", path.read_text(encoding="utf-8")))
    assert cited - set(numbers) <= {"Request", "Response"}
    assert {"request", "response", "the-transcript"} <= page.anchors


def test_speed_and_cost() -> None:
    """The table, the machine and the picture are those of the last recorded measurement."""
    page = PAGES["speed"]
    results = load_results(ROOT / "benchmarks/results/results.json", "full")
    assert set(results.sessions) == set(PARTS)
    assert {*targets_table(results)} <= {*page.text.splitlines()}
    machines = {session.machine for session in results.sessions.values()}
    assert all(f"Measured on {machine}." in " ".join(page.text.split()) for machine in machines)
    (picture,) = re.findall(r"^!\[.*\]\((benchmarks/.*)\)$", README.text, re.MULTILINE)
    assert (ROOT / picture).read_text(encoding="utf-8").startswith("<svg")
    (parts,) = re.findall(r"^`--only` takes some of the parts: (.*?)\.", page.text, re.DOTALL | re.MULTILINE)
    assert set(in_code(parts)) == set(PARTS)


def test_the_benchmarks_command() -> None:
    _, _, command = PAGES["speed"].command_holding("-m benchmarks").rpartition("&& ")
    done = run_shell(command.replace(".venv-bench/bin/python", sys.executable).strip() + " --help", ROOT)
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout


def test_what_of_the_disk_is_kept_free() -> None:
    kept = format_size(RESERVED_BYTES).replace(".0 ", " ")
    assert f"\n- {kept} of the disk are kept free:" in PAGES["resume"].text
