"""A commit whose answer was lost never costs a live snapshot its manifests."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, NoSuchTableError
from pyiceberg.table import CommitTableResponse

from exporter.lake.sure import sure

SCHEMA = pa.schema([pa.field("id", pa.string())])
ROWS = pa.table({"id": ["a", "b"]}, SCHEMA)


class Liar(SqlCatalog):
    """Raises `answer` to a commit in place of saying what it did; it does the commit if it `does`, and says nothing
    more if it then `falls_silent`."""

    answer: Exception | None = None
    does = True
    falls_silent = False
    is_silent = False

    def commit_table(self, *arguments: Any) -> CommitTableResponse:
        if self.answer is None:
            return super().commit_table(*arguments)
        if self.does:
            super().commit_table(*arguments)
        self.is_silent = self.falls_silent
        raise self.answer

    def load_table(self, identifier: Any) -> Any:
        if self.is_silent:
            raise ConnectionError("silence")
        return super().load_table(identifier)


@pytest.fixture
def liar(tmp_path: Path) -> Any:
    with Liar("liar", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}") as catalog:
        catalog.create_namespace("n")
        made = catalog.create_table("n.t", SCHEMA, properties={"commit.retry.num-retries": "0"})
        made.append(ROWS)
        yield catalog


def rows(catalog: Liar) -> int:
    """Returns how many rows any reader finds, who reads all manifests."""
    catalog.answer, catalog.is_silent = None, False
    return len(catalog.load_table("n.t").scan().to_arrow())


ANSWERS = [CommitFailedException("somebody else"), CommitStateUnknownException("500"), ConnectionError("closed")]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda one: type(one).__name__)
def test_what_was_done_counts_as_done(liar: Liar, answer: Exception) -> None:
    table = sure(liar).load_table("n.t")
    liar.answer = answer
    table.append(ROWS)
    assert rows(liar) == 4
    # Its handle is as new as the table.
    table.append(ROWS)
    assert rows(liar) == 6
    liar.answer = answer
    table.maintenance.expire_snapshots().by_ids([table.snapshots()[0].snapshot_id]).commit()
    assert len(table.snapshots()) == 2
    assert rows(liar) == 6


def test_without_that_the_table_is_lost(liar: Liar) -> None:
    """Otherwise the other tests here would prove nothing."""
    table = liar.load_table("n.t")
    liar.answer = ANSWERS[0]
    with pytest.raises(CommitFailedException):
        table.append(ROWS)
    with pytest.raises(FileNotFoundError):
        rows(liar)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda one: type(one).__name__)
def test_what_was_not_done_fails(liar: Liar, answer: Exception) -> None:
    table = sure(liar).load_table("n.t")
    liar.answer, liar.does = answer, False
    with pytest.raises(type(answer), match=str(answer)):
        table.append(ROWS)
    with pytest.raises(type(answer), match=str(answer)):
        table.transaction().set_properties(a="b").commit_transaction()
    with pytest.raises(type(answer), match=str(answer)):
        liar.create_table_transaction("n.new", SCHEMA).commit_transaction()
    assert rows(liar) == 2
    with pytest.raises(NoSuchTableError):
        liar.load_table("n.new")


@pytest.mark.parametrize("does", [True, False])
def test_what_cannot_be_found_out_deletes_nothing(liar: Liar, does: bool) -> None:
    table = sure(liar).load_table("n.t")
    liar.answer, liar.does, liar.falls_silent = ANSWERS[0], does, True
    with pytest.raises(CommitStateUnknownException):
        table.append(ROWS)
    assert rows(liar) == (4 if does else 2)


def test_a_table_that_was_made(liar: Liar) -> None:
    liar.answer = CommitFailedException("there already")
    sure(liar).create_table_transaction("n.new", SCHEMA).commit_transaction()
    liar.answer = None
    assert not liar.load_table("n.new").snapshots()
