"""`exporter policy check`: what it shows of a policy, and what it counts, without a value of any row."""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.cli import main
from exporter.keys import KEY_BYTES, Key, with_check
from exporter.options.policy import load_policy
from exporter.sandbox import Behaviour, make_conversations
from exporter.sandbox.render import View, render
from tests.toolkit.dated import undated
from tests.toolkit.stand_in import MODEL, installed

POLICY = """\
version = 1
key = { env = "POLICY_TEST_KEY", name = "k1" }
[conversations]
user_id = { hash = "person" }
agent_number = { mask = "phone", keep = 2 }
duration = { round = 60 }
summary = { redact = ["email", "member"] }
"custom_metadata.emial" = "drop"
"conversation.items[*].content" = { redact = "all" }
[patterns.member]
regex = 'M-\\d+'
to = "[MEMBER]"
"""
#: The pattern `all` of the transcript has them, and the summary by name.
FINDS = f'[entities]\nengine = "presidio"\nlanguage = "en"\nmodel = "{MODEL}"\ntypes = ["PERSON"]\n'
SECRET = base64.b64encode(bytes(range(KEY_BYTES))).decode()
CANARIES = ("canary@example.com", "M-12345", "+14155550123")


@pytest.fixture(name="policy")
def policy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("POLICY_TEST_KEY", raising=False)
    monkeypatch.delenv("EXPORTER_PRIVACY_KEY", raising=False)
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


def rows() -> list[dict[str, Any]]:
    made = make_conversations(20, 0, 10**12, seed=1)
    documents = [json.loads(render(row, View.of(Behaviour()))) for row in made]
    for document in documents:
        document["summary"] = "nothing here"
        document["custom_metadata"] = {"email": CANARIES[0]}
    documents[0]["summary"] = f"{CANARIES[0]} is {CANARIES[1]}"
    documents[1]["agent_number"] = CANARIES[2]
    documents[2]["duration"] = "no number"
    return documents


