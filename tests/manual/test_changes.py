"""A copy that follows an export as the manual says equals it, night after night."""

import json
import random
import shutil
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from anyio import to_thread

from exporter.cli import main
from exporter.contract import DAY, HOUR, MINUTE, SECOND
from exporter.jobs.audit import audit
from exporter.jobs.changes import changes
from exporter.jobs.compact import compact
from exporter.jobs.dataset import open_dataset
from exporter.jobs.erase import erase
from exporter.jobs.expire import expire
from exporter.jobs.feed_output import write_feed
from exporter.jobs.sync import sync
from exporter.model import CONVERSATIONS, TABLES, TURNS
from exporter.options.parse import choose_fields
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.run.erasure_wish import Wish
from exporter.sandbox import TOKEN
from exporter.settings import Credentials, Selection
from tests.jobs.moving import Source, fill, moving_source, settings_for
from tests.toolkit.encrypted import keys_with
from tests.toolkit.manual import PAGES, run_shell
from tests.toolkit.sizes import size_of

LOAD, MERGE, DELETE_AND_INSERT, CLICKHOUSE, TURNS_STATEMENT = PAGES["changes"].in_language("sql")
KEYS = keys_with(None)


class Copy:
    """Keeps a copy of both tables in DuckDB by the manual's own statements, and the generation that it has."""

    def __init__(self, root: Path, directory: Path) -> None:
        self.root = root
        self.directory = directory
        self.database = duckdb.connect()
        self.turns_at = 0

    async def _take(self, table: str, since: int, name: str) -> int:
        path = self.directory / name
        path.unlink(missing_ok=True)
        feed = await changes(self.root, since, table=table)
        await write_feed(feed, path, "parquet")
        return feed.to

    async def load(self) -> None:
        await self._take(CONVERSATIONS, 0, "all.parquet")
        self.turns_at = await self._take(TURNS, 0, "turns.parquet")
        for name in ("conversations", "loaded", "turns"):
            self.database.execute(f"DROP TABLE IF EXISTS {name}")
        self._run(LOAD)
        self.database.execute(
            "CREATE TABLE turns AS SELECT * EXCLUDE (_op, _generation, _committed_at) "
            f"FROM read_parquet('{self.directory}/turns.parquet')"
        )

    async def follow(self, statement: str) -> None:
        since = self.generation
        await self._take(CONVERSATIONS, since, "changes.parquet")
        self.turns_at = await self._take(TURNS, self.turns_at, "turns.parquet")
        for table, name in (("changes", "changes"), ("turns_changes", "turns")):
            source = f"read_parquet('{self.directory}/{name}.parquet')"
            self.database.execute(f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM {source}")
        # Each is delivered at least once.
        for _ in range(2):
            self._run(statement)
            self._run(TURNS_STATEMENT)

    @property
    def generation(self) -> int:
        ((generation,),) = self.database.execute("SELECT generation FROM loaded").fetchall()
        return int(generation)

    def _run(self, statements: str) -> None:
        self.database.execute(
            statements.replace("'all.parquet'", f"'{self.directory}/all.parquet'").replace(
                "'changes.parquet'", f"'{self.directory}/changes.parquet'"
            )
        )

    def check(self) -> None:
        for table in TABLES:
            self.database.register("there", open_dataset(self.root, table).to_table())
            for one, other in ((table, "there"), ("there", table)):
                names = ", ".join(row[0] for row in self.database.execute(f"DESCRIBE {table}").fetchall())
                query = f"SELECT {names} FROM {one} EXCEPT ALL SELECT {names} FROM {other}"
                assert self.database.execute(query).fetchall() == [], table


@pytest.mark.anyio
async def test_a_copy_that_follows_for_a_month(tmp_path: Path, hasty: None) -> None:
    root, chance = tmp_path / "calls", random.Random(7)
    nights = size_of(6, 31, "EXPORTER_NIGHTS")
    async with moving_source(7) as source:
        fill(source, 40)
        for _ in range(40):
            source.move()
        await _sync(root, source, Selection(fields=choose_fields(["summary", "conversation"], None), tables=TABLES))
        copy = Copy(root, tmp_path)
        await copy.load()
        await to_thread.run_sync(copy.check)
        ended: list[str] = []
        for night in range(1, nights + 1):
            for _ in range(chance.randint(0, 15)):
                source.move()
            source.now += DAY - HOUR * chance.randint(0, 3)
            for name, job in _jobs(root, source, night):
                await job()
                ended.append(name)
            if night % 3:
                await copy.follow(MERGE if night % 2 else DELETE_AND_INSERT)
                await to_thread.run_sync(copy.check)
        assert {*ended} >= {"sync", "compact", "repair", "refilter", "erase", "expire"}
        await copy.follow(MERGE)
        await to_thread.run_sync(copy.check)
        whole = Copy(root, tmp_path)
        await whole.load()
        await to_thread.run_sync(whole.check)


@pytest.mark.anyio
async def test_the_program_of_a_whole_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hasty: None) -> None:
    (program,) = [text for text in PAGES["changes"].in_language("python") if "copy.duckdb" in text]
    root, night = tmp_path / "calls", compile(program, "night", "exec")
    monkeypatch.chdir(tmp_path)
    async with moving_source(3) as source:
        fill(source, 30)
        for number in range(4):
            for _ in range(8 * (number < 3)):
                source.move()
            source.now += DAY
            await _sync(root, source, Selection(tables=TABLES) if not number else Selection())
            await to_thread.run_sync(exec, night, {})
            copy = Copy(root, tmp_path)
            copy.database.execute("ATTACH 'copy.duckdb' AS there (READ_ONLY); USE there")
            await to_thread.run_sync(copy.check)
            assert copy.generation == json.loads((root / "_manifest.json").read_bytes())["generation"]
            copy.database.close()


