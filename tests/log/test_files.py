"""Live files that came as columns are what they would be as objects, whatever is added and taken away."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.coverage import Coverage, Interval
from exporter.layout import CONVERSATIONS, RECORDINGS, TURNS, partition_text
from exporter.log.columns import NUMBERS, PERHAPS, TEXTS, Columns
from exporter.log.files import Files, TableParts
from exporter.log.packed import integers_of, pack, texts_of
from exporter.model import DataFile, ExportFile, QuarantineFile

_COUNTS = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9), max_size=2)


@st.composite
def parts(draw: st.DrawFn) -> DataFile:
    table = draw(st.sampled_from([CONVERSATIONS, TURNS, RECORDINGS]))
    day = draw(st.sampled_from(["2026-02-10", "2026-02-11", ""]))
    start = draw(st.integers(0, 50))
    end = start + draw(st.integers(1, 10))
    directory = draw(st.sampled_from([table, f"{table}/created_date={day}", "elsewhere/é", ""]))
    return DataFile(
        path="/".join(filter(None, [directory, f"part-{draw(st.integers(0, 12))}.parquet"])),
        rows=draw(st.integers(0, 1 << 40)),
        size_bytes=draw(st.integers(0, 9)),
        sha256=draw(st.sampled_from(["", "ab", "\n"])),
        table=table,
        partition={"created_date": day} if day else {},
        window=Interval(start, end),
        created_at_min=start,
        created_at_max=end - 1,
        absent=draw(_COUNTS),
        withheld_rows=draw(st.integers(0, 3)),
        open_rows=draw(st.integers(0, 3)),
        recorded_rows=draw(st.none() | st.integers(0, 3)),
        unrecorded_rows=draw(st.none() | st.integers(0, 3)),
        statuses=draw(_COUNTS),
        media_files=draw(st.integers(0, 3)),
        media_bytes=draw(st.integers(0, 3)),
        policy=draw(st.sampled_from(["", "p"])),
        key=draw(st.sampled_from(["", "k"])),
    )


_QUARANTINED = st.builds(
    QuarantineFile,
    path=st.sampled_from(["_exporter/quarantine/a.jsonl", "_exporter/quarantine/b.jsonl"]),
    rows=st.integers(0, 3),
    size_bytes=st.integers(0, 3),
    sha256=st.just(""),
)
_STEPS = st.lists(st.one_of(parts(), parts(), _QUARANTINED, st.just("pack"), st.integers(0, 20)), max_size=40)


@given(_STEPS, st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=3))
def test_files_are_those_that_a_dict_would_hold(
    steps: list[ExportFile | str | int], spans: list[tuple[int, int]]
) -> None:
    files, expected = Files(), dict[str, ExportFile]()
    for step in steps:
        if isinstance(step, ExportFile):
            if step.path in expected:
                assert files.pop(step.path) == expected.pop(step.path)
            files.add(step)
            expected[step.path] = step
        elif isinstance(step, str):
            before, files = files, _taken_up(files)
            assert before == files
            expected = {path: file for path, file in expected.items() if isinstance(file, DataFile)} | expected
        elif expected:
            copy, path = Files(files), [*expected][step % len(expected)]
            assert files.pop(path) == expected.pop(path)
            assert path in copy
            assert path not in files
    assert files == expected
    assert [*files] == [*expected]
    assert len(files) == len(expected)
    assert [*files.values()] == [*expected.values()]
    assert {f"{at}/{name}".removeprefix("/") for at, names in files.names().items() for name in names} == {*expected}
    assert dict(files.sizes()) == {path: file.size_bytes for path, file in expected.items()}
    for path, file in expected.items():
        assert files[path] == file
    assert not files.keys() & {"conversations/part-none.parquet"}
    live = [file for file in expected.values() if isinstance(file, DataFile)]
    assert [*files.only(DataFile)] == [file.path for file in live]
    assert [*files.each("path", "table", "partition_text", "window.end", "absent", "key")] == [
        (file.path, file.table, partition_text(file.partition), file.window.end, file.absent, file.key) for file in live
    ]
    conversations, within = TableParts(files, CONVERSATIONS), Coverage(Interval(at, at + size) for at, size in spans)
    assert [*conversations] == [file for file in live if file.table == CONVERSATIONS]
    assert conversations.within(within) == [file for file in conversations if Coverage([file.window]) & within]


def _taken_up(files: Files) -> Files:
    """Returns the same files as a checkpoint would bring them: parts first, without a value that none of them has."""
    packed = files.packed()
    texts = {name: texts_of(pack(packed.own[name])) for name in TEXTS}
    integers = {name: integers_of(pack(packed.own[name])) for name in (*NUMBERS, *PERHAPS)}
    columns = Columns(packed.places, packed.tallies, {**texts, **integers})
    columns.check()
    assert {*columns.own["place"]} == {*range(len(columns.places))}
    assert {*columns.own["tally"]} == {*range(len(columns.tallies))}
    found = Files(columns)
    for file in files.values():
        if not isinstance(file, DataFile):
            found.add(file)
    return found
