"""The facts read from a part match its rows, and a part that cannot be read is told apart."""

import errno
import hashlib
import tempfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import UnreadableFileError
from exporter.parts import integrity
from exporter.parts.ids import read_ids
from exporter.parts.integrity import hash_file
from exporter.store.disk import file_size
from exporter.verification import facts

SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("created_at", pa.timestamp("us", "UTC"))])

rows = st.tuples(st.one_of(st.none(), st.text("abc", max_size=2)), st.one_of(st.none(), st.integers(0, 9)))


def nearly_descending(table: list[tuple[str | None, int | None]]) -> list[tuple[str | None, int | None]]:
    return sorted(table, key=lambda row: -(row[1] or 0))


@settings(deadline=None)
@given(st.lists(rows, max_size=12).flatmap(lambda table: st.sampled_from([table, nearly_descending(table)])))
def test_the_facts_are_those_of_the_rows_wherever_batches_end(table: list[tuple[str | None, int | None]]) -> None:
    ids, times = [identity for identity, _ in table], [time for _, time in table]
    seen: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "part.parquet"
        columns = [pa.array(ids, pa.string()), pa.array(times, pa.int64()).cast(SCHEMA.field(1).type)]
        pq.write_table(pa.table(columns, schema=SCHEMA), path, row_group_size=5)
        content = facts.read_content(path, SCHEMA, lambda batch: seen.extend(batch.to_pylist()), batch_rows=3)
        assert [identity for batch in read_ids(path) for identity in batch.to_pylist()] == ids
    known = [time for time in times if time is not None]
    assert content.schema.equals(SCHEMA)
    assert content.rows == len(table)
    assert content.incomplete == sum(identity is None or time is None for identity, time in table)
    assert content.descends == all(newer >= older for newer, older in pairwise(known))
    assert (content.oldest, content.newest) == (min(known, default=None), max(known, default=None))
    assert seen == [identity for identity in ids if identity is not None]


def test_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = b"a line\n" * 300_000 + b"half"
    path.write_bytes(data)
    assert file_size(path) == len(data)
    assert hash_file(path) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["none", "file/below", "directory"])
def test_what_is_no_file_has_no_size(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    assert file_size(tmp_path / name) is None


@pytest.mark.parametrize("data", [b"", b"PAR1", b"hello, this is no Parquet", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_cannot_be_read(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(data)
    with pytest.raises(UnreadableFileError, match="part: cannot be read here and now: Arrow fails to decode it"):
        facts.read_content(tmp_path / "part", SCHEMA, lambda ids: None)


def test_a_part_that_has_vanished_has_no_checksum(tmp_path: Path) -> None:
    assert hash_file(tmp_path / "part") is None
    with pytest.raises(UnreadableFileError, match="part: cannot be read here and now: No such file"):
        facts.read_content(tmp_path / "part", SCHEMA, lambda ids: None)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_a_reader_that_fails_says_nothing_about_the_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(number, "it failed")

    monkeypatch.setattr(integrity, "chunks_of", fail)
    with pytest.raises(UnreadableFileError, match="part: cannot be read here and now"):
        hash_file(tmp_path / "part")


def test_rows_of_another_schema_are_not_looked_at(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2], "created_at": ["a", "b"]})
    pq.write_table(table, tmp_path / "part")
    content = facts.read_content(tmp_path / "part", SCHEMA, lambda ids: pytest.fail("has read ids"))
    assert content == facts.Content(table.schema)


turns = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=10)
lengths = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 4)), unique_by=lambda one: one[0], max_size=4)
runs = lengths.map(lambda each: [(identity, index) for identity, length in each for index in range(length)])


@settings(deadline=None)
@given(st.one_of(turns, runs), st.permutations("abcd"))
def test_turns_are_in_place_where_they_follow_the_conversations(found: list[tuple[str, int]], ids: list[str]) -> None:
    starts = [identity for identity, index in found if index == 0]
    places = [ids.index(identity) if identity in ids[:3] else -1 for identity in starts]
    in_place = all(
        index == 0 or (position and found[position - 1] == (identity, index - 1))
        for position, (identity, index) in enumerate(found)
    )
    in_order = all(later > earlier for earlier, later in pairwise([-1, *places]))
    with tempfile.TemporaryDirectory() as directory:
        conversations, part = Path(directory) / "conversations", Path(directory) / "turns"
        pq.write_table(pa.table({"id": pa.array(ids[:3], pa.string())}), conversations)
        columns = {
            "conversation_id": pa.array([identity for identity, _ in found], pa.string()),
            "item_index": pa.array([index for _, index in found], pa.int32()),
        }
        pq.write_table(pa.table(columns), part, row_group_size=4)
        assert (facts.count_misplaced(part, conversations, batch_rows=3) == 0) == (in_place and in_order)
