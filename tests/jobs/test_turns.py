"""An export makes turns of transcripts, beside the conversations; a verification says when the two differ."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest

from exporter.cli.report import describe_summary
from exporter.contract import DAY, SECOND
from exporter.errors import DestinationError
from exporter.jobs.export import export
from exporter.jobs.status import status
from exporter.jobs.summary import Summary
from exporter.jobs.verify import verify
from exporter.model import TABLES
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import TOKEN, TOKEN_NOSENSITIVE, Row, make_conversations, serve
from exporter.settings import Credentials, RunSettings, Selection
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import records
from tests.jobs.damage import Json, edit_commits, flip, rewrite, settle, with_column

T0 = 1_770_000_000 * SECOND
SINCE, UNTIL = T0 - 3 * DAY, T0
ROWS = make_conversations(90, SINCE, UNTIL)


def run(root: Path, *, token: str = TOKEN, rows: list[Row] = ROWS, **asked: Any) -> Summary:
    async def work() -> Summary:
        async with serve(rows) as server:
            settings = RunSettings(base_url=server.url, concurrency=2, page_size=20)
            wanted = Selection(since=SINCE, until=UNTIL, **{"tables": TABLES, **asked})
            return await export(root, wanted, RunContext(settings, Credentials(token), Quiet()))

    return anyio.run(work)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("turns") / "out"
    run(root)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "out"))


def test_an_export_with_turns_is_exact(original: Path) -> None:
    exported = ExportDirectory(original)
    exported.check(records(ROWS))
    assert exported.turns
    turns = sum(file["rows"] for file in exported.turns)
    assert exported.manifest["totals"]["turns"] == turns
    assert anyio.run(status, original).turns == turns
    assert exported.manifest["request"]["tables"] == ["conversations", "turns"]


def test_other_tables_are_refused_with_the_difference(root: Path) -> None:
    with pytest.raises(DestinationError, match="tables: conversations,turns stored, conversations asked for"):
        run(root, tables=("conversations",))
    assert not run(root, tables=None).changed


def test_a_log_without_tables_has_the_default(tmp_path: Path) -> None:
    run(tmp_path / "out", tables=None)

    def forget(commit: Json) -> None:
        if commit["request"]:
            del commit["request"]["tables"]

    edit_commits(tmp_path / "out", forget)
    assert not run(tmp_path / "out", tables=("conversations",)).changed
    with pytest.raises(DestinationError, match="tables: conversations stored, conversations,turns asked for"):
        run(tmp_path / "out")


def test_a_token_that_sees_no_transcripts_is_told(tmp_path: Path) -> None:
    summary = run(tmp_path / "out", token=TOKEN_NOSENSITIVE)
    assert (summary.state, summary.turns) == ("complete", 0)
    assert "    without transcripts, the table turns is empty." in list(describe_summary(summary))


def rows_taken(*order: int) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.take([*order, *range(len(order), table.num_rows)])


def of_nobody(ids: pa.ChunkedArray) -> list[str]:
    first, *_ = texts = ids.to_pylist()
    return ["nobody" if identity == first else identity for identity in texts]


def renamed(root: Path, path: str) -> str:
    """Renames turns so that no part of conversations lies beside them."""
    other = path.replace("part-", "part-other-")
    (root / path).rename(root / other)

    def edit(commit: Json) -> None:
        for file in commit["change"].get("adds", []):
            if file["path"] == path:
                file["path"] = other

    edit_commits(root, edit)
    settle(root)
    return other


def found_at(root: Path) -> list[tuple[str, str]]:
    return [(one.file, one.what) for one in anyio.run(partial(verify, root, now=T0)).problems]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (rows_taken(1, 0), "turns"),
        (with_column("conversation_id", of_nobody), "turns"),
        (with_column("item_index", lambda numbers: [number.as_py() + 1 for number in numbers]), "turns"),
        (lambda table: table.take([0, *range(table.num_rows)]), "rows"),
        (with_column("conversation_id", lambda ids: [None, *ids.to_pylist()[1:]]), "values"),
        (lambda table: table.take(list(reversed(range(table.num_rows)))), "order"),
        (lambda table: table.drop_columns(["text"]), "schema"),
    ],
)
def test_turns_that_are_not_those_of_the_conversations(
    change: Callable[[pa.Table], pa.Table], what: str, root: Path
) -> None:
    path = ExportDirectory(root).turns[0]["path"]
    rewrite(root, path, change)
    assert found_at(root) == [(path, what)]


def test_damage_is_named_once_and_a_repair_reads_both_tables_again(root: Path) -> None:
    exported = ExportDirectory(root)
    one, other = exported.turns[0]["path"], exported.turns[1]["path"].replace("turns", "conversations", 1)
    flip(root, one)
    (root / other).unlink()
    assert found_at(root) == [(other, "missing"), (one, "sha256")]
    mended = anyio.run(partial(verify, root, now=T0, repair=True))
    assert (mended.state, mended.dropped) == ("incomplete", 4)
    run(root)
    ExportDirectory(root).check(records(ROWS))


def test_turns_of_no_conversations(root: Path) -> None:
    path = renamed(root, ExportDirectory(root).turns[0]["path"])
    assert found_at(root) == [(path, "turns")]


def test_a_sample_looks_at_turns_whose_conversations_are_not_in_it(root: Path) -> None:
    path = ExportDirectory(root).turns[0]["path"]
    rewrite(root, path, rows_taken(1, 0))
    found = [anyio.run(partial(verify, root, now=T0 + day * DAY, share=0.2)).problems for day in range(20)]
    assert {(one.file, one.what) for problems in found for one in problems} == {(path, "turns")}


def test_conversations_without_items_have_no_part_of_turns(tmp_path: Path) -> None:
    rows = make_conversations(30, SINCE, UNTIL, transcripts=False)
    summary = run(tmp_path / "out", rows=rows)
    assert summary.turns == 0
    exported = ExportDirectory(tmp_path / "out")
    exported.check(records(rows))
    assert json.loads(json.dumps(exported.manifest["tables"]["turns"]["files"])) == []
