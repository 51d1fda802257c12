"""The pages on policies and keys agree with the code, and their example is a policy."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pyarrow as pa
import pytest

from exporter.cli import main
from exporter.encode.protect.patterns import BUILT_IN
from exporter.encode.protect.protector import Protector
from exporter.encode.schema import arrow_schema
from exporter.keys import DATA_VARIABLE, KEY_BYTES, PRIVACY_VARIABLE, Key
from exporter.options.policy import PERSONAL, load_policy
from exporter.options.policy_rules import UNTOUCHABLE
from exporter.privacy import Action
from tests.manual.test_commands import keys_of
from tests.toolkit.dated import undated
from tests.toolkit.manual import PAGES, in_code
from tests.toolkit.policies import EVERYTHING

PAGE = PAGES["policy"]
EXAMPLE, SHAPES, ENTITIES = (text for language, text in PAGE.snippets if language == "toml")


def names(texts: Iterable[str]) -> list[str]:
    return [in_code(text)[0] for text in texts]


@pytest.fixture(name="policy")
def policy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("policy.toml")
    path.write_text(EXAMPLE)
    return path


def test_the_example_is_a_policy(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(policy)]) == 0
    assert "warning" not in capsys.readouterr().out
    loaded = load_policy(policy)
    assert {rule.action for rule in loaded.policy.rules.values()} == set(get_args(Action)) - {"keep"}
    assert loaded.encryption is not None
    Protector(loaded.policy, Key("k1", bytes(KEY_BYTES)))


def test_the_example_of_a_refusal(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (refusal,) = (text for language, text in PAGE.snippets if language == "text")
    policy.write_text(EXAMPLE.replace("user_id  ", "user"))
    assert main(["policy", "check", str(policy)]) == 2
    assert undated(capsys.readouterr().err) == f"exporter: {refusal}"


def test_the_example_of_entities_goes_with_the_other(policy: Path) -> None:
    policy.write_text(f"{EXAMPLE}\n{ENTITIES}")
    loaded = load_policy(policy).policy
    assert loaded.entities is not None
    assert loaded.entities.model in PAGE.section("The other tables")
    assert loaded.rules["conversation.items[*].content"].patterns[-1] == "entities"


def test_values_of_several_shapes(tmp_path: Path) -> None:
    path, head = tmp_path / "shapes.toml", 'version = 1\nkey = { env = "K", name = "k1" }\n'
    path.write_text(head + SHAPES)
    both = load_policy(path).policy
    alone = msgspec.structs.replace(both, rules={"initial_context.phone": both.rules["initial_context.phone"]})
    rows = PAGE.table_headed("`initial_context` as served")
    assert len(rows) == 6
    for cells in rows:
        served, *wanted = (in_code(cell)[0] if "`" in cell else cell for cell in cells)
        schema = arrow_schema(("id", "initial_context"))
        row = dict.fromkeys(schema.names) | {"id": "1", "initial_context": served}
        for policy, text in zip((alone, both), wanted, strict=True):
            batch = pa.RecordBatch.from_pylist([row], schema=schema)
            (found,) = Protector(policy, Key("k1", bytes(KEY_BYTES))).protect(batch)["initial_context"].to_pylist()
            assert found == {"null": None, "as it was": served}.get(text, text)


def test_actions() -> None:
    actions = [re.split("[ =]", name)[0].strip('"') for name in names(row[0] for row in PAGE.table_headed("action"))]
    assert sorted(actions) == sorted(get_args(Action))


def test_patterns_are_listed_in_the_order_of_all() -> None:
    described = [(in_code(name)[0], in_code(to)[0]) for name, to, *_ in PAGE.table_headed("pattern")]
    assert described == [(name, pattern.to) for name, pattern in BUILT_IN.items()]


@pytest.mark.parametrize("path", names(row[0] for row in PAGE.table_headed("path")))
def test_paths(path: str, policy: Path) -> None:
    policy.write_text(f'version = 1\n[defaults]\nquarantine = "keep"\n[conversations]\n{path} = "drop"\n')
    assert len(load_policy(policy).policy.rules) == 1


@pytest.mark.parametrize(("key", "values"), [row[:2] for row in PAGE.table_headed("key")])
def test_keys_of_the_other_tables_take_the_values_that_are_named(key: str, values: str, policy: Path) -> None:
    *table, name = in_code(key)[0].split(".")
    needed = {
        "entities": {"engine": '"presidio"', "language": '"en"', "model": '"m"', "types": '["PERSON"]'},
        "encryption": {"key": '{ env = "D", name = "d1" }'},
    }.get("".join(table), {})
    for value in in_code(values.replace("as `key`", '`{ env = "D", name = "d1" }`')):
        lines = {**needed, name: value}
        if name in ("mode", "plain_columns") and value != '"uniform"':
            lines = {**lines, "mode": '"columns"'} | ({} if name == "plain_columns" else {"plain_columns": "[]"})
        head = "version = 1\n" if name != "version" else ""
        head += "" if name == "key" and not table else 'key = { env = "K", name = "k1" }\n'
        head += "".join(f"[{each}]\n" for each in table)
        policy.write_text(head + "".join(f"{each} = {given}\n" for each, given in lines.items()))
        load_policy(policy)


def test_columns_that_take_no_rule_and_those_that_want_one() -> None:
    named = set(in_code(PAGE.section("Columns and paths")))
    assert {*UNTOUCHABLE, *PERSONAL} <= named


def test_the_keys_of_the_json(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Path("rows.jsonl")
    rows.write_text('{"id": "1", "created_at": "2026-01-01T00:00:00Z", "summary": "none"}')
    assert main(["policy", "check", str(policy), "--rows", str(rows), "--json"]) == 0
    figures: dict[str, Any] = json.loads(capsys.readouterr().out)
    described = set(in_code(" ".join(PAGE.section("Try it on rows").partition("The JSON of")[2].split())))
    of_fixed = {
        "rules": {},
        "turns": {},
        "patterns": {"": next(iter(figures["patterns"].values()))},
        "encryption": None,
    }
    trial = {**figures["trial"], "rules": {"": next(iter(figures["trial"]["rules"].values()))}}
    assert set(keys_of({**figures, **of_fixed, "trial": trial})) - {""} == described - {"--rows"}


def test_variables_of_keys() -> None:
    section = PAGES["keys"].text
    assert f"`{PRIVACY_VARIABLE}`" in section
    assert f"`{DATA_VARIABLE}`" in section


def test_a_policy_that_leaves_no_canary_is_sound(policy: Path) -> None:
    policy.write_text(EVERYTHING)
    Protector(load_policy(policy).policy, Key("k1", bytes(KEY_BYTES)))
