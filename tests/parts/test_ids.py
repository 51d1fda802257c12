"""Repeated ids are those that counting in memory finds, whatever the runs, and whatever hashes collide."""

from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.parts.ids import Hashes, Span, Suspects, hash_ids, ids_among

#: They are few, so that they repeat, and from all over the range, so that every cut has some.
values = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3), st.sampled_from([-(2**63), 2**63 - 1, 2**56, 2**56 - 1])
)


@settings(deadline=None)
@given(st.lists(st.lists(values, max_size=20), max_size=20), st.integers(1, 9))
def test_repeated_hashes_are_those_that_a_counter_finds(added: list[list[int]], run_length: int) -> None:
    with Hashes(run_length) as hashes:
        for some in added:
            hashes.add(array("q", some))
        counts = Counter(value for some in added for value in some)
        assert len(hashes) == counts.total()
        assert hashes.repeated(1000) == {value for value, count in counts.items() if count > 1}


@settings(deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=50), st.integers(0, 60))
def test_no_more_than_asked_for(distinct: list[int], at_most: int) -> None:
    with Hashes(7) as hashes:
        hashes.add(array("q", distinct))
        hashes.add(array("q", distinct))
        found = hashes.repeated(at_most)
    assert len(found) == min(at_most, len(distinct))
    assert found <= set(distinct)


class CollidingId(str):
    """Is a text whose hash is that of many others."""

    def __hash__(self) -> int:
        return len(self)

    __eq__ = str.__eq__


@settings(deadline=None)
@given(st.lists(st.lists(st.text("ab", max_size=3), max_size=6), max_size=6))
def test_ids_of_one_hash_are_told_apart(parts: list[list[str]]) -> None:
    class Ids:
        def __init__(self, ids: list[str]) -> None:
            self.ids = ids

        def to_pylist(self) -> list[str]:
            return [CollidingId(identity) for identity in self.ids]

    by_name = {str(number): ids for number, ids in enumerate(parts)}

    def read(part: str) -> Iterator[Ids]:
        yield Ids(by_name[part][:2])
        yield Ids(by_name[part][2:])

    suspects = Suspects(frozenset(range(4)))
    for name in by_name:
        suspects.look_into(name, read(name))
    repeated = suspects.repeated()
    counts = Counter(identity for ids in parts for identity in ids)
    assert {str(identity) for identity in repeated} == {identity for identity, count in counts.items() if count > 1}
    for identity, places in repeated.items():
        assert places == {name: ids.count(str(identity)) for name, ids in by_name.items() if str(identity) in ids}


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=4), max_size=5))
def test_ids_are_found_by_their_hashes(parts: list[list[str]]) -> None:
    by_name = {str(number): pa.array(ids, pa.string()) for number, ids in enumerate(parts)}
    with Hashes(3) as hashes:
        for ids in by_name.values():
            hashes.add(hash_ids(ids))
        suspicious = hashes.repeated(1000)
    suspects = Suspects(suspicious)
    for name, ids in by_name.items():
        suspects.look_into(name, [ids])
    repeated = suspects.repeated()
    counts = Counter(identity for ids in parts for identity in ids)
    assert set(repeated) == {identity for identity, count in counts.items() if count > 1}


def test_ids_are_looked_for_where_statistics_do_not_rule_them_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({"id": [f"{number:04}" for number in range(1000)]}), path, row_group_size=100)
    read = [0]
    whole = pq.ParquetFile.read_row_group

    def counted(part: pq.ParquetFile, *arguments: object, **options: object) -> pa.Table:
        read[0] += 1
        return whole(part, *arguments, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    for wanted, found, groups in (
        (["0150", "0199", "nobody"], {"0150", "0199"}, 9),
        (["0150", "0199"], {"0150", "0199"}, 1),
        (["1000", "1001"], set(), 0),
        ([], set(), 0),
    ):
        read[0] = 0
        span = Span()
        span.widen(pa.array(wanted, pa.string()))
        assert ids_among(path, pa.array(wanted, pa.string()), span) == found
        assert read[0] == groups
