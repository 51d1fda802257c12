"""Names that a model finds leave texts whole, whatever stands beside them; and what is missing is refused, with what
to install."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.encode.entities import Finding, protector_of, recognizer, replaced, with_version
from exporter.encode.protect.patterns import BUILT_IN
from exporter.encode.schema import arrow_schema
from exporter.errors import ExporterError, ProtectionError, UsageError
from exporter.privacy import Policy, Rule
from tests.toolkit.stand_in import ENTITIES, MODEL, VERSIONS, installed

#: No character is there twice, none is white space, and none is in the name of a type.
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
places = st.integers(0, len(LETTERS))
findings = st.lists(st.builds(Finding, places, places, st.sampled_from(["A", "B", "C"])))


def policy(**more: Any) -> Policy:
    rules = {"summary": Rule(action="redact", patterns=("email", "entities"))}
    entities = msgspec.structs.replace(ENTITIES, **more)
    return Policy(rules=rules, patterns={"email": BUILT_IN["email"]}, entities=entities, quarantine="keep")


def protected(*texts: str | None) -> list[str | None]:
    schema = pa.schema([arrow_schema(None).field("summary")])
    batch = pa.RecordBatch.from_pylist([{"summary": text} for text in texts], schema=schema)
    made: list[str | None] = protector_of(policy(), None).protect(batch).column(0).to_pylist()
    return made


@given(findings, st.randoms(use_true_random=False))
def test_nothing_that_was_found_is_left_and_nothing_else_goes(found: list[Finding], shuffled: random.Random) -> None:
    gone = {at for each in found for at in range(each.start, each.end)}
    made = replaced(LETTERS, found)
    assert "".join(letter for letter in made if letter in LETTERS) == "".join(
        letter for at, letter in enumerate(LETTERS) if at not in gone
    )
    assert made.count("[") == made.count("]") <= len(found)
    shuffled.shuffle(found)
    assert replaced(LETTERS, found) == made, "the order of the findings matters"


@pytest.mark.parametrize(
    ("text", "found", "made"),
    [
        ("Ann Lee", [Finding(0, 3, "A"), Finding(0, 7, "B")], "[B]"),
        ("Ann Lee", [Finding(0, 5, "A"), Finding(4, 7, "B")], "[A]"),
        ("Ann Lee", [Finding(0, 3, "B"), Finding(0, 3, "A")], "[A] Lee"),
        ("Ann Lee", [Finding(0, 4, "A"), Finding(3, 7, "B")], "[A] [B]"),
        ("Ann Lee", [Finding(0, 3, "A"), Finding(3, 7, "B")], "[A] [B]"),
        ("Ann, Lee", [], "Ann, Lee"),
        # What a pattern has put there is no name, and stays whole.
        ("[EMAIL]", [Finding(0, 7, "A")], "[EMAIL]"),
        ("[EMAIL]", [Finding(1, 6, "A")], "[EMAIL]"),
        ("Ann [EMAIL] Lee", [Finding(0, 11, "A")], "[A] [EMAIL] Lee"),
        ("Ann [EMAIL] Lee", [Finding(5, 15, "A")], "Ann [EMAIL] [A]"),
        ("Ann [EMAIL][IP] Lee", [Finding(0, 14, "A")], "[A] [EMAIL][IP] Lee"),
        ("Ann [EMAIL][IP] Lee", [Finding(4, 19, "A")], "Ann [EMAIL][IP] [A]"),
        ("Ann [EMAIL] Lee", [Finding(0, 15, "A")], "[A]"),
    ],
)
def test_what_takes_the_place_of_findings(text: str, found: list[Finding], made: str) -> None:
    assert replaced(text, found) == made


@given(st.lists(st.sampled_from(["", "Ann", "Bob and Ann Lee", "nobody", "London"]), max_size=8))
def test_a_text_becomes_the_same_in_any_batch(texts: list[str]) -> None:
    names = {"Ann": "P", "Bob and Ann Lee": "P", "London": "L"}
    recognize = recognizer(lambda text: [Finding(0, len(text), names[text])] if text in names else [])
    assert recognize(texts) == [recognize([text])[0] for text in texts]


@given(st.lists(st.sampled_from(["word ", "line\n", "x" * 9_000, "y" * 21_000]), max_size=12))
def test_long_texts_are_looked_at_in_pieces(parts: list[str]) -> None:
    seen: list[str] = []

    def see(text: str) -> list[Finding]:
        seen.append(text)
        return []

    text = "".join(parts)
    assert recognizer(see)([text]) == [text]
    assert "".join(seen) == text
    assert max(map(len, seen)) <= 20_000


def test_a_word_is_cut_only_if_it_is_long() -> None:
    seen: list[str] = []

    def see(text: str) -> list[Finding]:
        seen.append(text)
        return []

    recognizer(see)(["word " * 10_000, "line\n" + "word " * 5_000, "x" * 30_000])
    assert [piece[-5:] for piece in seen] == ["word "] * 3 + ["word "] * 2 + ["xxxxx"] * 2


def test_names_leave_texts_after_the_patterns(tmp_path: Path) -> None:
    with installed(tmp_path):
        made = protected("Ann Lee of London has an Anvil: ann@example.com", None, "", "Bob", "no name")
    assert made == ["[PERSON] of [LOCATION] has an Anvil: [EMAIL]", None, "", "[PERSON]", "no name"]


def test_protecting_again_changes_nothing(tmp_path: Path) -> None:
    with installed(tmp_path):
        once = protected("Ann Lee and Bob of London, ann@example.com")
        assert protected(*once) == once


def test_several_threads_may_recognize_at_once(tmp_path: Path) -> None:
    with installed(tmp_path), ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: protected("Ann")[0], range(20))) == {"[PERSON]"}


def test_versions_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    found = {}
    for newer in (None, *VERSIONS):
        with installed(tmp_path / str(newer), VERSIONS | ({} if newer is None else {newer: "9.0"})):
            found[newer] = with_version(policy())
    assert len({each.fingerprint for each in found.values()}) == 1 + len(VERSIONS)
    stored = found[None]
    assert stored.entities is not None
    assert stored.entities.version == f"{MODEL} 1.0.0, presidio-analyzer 2.2.1, spacy 3.8.1"
    with installed(tmp_path / "again"):
        assert with_version(stored) == stored
    with installed(tmp_path / "other", VERSIONS | {MODEL: "1.0.1"}):
        for use in (with_version, lambda policy: protector_of(policy, None)):
            with pytest.raises(ProtectionError, match=rf"{MODEL} 1\.0\.0, .* stored, {MODEL} 1\.0\.1, .* installed"):
                use(stored)


@pytest.mark.parametrize("missing", VERSIONS)
def test_what_is_missing_is_named(missing: str, tmp_path: Path) -> None:
    versions = {package: version for package, version in VERSIONS.items() if package != missing}
    with installed(tmp_path, versions), pytest.raises(UsageError, match=f"needs .*{missing}") as refused:
        with_version(policy())
    advice = "Install its wheel" if missing == MODEL else "install presidio-analyzer"
    assert advice in str(refused.value)


@pytest.mark.parametrize("name", ["", "spacy", "../en_stand_in", "/etc", "en-stand-in"])
def test_only_the_name_of_a_model_is_one(name: str, tmp_path: Path) -> None:
    with installed(tmp_path), pytest.raises(UsageError, match="which is not installed, and never downloaded"):
        with_version(policy(model=name))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"types": ("PERSON", "URL")}, f"{MODEL} finds no URL; it finds LOCATION, PERSON"),
        ({"types": ("PRODUCT",)}, f"{MODEL} finds no PRODUCT; it finds LOCATION, PERSON"),
        ({"language": "de"}, f"{MODEL} is for the language en, not for de"),
    ],
)
def test_a_model_that_is_not_fit_is_refused(more: dict[str, Any], why: str, tmp_path: Path) -> None:
    with installed(tmp_path), pytest.raises(UsageError, match=why):
        with_version(policy(**more))


def test_a_model_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    source = "def load():\n    raise OSError('needs\\nanother spaCy')\n"
    with (
        installed(tmp_path, model_source=source),
        pytest.raises(UsageError, match=f"{MODEL} cannot be loaded: needs another spaCy$"),
    ):
        with_version(policy())


def test_a_model_that_fails_does_not_tell_the_text(tmp_path: Path) -> None:
    with installed(tmp_path), pytest.raises(ExporterError, match=f"{MODEL} failed at a text") as failed:
        protected("Ann CRASH")
    assert "Ann" not in str(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.exit_status == 1


def test_nothing_is_needed_unless_a_rule_names_entities(tmp_path: Path) -> None:
    with installed(tmp_path, {}):
        for other in (
            msgspec.structs.replace(policy(), rules={}),
            msgspec.structs.replace(policy(), rules={"summary": Rule(action="redact", patterns=("email",))}),
        ):
            assert with_version(other) == other
            protector_of(other, None)
        in_turns = msgspec.structs.replace(policy(), rules={}, turns={"content": policy().rules["summary"]})
        with pytest.raises(UsageError, match="needs presidio-analyzer"):
            protector_of(in_turns, None)