def _jobs(root: Path, source: Source, night: int) -> Iterator[tuple[str, Callable[[], Awaitable[Any]]]]:
    """Yields what runs in a night."""
    context = RunContext(settings_for(source), Credentials(TOKEN), Quiet(), keys=KEYS)
    if night % 4 == 2:
        # An audit finds what nobody has told.
        silent = sorted(source.rows)[:5]
        for name in silent:
            source.update(name, at=source.rows[name].updated_at, summary=f"silently {night}")
        yield "repair", partial(audit, root, Selection(), context, now=source.now, share=1.0, repair=True)
    yield "sync", partial(_sync, root, source, Selection())
    match night % 5:
        case 1:
            yield "compact", partial(compact, root, target_bytes=1 << 28, memory_bytes=1 << 28, observer=Quiet())
        case 2:
            yield "refilter", partial(_sync, root, source, Selection(), refilter=True)
        case 3:
            wish = Wish(ids=(sorted(source.rows)[night],))
            yield "erase", partial(erase, root, wish, KEYS, Quiet(), now=source.now)
        case 4:
            yield (
                "expire",
                partial(
                    expire,
                    root,
                    now=source.now,
                    asked={"conversations": 40 * DAY // SECOND, "summary": 9 * DAY // SECOND},
                    settings=settings_for(source),
                    observer=Quiet(),
                    keys=KEYS,
                ),
            )


async def _sync(root: Path, source: Source, asked: Selection, **options: Any) -> None:
    source.now += 2 * MINUTE
    context = RunContext(settings_for(source), Credentials(TOKEN), Quiet(), keys=KEYS)
    await sync(root, asked, context, **options)


def test_the_commands(demo: Path, tmp_path: Path) -> None:
    page = PAGES["changes"]
    shutil.copytree(demo / "demo-export", tmp_path / "calls")
    load, night, turns = (page.command_holding(name) for name in ("all.parquet", "$generation", "turns.jsonl"))
    figures = json.loads(run_shell(load, tmp_path).stdout)
    assert page.keys_of_json("changes") == list(figures)
    assert figures["inserts"] == 2000
    (tmp_path / "changes.parquet").write_bytes(b"of the last night")
    done = run_shell(f"generation=6\n{night}\n{turns}", tmp_path)
    assert done.returncode == 0, done.stderr
    lists = run_shell(page.command_holding("UPDATE SET"), tmp_path).stdout.splitlines()
    names = [name.strip() for name in lists[1].removeprefix("INSERT (").rstrip(")").split(",")]
    assert names == open_dataset(tmp_path / "calls").schema.names
    assert lists[0].count(" = s.") == len(names) - 1 and lists[2].count("s.") == len(names)
    assert {path.name for path in tmp_path.iterdir()} == {"calls", "all.parquet", "changes.parquet", "turns.jsonl"}


def test_statements_parse_where_they_are_said_to_run() -> None:
    sqlglot = pytest.importorskip("sqlglot")
    for dialect in ("snowflake", "bigquery", "databricks", "duckdb"):
        kinds = [type(one).__name__ for one in sqlglot.parse(MERGE, read=dialect)]
        assert kinds[1:3] == ["Merge", "Update"], dialect
    kinds = [type(one).__name__ for one in sqlglot.parse(DELETE_AND_INSERT, read="redshift")]
    assert kinds[1:4] == ["Delete", "Insert", "Update"]


def test_the_statements_for_clickhouse(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = pytest.importorskip("chdb.session").Session()
    monkeypatch.chdir(tmp_path)
    root = demo / "demo-export"
    assert main(["changes", str(root), "--from-generation", "0", "--output", "changes.parquet"]) == 0
    try:
        session.query("CREATE DATABASE copy; USE copy")
        create, insert = CLICKHOUSE.split(";\n")[:2]
        session.query(create)
        for _ in range(2):
            session.query(insert.replace("'changes.parquet'", f"'{tmp_path}/changes.parquet'"))
        counted = session.query("SELECT count(), max(created_at) > '2026-01-01' FROM conversations FINAL", "CSV")
        assert str(counted).strip() == "2000,1"
    finally:
        session.close()
