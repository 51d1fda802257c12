"""Exports whose policy finds names with a model: what is stored, and that another model, or none, is refused before
anything is asked or touched."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from exporter.clock import wall_clock
from exporter.errors import ExporterError, ProtectionError, UsageError
from exporter.jobs.audit import audit
from exporter.jobs.export import export
from exporter.jobs.protect import protect
from exporter.jobs.stream import stream
from exporter.jobs.sync import sync
from exporter.jobs.verify import verify
from exporter.keys import NO_KEYS
from exporter.model import TURNS
from exporter.privacy import Policy, Rule
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, Row, serve
from exporter.settings import Credentials, RunSettings, Selection
from tests.jobs.protected import ROWS, column, fingerprints, manifest, policy, run
from tests.toolkit.stand_in import ENTITIES, MODEL, VERSIONS, installed

FINDS = Rule(action="redact", patterns=("entities",))
RULES = {"summary": FINDS, "conversation.items[*].content": FINDS}
NAMED = policy(RULES, entities=ENTITIES, key=None, quarantine="keep")
OF_TURNS = policy({}, turns={"text": FINDS}, entities=ENTITIES, key=None, quarantine="keep")
NEWER = VERSIONS | {MODEL: "1.1.0"}
SAID = {"items": [{"type": "message", "role": "user", "content": ["Ann Lee here, from London"]}]}
SPOKEN = [
    Row(row.created_at, row.updated_at, {**row.facts(), "summary": "Bob called Ann", "conversation": SAID})
    for row in ROWS
]
CLEAN = "[PERSON] here, from [LOCATION]"
repair = partial(audit, now=wall_clock(), repair=True)


@pytest.fixture(name="root")
def export_with_names(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    with installed(tmp_path / "packages"):
        run(root, NAMED, rows=SPOKEN)
    return root


def again(root: Path, job: Callable[..., Any] = export, protection: Policy | None = None) -> list[str]:
    """Runs a job against a sandbox, and returns what it has asked for, whether it was refused or not."""
    asked: list[str] = []

    async def work() -> None:
        async with serve(SPOKEN) as server:
            context = RunContext(RunSettings(base_url=server.url), Credentials(TOKEN), Quiet(), keys=NO_KEYS)
            try:
                await job(root, Selection(policy=protection), context)
            finally:
                asked.extend(map(str, server.requests))

    anyio.run(work)
    return asked


def test_names_are_in_neither_table_and_the_manifest_tells_the_versions(root: Path) -> None:
    assert set(column(root, "summary")) == {"[PERSON] called [PERSON]"}
    assert set(column(root, "text", TURNS)) == {CLEAN}
    found = manifest(root)["protection"]
    assert found["entities"]["version"] == f"{MODEL} 1.0.0, presidio-analyzer 2.2.1, spacy 3.8.1"
    assert {file["policy"] for file in manifest(root)["tables"]["conversations"]["files"]} == {found["fingerprint"]}


@pytest.mark.parametrize("job", [export, sync, repair])
@pytest.mark.parametrize("protection", [None, NAMED])
def test_other_versions_are_refused_before_anything_is_asked(
    job: Callable[..., Any], protection: Policy | None, root: Path, tmp_path: Path
) -> None:
    before = fingerprints(root)
    with installed(tmp_path / "newer", NEWER), pytest.raises(ProtectionError, match=rf"{MODEL} 1\.1\.0.* installed"):
        assert not again(root, job, protection)
    with installed(tmp_path / "none", {}), pytest.raises(UsageError, match="needs presidio-analyzer"):
        assert not again(root, job, protection)
    assert fingerprints(root) == before
    with installed(tmp_path / "same"):
        again(root, job, protection)
    assert set(column(root, "summary")) == {"[PERSON] called [PERSON]"}


def test_a_first_run_without_the_model_leaves_nothing(tmp_path: Path) -> None:
    versions = {name: version for name, version in VERSIONS.items() if name != MODEL}
    with installed(tmp_path / "packages", versions), pytest.raises(UsageError, match="never downloaded") as refused:
        run(tmp_path / "out", NAMED)
    assert refused.value.exit_status == 2
    assert not (tmp_path / "out").exists()


def test_a_model_that_fails_lets_the_run_fail(tmp_path: Path) -> None:
    rows = [Row(SPOKEN[0].created_at, None, {**SPOKEN[0].fields, "summary": "Ann CRASH"})]
    with installed(tmp_path / "packages"), pytest.raises(ExporterError, match=f"{MODEL} failed at a text"):
        run(tmp_path / "out", NAMED, rows=rows)
    assert not list((tmp_path / "out").rglob("part-*.parquet"))


def test_another_type_is_another_policy(root: Path, tmp_path: Path) -> None:
    people = msgspec.structs.replace(NAMED, entities=msgspec.structs.replace(ENTITIES, types=("PERSON",)))
    with (
        installed(tmp_path / "same"),
        pytest.raises(ProtectionError, match=r"\(entities.types: .*LOCATION.* stored, .* asked for\)"),
    ):
        again(root, export, people)


def test_what_is_stored_is_brought_under_it(tmp_path: Path) -> None:
    root = tmp_path / "out"
    run(root, rows=SPOKEN)
    bring = partial(protect, root, keys=NO_KEYS, memory_bytes=2**28, observer=Quiet())
    before = fingerprints(root)
    with installed(tmp_path / "none", {}), pytest.raises(UsageError, match="needs presidio-analyzer"):
        anyio.run(partial(bring, NAMED))
    assert fingerprints(root) == before
    with installed(tmp_path / "packages"):
        result = anyio.run(partial(bring, NAMED))
        assert result.protection.changed["summary"] == len(SPOKEN)
        assert anyio.run(bring).files == 0
    assert set(column(root, "summary")) == {"[PERSON] called [PERSON]"}
    assert set(column(root, "text", TURNS)) == {CLEAN}
    with installed(tmp_path / "newer", NEWER), pytest.raises(ProtectionError, match="Install the stored versions"):
        anyio.run(bring)


def test_turns_have_rules_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "out"
    with installed(tmp_path / "packages"):
        run(root, OF_TURNS, rows=SPOKEN)
    assert set(column(root, "text", TURNS)) == {CLEAN}
    assert set(column(root, "summary")) == {"Bob called Ann"}
    # A reader of what is stored needs no model.
    assert anyio.run(partial(verify, root, now=wall_clock())).sound


def test_a_stream_is_refused_before_it_begins(tmp_path: Path) -> None:
    with installed(tmp_path / "none", {}), pytest.raises(UsageError, match="needs presidio-analyzer"):
        stream(Selection(policy=NAMED), RunSettings(), Credentials(TOKEN), None)
