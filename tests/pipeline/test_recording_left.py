"""What is left of a partition is what a model of its rows says, in pieces of any size."""

import json
import secrets
import tempfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import DAY, HOUR, Instant
from exporter.encode.recordings import url_hash
from exporter.layout import MEDIA, STAGING
from exporter.log.commits import load_state
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.pipeline.recording_left import Left, Mark, is_changed, left_in, mark_of_row
from exporter.store.local.store import LocalStore
from exporter.store.location import Url
from exporter.store.open import open_store
from tests.pipeline.recorded import T0, Recorded, conversation, details, stored_row
from tests.toolkit.clouds import Cloud
from tests.toolkit.sizes import size_of

pytestmark = pytest.mark.anyio

NOW = T0 + DAY


def identify(text: str) -> tuple[str | None, float | None]:
    found = json.loads(text)
    return url_hash(found["recording_url"].partition("?")[0]), found.get("duration")


async def left_of(run: Recorded, created_at: Instant = T0, **options: Any) -> Left:
    found = Left()
    options = {"now": NOW, "wait_seconds": 0, "identify": identify, **options}
    partition, _ = run.stage.tables.place(created_at)
    async for left in left_in(run.store, run.state, partition, **options):
        assert not found.listed.keys() & left.listed.keys()
        found += left
    return found


conversations = st.tuples(
    st.integers(0, 23),
    st.sampled_from((None, details(), details("https://host.example.com/two"), '{"recording_url": null}')),
    st.sampled_from(("completed", "failed", "in_progress")),
    st.sampled_from((None, None, "stored", "stored", "gone", "failed", "expired", "refused")),
)


@settings(max_examples=size_of(10, 300), deadline=None)
@given(
    st.lists(conversations, min_size=1, max_size=12),
    st.integers(1, 4),
    st.sampled_from((1, 3, 100)),
    st.integers(0, 24),
    st.sets(st.sampled_from(("failed", "expired", "gone"))),
)
def test_what_is_left_is_what_a_model_says(
    rows: list[tuple[int, str | None, str, str | None]], parts: int, rows_at_once: int, wait_hours: int, again: set[str]
) -> None:
    async def main(root: Path) -> None:
        run = await Recorded.open(LocalStore(root))
        ordered = sorted(enumerate(rows), key=lambda row: row[1][0])
        size = -(-len(ordered) // parts)
        for start in range(0, len(ordered), size):
            await run.hold(
                *(
                    conversation(f"c{number}", T0 + hour * HOUR + number, recording, status)
                    for number, (hour, recording, status, _) in ordered[start : start + size]
                )
            )
        listed, late = {}, {}
        for number, (hour, recording, status, outcome) in enumerate(rows):
            name, created_at = f"c{number}", T0 + hour * HOUR + number
            if outcome is not None:
                await run.rows.add(stored_row(name, created_at, outcome, url="https://host.example.com/one"))
            has_url = recording is not None and "https" in recording
            is_done = outcome is not None and outcome not in again
            is_another = outcome == "stored" and recording is not None and "/two" in recording
            if is_another or ((has_url or outcome is not None) and not is_done):
                listed[name] = created_at
            elif not has_url and outcome is None and status != "in_progress" and created_at >= NOW - wait_hours * HOUR:
                late[name] = created_at
        await run.rows.finish()
        found = await left_of(run, wait_seconds=wait_hours * 3600, again=again, rows_at_once=rows_at_once)
        assert (found.listed, found.late) == (listed, late)
        assert found.marks == {
            f"c{number}": identify(recording)
            for number, (_, recording, _, _) in enumerate(rows)
            if f"c{number}" in listed and recording is not None and "https" in recording
        }

    with tempfile.TemporaryDirectory() as root:
        anyio.run(main, Path(root))


async def test_another_duration_is_another_recording_and_what_nobody_says_is_none(tmp_path: Path) -> None:
    run = await Recorded.open(LocalStore(tmp_path))
    url = "https://host.example.com/one"
    await run.hold(conversation("c0", T0, details(url, 3.5)), conversation("c1", T0 + 1, details(url, 9.5)))
    for number, duration in enumerate((3.5, 3.5)):
        await run.rows.add(stored_row(f"c{number}", T0 + number, "stored", url=url, duration=duration))
    await run.rows.finish()
    assert (await left_of(run)).listed == {"c1": T0 + 1}
    assert (await left_of(run, identify=lambda _: (None, None))).listed == {}


async def test_an_export_without_the_details_has_only_late_ones(tmp_path: Path) -> None:
    run = await Recorded.open(LocalStore(tmp_path), fields=("id", "status", "created_at", "updated_at"))
    file = await run.hold(conversation("c0", T0, None), conversation("c1", T0 + 1, None, "in_progress"))
    assert (file.recorded_rows, file.unrecorded_rows) == (0, 1)
    assert await left_of(run, wait_seconds=86_400) == Left({}, {"c0": T0})
    assert await left_of(run) == Left()


MARKS = st.tuples(st.sampled_from((None, "one", "two")), st.sampled_from((None, 1.0, 2.0)))


@given(MARKS, MARKS)
def test_what_was_fetched_is_not_fetched_again_until_its_conversation_changes(served: Mark, stored: Mark) -> None:
    assert not is_changed(stored, (mark_of_row(served, stored), served[1]))


@given(MARKS, MARKS.filter(lambda mark: None not in mark), MARKS.filter(lambda mark: mark[0] is not None))
def test_a_conversation_that_changes_its_place_is_told(served: Mark, stored: Mark, then: Mark) -> None:
    row = (mark_of_row(served, stored), served[1])
    assert is_changed(then, row) or row[0] is None or then[0] == stored[0]


class ReadNothing(LocalStore):
    """Is a store that gives no file to read."""

    def fetched(self, path: str) -> Any:
        raise AssertionError(path)


async def test_parts_without_any_that_may_be_left_are_not_read(tmp_path: Path) -> None:
    run = await Recorded.open(LocalStore(tmp_path))
    await run.hold(conversation("c0", T0, None))
    run.store = ReadNothing(tmp_path)
    assert await left_of(run) == Left()
    with pytest.raises(AssertionError):
        await left_of(run, wait_seconds=86_400)


async def test_an_object_store_gives_the_same(s3: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.make_bucket(bucket := f"recorded-{secrets.token_hex(4)}")
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    async with open_store(Url("s3", bucket, "pre/fix")) as store:
        run = await Recorded.open(store)
        await run.hold(*(conversation(f"c{number}", T0 + number, details()) for number in range(6)))
        for number in range(4):
            await run.add(f"c{number}", T0 + number, "failed" if number == 3 else "stored")
        await run.rows.finish()
        assert (await left_of(run)).listed == {f"c{number}": T0 + number for number in (3, 4, 5)}
        run = await Recorded.open(store)
        await run.add("c0", T0, audio=b"new")
        await run.add("c3", T0 + 3)
        await run.rows.finish()
        state = await load_state(store)
        assert [file.statuses for file in state.recordings] == [{"stored": 4}]
        assert len(await store.list(MEDIA)) == 4
        assert await store.list(STAGING) == []
        assert await find_media_garbage(store, state) == []