def test_a_policy_is_shown_rule_by_rule(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(policy)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert lines[0] == f"{policy}: 6 rules, 8 patterns, nothing wrong"
    assert "user_id hash in the domain person" in lines
    assert "agent_number mask all digits and letters except the last 2 digits" in lines
    assert "duration round to a multiple of 60" in lines
    assert r"member [MEMBER] M-\d+" in lines
    assert "phone [PHONE] built in, checked as phone" in lines
    assert "key k1, from the variable POLICY_TEST_KEY; not read: the key k1 is needed, and is not here" in lines
    fingerprint = load_policy(policy).policy.fingerprint
    assert f"fingerprint depends on the key; without it, {fingerprint}" in lines
    assert lines[-1] == (
        "warning: no rule for agent, initial_context, recording_details: written as served, with the personal data in "
        'them. A rule "keep" says that this is meant'
    )


def test_the_fingerprint_is_that_with_the_key_if_it_is_here(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLICY_TEST_KEY", SECRET)
    assert main(["policy", "check", str(policy), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    loaded = load_policy(policy).policy
    assert loaded.key is not None
    key = with_check(loaded.key, Key("k1", bytes(range(KEY_BYTES))))
    assert shown["fingerprint"] == msgspec.structs.replace(loaded, key=key).fingerprint
    assert shown["key"] == {"name": "k1", "is_here": True}
    assert SECRET not in json.dumps(shown)


def test_an_object_for_programs(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_text(POLICY + '[encryption]\nkey = { file = "/k", name = "d1" }\n')
    assert main(["policy", "check", str(policy), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["fingerprint"] is None
    assert shown["rules"]["summary"] == "redact:email,member"
    assert shown["patterns"]["member"] == {"regex": r"M-\d+", "to": "[MEMBER]", "check": "none"}
    assert shown["encryption"]["key"]["name"] == "d1"
    assert shown["without_rule"] == ["agent", "initial_context", "recording_details"]
    assert shown["trial"] is None


@pytest.mark.parametrize("form", ["array", "lines"])
def test_what_it_would_do_to_rows_is_counted_and_never_shown(
    form: str, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows"
    file.write_text(json.dumps(rows()) if form == "array" else "\n\n".join(map(json.dumps, rows())) + "\n")
    assert main(["policy", "check", str(policy), "--rows", str(file), "--json"]) == 0
    printed = capsys.readouterr()
    trial = json.loads(printed.out)["trial"]
    assert (trial["rows"], trial["quarantined"]) == (20, 1)
    assert trial["rules"]["summary"] == {"reached": 19, "changed": 1, "odd": 0}
    assert trial["rules"]["custom_metadata.emial"] == {"reached": 0, "changed": 0, "odd": 0}
    assert trial["rules"]["conversation.items[*].content"]["reached"] > 19
    assert main(["policy", "check", str(policy), "--rows", str(file)]) == 0
    words = capsys.readouterr()
    assert "warning: custom_metadata.emial: nothing lies there in these conversations; is it spelt right?" in words.out
    assert "20 conversations, 1 of which fit no column" in words.out
    told = printed.out + printed.err + words.out + words.err
    assert not [canary for canary in CANARIES if canary in told]


def test_a_check_says_what_finds_entities_and_looks_for_them(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.write_text(POLICY.replace('"member"]', '"member", "entities"]') + FINDS)
    file = tmp_path / "rows"
    spoken = [*rows(), rows()[3] | {"id": "another", "summary": "Ann Lee called"}]
    file.write_text(json.dumps(spoken))
    with installed(tmp_path / "packages"):
        assert main(["policy", "check", str(policy), "--rows", str(file)]) == 0
        shown = capsys.readouterr().out
        assert main(["policy", "check", str(policy), "--rows", str(file), "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)
    assert f"PERSON, by presidio with {MODEL} 1.0.0, presidio-analyzer 2.2.1, spacy 3.8.1" in shown
    assert "warning: no rule for" in shown
    assert shown.count("warning") == 2, "the other one is of a path"
    assert figures["entities"]["is_here"] is True
    assert figures["entities"]["version"].startswith(f"{MODEL} 1.0.0, ")
    assert figures["trial"]["rules"]["summary"]["changed"] == 2
    assert "Ann" not in shown


def test_a_check_never_fails_for_what_finds_entities(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLICY_TEST_KEY", SECRET)
    policy.write_text(POLICY.replace('"member"]', '"member", "entities"]') + FINDS)
    file = tmp_path / "rows"
    file.write_text(json.dumps(rows()))
    with installed(tmp_path / "packages", {}):
        for more, times in ([], 0), (["--rows", str(file)], 1):
            assert main(["policy", "check", str(policy), *more]) == 0
            shown = capsys.readouterr().out
            assert shown.count("warning: entities were not looked for") == times
            assert "warning: a run with this policy would be refused here: [entities] needs presidio-analyzer" in shown
            assert "fingerprint                     depends on what finds entities; without it, " in shown
        assert main(["policy", "check", str(policy), "--rows", str(file), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    found = figures["entities"]
    assert (figures["fingerprint"], found["is_here"], found["version"]) == (None, False, None)
    assert figures["trial"]["rules"]["summary"]["changed"] == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("7", "not rows as the API serves them: a JSON array of conversations, or a conversation a line"),
        ('{"id": ', "not rows as the API serves them: a JSON array of conversations, or a conversation a line"),
        (None, "No such file or directory"),
    ],
)
def test_what_holds_no_rows_is_refused(
    content: str | None, why: str, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows"
    if content is not None:
        file.write_text(content)
    assert main(["policy", "check", str(policy), "--rows", str(file)]) == 2
    assert undated(capsys.readouterr().err) == f"exporter: --rows {file}: {why}\n"


def test_a_bad_policy_ends_with_2_and_its_place(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_text(POLICY.replace("user_id", "user"))
    assert main(["policy", "check", str(policy)]) == 2
    assert undated(capsys.readouterr().err).startswith(
        f"exporter: {policy}:4:1: conversations.user: there is no such column. Did you mean user_id?"
    )


def test_the_key_may_lie_in_a_file(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "privacy.key"
    file.write_text(SECRET)
    file.chmod(0o600)
    assert main(["policy", "check", str(policy), "--privacy-key-file", str(file), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["key"] == {"name": "k1", "is_here": True}
    assert figures["fingerprint"] is not None
