"""Rows of recordings and their media agree at every moment, whatever is added, replaced or cut short."""

import json
import tempfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contract import DAY, HOUR
from exporter.errors import DamagedPartError, StoreError
from exporter.layout import MANIFEST, is_media
from exporter.log.commits import load_commits, load_state
from exporter.log.publish import find_garbage
from exporter.model import RECORDINGS
from exporter.pipeline.media_sweep import find_media_garbage
from exporter.pipeline.recording_parts import choose_joins, join_recordings
from exporter.store.base import Content
from exporter.store.local.store import LocalStore
from tests.pipeline.recorded import (
    T0,
    Recorded,
    check_media,
    conversation,
    details,
    media_there,
    statuses_of,
)
from tests.toolkit.sizes import size_of

pytestmark = pytest.mark.anyio


class Ticking:
    """Is a clock that stands until it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_rows_and_their_media_are_in_the_export_after_a_run(tmp_path: Path) -> None:
    run = await Recorded.open(LocalStore(tmp_path))
    for number in range(12):
        await run.add(f"c{number}", T0 + number * HOUR * 5)
    await run.add("gone", T0, "gone")
    await run.rows.finish()
    assert run.rows.added == {"stored": 12, "gone": 1}
    assert (run.rows.media_files, run.rows.media_bytes) == (12, sum(len(f"c{number}") for number in range(12)))
    state = await load_state(run.store)
    assert statuses_of(tmp_path, state) == {**{f"c{number}": "stored" for number in range(12)}, "gone": "gone"}
    check_media(tmp_path, state)
    # Each partition has one part, whatever the number of commits.
    assert len(state.recordings) == 3
    assert len([one for one in await load_commits(run.store) if one.kind == "recordings"]) == 3
    manifest = json.loads((tmp_path / MANIFEST).read_bytes())
    assert manifest["generation"] == state.number
    assert manifest["media"]["files"] == 12
    assert manifest["recordings"]["stored"] == 12
    assert manifest["state"] == "complete"
    assert (tmp_path / "_SUCCESS").exists()
    assert await find_garbage(run.store, state) == []
    assert await find_media_garbage(run.store, state) == []


async def test_the_same_audio_in_a_partition_is_one_file(tmp_path: Path) -> None:
    run = await Recorded.open(LocalStore(tmp_path))
    for number in range(7):
        await run.add(f"c{number}", T0 + number * 6 * HOUR, audio=b"nobody speaks")
    await run.rows.finish()
    assert len(media_there(tmp_path)) == 2
    assert sum(file.media_files for file in run.state.recordings) == 2
    # One of them gets another recording: the others still need the file.
    await run.add("c0", T0, audio=b"somebody speaks")
    await run.rows.finish()
    check_media(tmp_path, run.state)
    assert len(media_there(tmp_path)) == 3
    for number in range(1, 4):
        await run.add(f"c{number}", T0 + number * 6 * HOUR, "gone")
    await run.rows.finish()
    check_media(tmp_path, run.state)
    assert len(media_there(tmp_path)) == 2


async def test_a_row_replaces_that_of_the_same_conversation_and_no_other(tmp_path: Path) -> None:
    run = await Recorded.open(LocalStore(tmp_path))
    for number in range(5):
        await run.add(f"c{number}", T0 + number, "failed" if number % 2 else "stored")
    await run.rows.finish()
    (before,) = run.state.recordings
    run = await Recorded.open(LocalStore(tmp_path))
    await run.add("c1", T0 + 1)
    await run.add("c9", T0 + 9, "expired")
    await run.rows.commit()
    assert statuses_of(tmp_path, run.state) == {
        "c0": "stored",
        "c1": "stored",
        "c2": "stored",
        "c3": "failed",
        "c4": "stored",
        "c9": "expired",
    }
    assert before.path not in run.state.files
    # In one run, and before any commit.
    await run.add("c9", T0 + 9, "failed")
    await run.add("c9", T0 + 9)
    await run.rows.finish()
    assert statuses_of(tmp_path, run.state)["c9"] == "stored"
    check_media(tmp_path, run.state)


async def test_rows_are_committed_by_number_or_by_the_minute(tmp_path: Path) -> None:
    clock = Ticking()
    run = await Recorded.open(LocalStore(tmp_path), clock)
    before = run.state.number
    for number in range(4):
        await run.add(f"c{number}", T0 + number)
    assert run.state.number == before
    await run.add("c4", T0 + 4)
    assert (run.state.number, run.state.recordings[0].rows) == (before + 1, 5)
    await run.add("c5", T0 + 5)
    clock.now += 59
    await run.rows.commit_due()
    assert run.state.number == before + 1
    clock.now += 1
    await run.rows.commit_due()
    assert run.state.number == before + 2
    clock.now += 1000
    await run.rows.commit_due()
    await run.rows.commit()
    assert run.state.number == before + 2


class SlowStore(LocalStore):
    """Is a store in which publishing parts of recordings waits for `gate`, and fails while it `is_full`."""

    is_full = False

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = anyio.Event()

    async def publish(self, staged: Path, path: str) -> None:
        if path.startswith(RECORDINGS):
            await self.gate.wait()
            if self.is_full:
                raise StoreError("the disk is full")
        await super().publish(staged, path)


async def test_rows_whose_commit_fails_are_in_the_next_one(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    run = await Recorded.open(store)
    await run.add("c0", T0, "failed")
    await run.add("c1", T0 + 1)
    run.rows.looked({"created_date": "2024-10-04"}, 1)
    await run.hold(conversation("c0", T0, details()))
    store.is_full = True

    async def fail() -> None:
        with pytest.raises(StoreError, match="full"):
            await run.rows.commit()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            await anyio.wait_all_tasks_blocked()
            await run.add("c0", T0, "gone")
            store.gate.set()
    store.is_full = False
    await run.rows.finish()
    assert statuses_of(tmp_path, run.state) == {"c0": "gone", "c1": "stored"}
    assert run.state.looked_at == {"created_date=2024-10-04": 1}
    check_media(tmp_path, run.state)


async def test_what_was_looked_at_is_committed_with_the_rows_and_alone_only_if_it_is_news(tmp_path: Path) -> None:
    run = await Recorded.open(LocalStore(tmp_path))
    await run.hold(conversation("c0", T0, details()))
    seen, (day, _) = run.state.number, run.stage.tables.place(T0)
    await run.add("c0", T0)
    run.rows.looked(day, seen)
    await run.rows.finish()
    assert (run.state.number, run.state.looked_at) == (seen + 1, {"created_date=2024-10-04": seen})
    run.rows.looked(day, run.state.number)
    await run.rows.finish()
    assert run.state.number == seen + 1
    await run.hold(conversation("c1", T0 + 1, details()))
    run.rows.looked(day, run.state.number)
    await run.rows.finish()
    assert run.state.number == seen + 3


async def test_no_task_waits_for_the_commit_of_another(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    run = await Recorded.open(store)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(run.add, f"c{number}", T0 + number)
            await anyio.wait_all_tasks_blocked()
            for number in range(5, 23):
                await run.add(f"c{number}", T0 + number)
            assert not run.state.recordings
            store.gate.set()
        await run.rows.finish()
    assert len(statuses_of(tmp_path, run.state)) == 23
    check_media(tmp_path, run.state)


class StoppingStore(LocalStore):
    """Is a store that stops at one step, and goes on failing."""

    def __init__(self, root: Path, steps: int) -> None:
        super().__init__(root)
        self.steps = steps

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise StoreError("the disk is full")

    async def create(self, path: str, data: bytes) -> bool:
        self._step()
        return await super().create(path, data)

    async def replace(self, path: str, data: Content) -> None:
        self._step()
        await super().replace(path, data)

    async def publish(self, staged: Path, path: str) -> None:
        self._step()
        await super().publish(staged, path)

    async def publish_media(self, staged: Path, path: str) -> None:
        self._step()
        await super().publish_media(staged, path)

    async def delete(self, *paths: str) -> None:
        for path in paths:
            self._step()
            await super().delete(path)


async def fill(run: Recorded) -> None:
    """Adds rows, and replaces some of them, in two runs' worth of commits."""
    for number in range(9):
        await run.add(
            f"c{number}", T0 + number * 6 * HOUR, "failed" if number in (1, 7) else "stored", b"%d" % (number // 2)
        )
    await run.rows.commit()
    for number in (1, 3, 7, 8):
        await run.add(f"c{number}", T0 + number * 6 * HOUR, "gone" if number == 3 else "stored", b"new %d" % number)
    await run.rows.finish()


EXPECTED = {f"c{number}": "gone" if number == 3 else "stored" for number in range(9)}


async def test_stopped_at_any_step_no_row_lacks_its_media_and_the_next_run_leaves_no_garbage(tmp_path: Path) -> None:
    stopped = 0
    for steps in range(0, 45, size_of(5, 1)):
        root = tmp_path / str(steps)
        run = await Recorded.open(LocalStore(root))
        stopping = StoppingStore(root, steps + 2)
        try:
            run = await Recorded.open(stopping)
            await fill(run)
        except StoreError:
            stopped += 1
        state = await load_state(LocalStore(root))
        assert statuses_of(root, state).keys() <= EXPECTED.keys()
        check_media(root, state, is_swept=False)
        # A row that is in the log is there to stay, and what lies there without one is swept.
        run = await Recorded.open(LocalStore(root))
        await fill(run)
        assert statuses_of(root, run.state) == EXPECTED
        check_media(root, run.state)
        assert await find_garbage(run.store, run.state) == []
        assert json.loads((root / MANIFEST).read_bytes())["generation"] == run.state.number
        assert (root / "_SUCCESS").exists()
    assert 4 <= stopped < 45


adds = st.tuples(
    st.integers(0, 6), st.sampled_from(("stored", "stored", "gone", "failed", "expired", "refused")), st.integers(0, 2)
)
steps = st.lists(st.one_of(adds, st.sampled_from(("commit", "finish", "again"))), max_size=25)


@settings(max_examples=size_of(15, 300), deadline=None)
@given(steps, st.sampled_from(("day", "none")))
def test_any_sequence_of_rows_leaves_what_was_last_said_of_each(steps: list[Any], partition_by: str) -> None:
    async def main(root: Path) -> None:
        run = await Recorded.open(LocalStore(root), partition_by=partition_by)
        model: dict[str, str] = {}
        for step in [*steps, "finish"]:
            match step:
                case "commit":
                    await run.rows.commit()
                case "finish" | "again":
                    await run.rows.finish()
                    assert statuses_of(root, run.state) == model
                    check_media(root, run.state)
                    assert await load_state(run.store) == run.state
                    if step == "again":
                        run = await Recorded.open(LocalStore(root), partition_by=partition_by)
                case number, status, audio:
                    name = f"c{number}"
                    await run.add(name, T0 + number * 8 * HOUR, status, b"%d" % audio)
                    model[name] = status
        days = {number * 8 * HOUR // DAY for number in range(7) if f"c{number}" in model}
        assert len(run.state.recordings) == (len(days) if partition_by == "day" else bool(days))

    with tempfile.TemporaryDirectory() as root:
        anyio.run(main, Path(root))


async def test_a_damaged_part_is_named_and_nothing_is_deleted(tmp_path: Path) -> None:
    run = await Recorded.open(LocalStore(tmp_path))
    await run.add("c0", T0)
    await run.rows.finish()
    (part,) = run.state.recordings
    (tmp_path / part.path).write_bytes(b"PAR1 and no more")
    run = await Recorded.open(LocalStore(tmp_path))
    with pytest.raises(DamagedPartError, match=part.path):
        await find_media_garbage(run.store, run.state)
    await run.add("c0", T0)
    with pytest.raises(DamagedPartError, match=part.path):
        await run.rows.commit()
    assert len(media_there(tmp_path)) == 1


@pytest.mark.parametrize("partition_by", ["day", "none"])
async def test_garbage_is_what_no_row_of_its_partition_names(tmp_path: Path, partition_by: str) -> None:
    run = await Recorded.open(LocalStore(tmp_path), partition_by=partition_by)
    await run.add("c0", T0)
    await run.add("c1", T0 + DAY)
    await run.rows.finish()
    stale = []
    for path in sorted(media_there(tmp_path)):
        stale.append(path.rpartition("/")[0] + f"/{'0' * 64}.mp3")
        (tmp_path / stale[-1]).write_bytes(b"stale")
        (tmp_path / path).with_name("note.txt").write_text("somebody's")
    stale = sorted(set(stale))
    assert all(is_media(path) for path in stale)
    assert await find_media_garbage(run.store, run.state) == stale
    first = run.stage.tables.place(T0)[0]
    assert await find_media_garbage(run.store, run.state, [first]) == stale[:1]
    assert await find_media_garbage(run.store, run.state, []) == []


async def test_small_parts_are_joined_in_their_partition_alone(tmp_path: Path) -> None:
    run = await Recorded.open(LocalStore(tmp_path))
    for number in range(6):
        await run.add(f"c{number}", T0 + number % 2 * DAY + number, audio=b"same")
        await run.rows.commit()
    assert len(run.state.recordings) == 6
    # The file that parts share counts once when they are joined.
    assert sum(file.media_files for file in run.state.recordings) == 6
    looked_at = run.state.looked_at
    await join_recordings(run.log, run.stage, run.committer)
    assert sorted(file.rows for file in run.state.recordings) == [3, 3]
    assert sum(file.media_files for file in run.state.recordings) == 2
    assert run.state.looked_at == looked_at
    assert (tmp_path / "_SUCCESS").exists()
    check_media(tmp_path, run.state)
    assert not list(choose_joins(run.state.recordings))
    sizes = [file.size_bytes for file in run.state.recordings]
    assert not list(choose_joins(run.state.recordings, least_bytes=min(sizes)))


async def test_a_commit_that_was_begun_is_finished_though_its_task_is_cancelled(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    run = await Recorded.open(store)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(run.add, f"c{number}", T0 + number)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            store.gate.set()
        assert len(statuses_of(tmp_path, await load_state(store))) == 5
        await run.rows.finish()
    assert len(statuses_of(tmp_path, run.state)) == 5
