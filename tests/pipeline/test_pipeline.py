"""The pipeline as a whole, on a modelled server and a real disk: whatever ends a run, the next one makes it exact."""

import errno
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import exporter.pipeline
from exporter.contract import DAY, HOUR, SECOND
from exporter.errors import (
    AccessError,
    ExporterError,
    InterruptedExportError,
    StoreError,
)
from exporter.model import Interval
from exporter.pipeline import Pipeline
from exporter.store import parts
from exporter.store.disk import reporting
from exporter.store.local import LocalStore
from exporter.store.state import state_name
from tests.fetch.server_model import Behaviour, ServerModel, StoredRow
from tests.pipeline.harness import Destination, ModelSource, check_exact

T0 = 1_770_000_000 * SECOND // DAY * DAY
RANGE = Interval(T0 - DAY, T0 + 3 * DAY)
#: Nothing here takes a second; what waits for ever, by mistake, should fail a test, not hang it.
PATIENCE_SECONDS = 20

some = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def servers(draw: st.DrawFn) -> ServerModel:
    """Rows in three days, in bursts and groups, on a server with some of its quirks."""
    behaviour = Behaviour(
        cursor=draw(st.sampled_from(["strict", "inclusive"])),
        precision=draw(st.sampled_from([1, 1000, SECOND])),
        rounding=draw(st.sampled_from(["cut", "half_up", "half_even"])),
        page_cap=draw(st.sampled_from([3, 7, 1000])),
        bytes_cap=draw(st.sampled_from([None, None, 1000])),
    )
    rows: list[StoredRow] = []
    chance = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(0, 6))):
        start, spread = chance.randrange(3 * DAY), chance.choice([0, 0, 1000, SECOND, HOUR, DAY])
        for _ in range(chance.choice([1, 2, 5, 9, 30])):
            at = T0 + start + (chance.randrange(spread) if spread else 0)
            updated_at = at + chance.choice([0, 5]) * len(rows)
            rows.append(StoredRow(f"c{len(rows)}", at, updated_at, chance.choice([60, 100])))
    return ServerModel(rows, behaviour, seed=draw(st.integers(0, 99)))


budgets = st.sampled_from([1, 3_000, 96 * 1024 * 1024])


@contextmanager
def workspace(in_flight: int = 96 * 1024 * 1024) -> Iterator[Path]:
    """A directory of an example's own, and the bytes that may be in flight."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter.pipeline, "_BYTES_IN_FLIGHT", in_flight)
        yield Path(directory) / "export"


async def finish(destination: Destination, server: ServerModel) -> None:
    """Runs to the end, and sees that what lies there is what the server has."""
    destination.make_store = LocalStore
    with anyio.fail_after(PATIENCE_SECONDS):
        await destination.run(ModelSource(server))
    state = await destination.load()
    assert not state.left
    check_exact(destination, server)
    on_disk = {path.relative_to(destination.root).as_posix() for path in destination.root.rglob("*.parquet")}
    assert on_disk == set(state.files)
    assert not list((destination.root / "_exporter/staging").iterdir())


async def run_into(destination: Destination, source: ModelSource, *kinds: type[ExporterError]) -> bool:
    """A run that may end with an error of these kinds; whether it did."""
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            await destination.run(source)
    except kinds:
        return True
    return False


@st.composite
def destinations(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "partition_by": draw(st.sampled_from(["day", "hour", "none"])),
        "page_size": draw(st.sampled_from([2, 5, 1000])),
        "concurrency": draw(st.sampled_from([1, 3, 8])),
        "target_part_bytes": draw(st.sampled_from([1, 4_000, 1 << 30])),
    }


@some
@given(servers(), destinations(), budgets)
def test_every_row_is_committed_once(server: ServerModel, options: dict[str, Any], in_flight: int) -> None:
    with workspace(in_flight) as root:
        anyio.run(finish, Destination(root, RANGE, **options), server)


@some
@given(servers(), destinations(), budgets, st.lists(st.integers(1, 25), max_size=4))
def test_a_run_that_is_stopped_at_any_page_is_resumed_exactly(
    server: ServerModel, options: dict[str, Any], in_flight: int, stops: list[int]
) -> None:
    async def main(root: Path) -> None:
        destination = Destination(root, RANGE, **options)
        for stop in stops:
            pipelines: list[Pipeline] = []

            def interrupt(number: int, stop: int = stop, pipelines: list[Pipeline] = pipelines) -> None:
                if number == stop:
                    pipelines[0].stop(InterruptedExportError("interrupted"))

            with anyio.fail_after(PATIENCE_SECONDS):
                try:
                    await destination.run(ModelSource(server, interrupt), pipelines.append)
                except InterruptedExportError:
                    assert pipelines[0].spent.requests >= stop
            await destination.load()
            check_exact(destination, server)
        await finish(destination, server)

    with workspace(in_flight) as root:
        anyio.run(main, root)


@some
@given(servers(), destinations(), budgets, st.lists(st.integers(1, 25), max_size=3))
def test_a_source_that_fails_for_good_leaves_what_can_be_resumed(
    server: ServerModel, options: dict[str, Any], in_flight: int, failures: list[int]
) -> None:
    async def main(root: Path) -> None:
        destination = Destination(root, RANGE, **options)
        for failure in failures:

            def refuse(number: int, failure: int = failure) -> None:
                if number >= failure:
                    raise AccessError("the token was revoked")

            if await run_into(destination, ModelSource(server, refuse), AccessError):
                assert state_name(await destination.load()) == "incomplete"
                check_exact(destination, server)
        await finish(destination, server)

    with workspace(in_flight) as root:
        anyio.run(main, root)


class Disk:
    """Room for `writes` writes; then the disk is full, be it before or after the write was done."""

    def __init__(self, writes: int, *, after: bool) -> None:
        self.left = writes
        self.after = after

    @contextmanager
    def writing(self) -> Iterator[None]:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullStore(LocalStore):
    """A store on such a disk."""

    def __init__(self, root: Path, disk: Disk) -> None:
        super().__init__(root)
        self.disk = disk

    async def create(self, path: str, data: bytes) -> bool:
        with reporting(self.root / path), self.disk.writing():
            return await super().create(path, data)
        raise AssertionError

    async def replace(self, path: str, data: bytes) -> None:
        with reporting(self.root / path), self.disk.writing():
            await super().replace(path, data)

    async def publish(self, staged: Path, path: str) -> None:
        with reporting(self.root / path), self.disk.writing():
            await super().publish(staged, path)


@some
@given(servers(), destinations(), budgets, st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=3))
def test_a_disk_that_is_full_at_any_write_leaves_what_can_be_resumed(
    server: ServerModel, options: dict[str, Any], in_flight: int, disks: list[tuple[int, bool]]
) -> None:
    write = parts._HashingFile.write

    async def main(root: Path) -> None:
        destination = Destination(root, RANGE, **options)
        for writes, after in disks:
            disk = Disk(writes, after=after)

            def write_to_disk(self: Any, data: Any, disk: Disk = disk) -> int:
                with disk.writing():
                    return write(self, data)
                raise AssertionError

            destination.make_store = lambda root, disk=disk: FullStore(root, disk)  # type: ignore[misc]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(parts._HashingFile, "write", write_to_disk)
                await run_into(destination, ModelSource(server), StoreError)
            await destination.load()
            check_exact(destination, server)
        await finish(destination, server)

    with workspace(in_flight) as root:
        anyio.run(main, root)
