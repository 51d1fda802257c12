"""Only names become parts of paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import BEGINNING, END_OF_TIME
from exporter.layout import (
    commit_number,
    commit_path,
    is_encrypted,
    is_export_file,
    is_media,
    is_part,
    media_extension,
    media_partition,
    media_path,
    part_path,
    partition_text,
    quarantine_path,
    staging_path,
)
from exporter.partitions import partition_of
from exporter.settings import PARTITIONS, PartitionBy
from exporter.zones import known_zones

INSTANTS = st.integers(BEGINNING, END_OF_TIME - 1)


def test_paths_are_those_of_the_design() -> None:
    at = 1_770_699_600_000_000
    day, hour, week, month, none = (partition_of(at, by)[0] for by in ("day", "hour", "week", "month", "none"))
    assert part_path("conversations", day, "7") == "conversations/created_date=2026-02-10/part-7.parquet"
    assert part_path("turns", hour, "7") == "turns/created_hour=2026-02-10T05/part-7.parquet"
    assert part_path("turns", week, "7") == "turns/created_week=2026-W07/part-7.parquet"
    assert part_path("turns", month, "7") == "turns/created_month=2026-02/part-7.parquet"
    assert part_path("turns", none, "a-b_1") == "turns/part-a-b_1.parquet"
    assert staging_path("7") == "_exporter/staging/7.partial"
    assert quarantine_path("7") == "_exporter/quarantine/7.jsonl"
    assert quarantine_path("7", encrypted=True) == "_exporter/quarantine/7.jsonl.enc"
    assert commit_path(1) == "_exporter/commits/00000001.json"


@given(
    INSTANTS,
    st.sampled_from(PARTITIONS),
    st.sampled_from(sorted(known_zones())),
    st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,20}", fullmatch=True),
)
def test_every_part_path_is_known_as_one(instant: int, by: PartitionBy, zone: str, name: str) -> None:
    path = part_path("conversations", partition_of(instant, by, zone)[0], name)
    assert is_part(path)
    assert is_export_file(path)
    assert is_export_file(quarantine_path(name))
    assert is_encrypted(quarantine_path(name, encrypted=True))


@pytest.mark.parametrize("name", ["", "..", "a/b", "a.b", "_a", "-a", "a\n", "é", "a b", "x" * 129])
def test_what_is_no_name_becomes_no_path(name: str) -> None:
    for make in (staging_path, quarantine_path, lambda text: part_path("turns", {}, text)):
        with pytest.raises(ValueError, match="not a name"):
            make(name)


def test_what_is_no_partition_becomes_no_path() -> None:
    for table, partition in (("other", {}), ("turns", {"created_date": "../x"}), ("turns", {"status": "1"})):
        with pytest.raises(ValueError, match="not a part"):
            part_path(table, partition, "1")


@pytest.mark.parametrize(
    "path",
    [
        "conversations/notes.parquet",
        "conversations/created_date=2026-02-10/part-1.parquet.partial",
        "conversations/created_date=2026-02-10/deeper/part-1.parquet",
        "analysis/part-1.parquet",
        "part-1.parquet",
    ],
)
def test_a_strangers_file_is_no_part(path: str) -> None:
    assert not is_part(path)
    assert not is_export_file(path)


@given(st.integers(1, 99_999_999))
def test_commit_numbers_come_back(number: int) -> None:
    assert commit_number(commit_path(number)) == number


def test_other_names_are_no_commits() -> None:
    assert commit_number("_exporter/commits/1.json") is None
    assert commit_number("_exporter/commits/00000001.json.swp") is None
    for number in (0, -1, 100_000_000):
        with pytest.raises(ValueError, match="no such commit"):
            commit_path(number)


@given(st.sampled_from(PARTITIONS), st.sampled_from(["mp3", "wav", "mp3.enc", "bin.enc"]))
def test_a_path_of_media_says_where_it_belongs_and_what_it_is(by: PartitionBy, extension: str) -> None:
    partition = partition_of(1_770_699_600_000_000, by)[0]
    path = media_path(partition, "0" * 64, extension)
    assert is_media(path)
    assert (media_partition(path), media_extension(path)) == (partition_text(partition), extension)
    assert is_encrypted(path) == extension.endswith(".enc")


@pytest.mark.parametrize("extension", ["", "enc.enc.enc", "mp3.exe", "mp3.", "../x"])
def test_no_other_path_is_media(extension: str) -> None:
    with pytest.raises(ValueError, match="not media"):
        media_path({}, "0" * 64, extension)
