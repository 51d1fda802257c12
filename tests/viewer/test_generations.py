"""A page keeps the generation that it was made of. Where its files are gone, the next one is opened, and it is told."""

from pathlib import Path

import pytest

from exporter.contract import DAY, HOUR
from exporter.errors import DestinationError
from exporter.jobs.erase import erase
from exporter.progress import Quiet
from exporter.run.erasure_wish import Wish
from tests.jobs.erasing import KEYS
from tests.viewer.viewed import TABLES, UNTIL, Viewer, conversation, make, viewing

pytestmark = pytest.mark.anyio

ROWS = [conversation(f"c{n}", UNTIL - (n + 1) * HOUR, "Hello.") for n in range(6)]


LATER = [*ROWS, conversation("new", UNTIL + HOUR, "New.")]


async def replaced(root: Path) -> None:
    """Reads one conversation more, which takes the place of every file in the only partition."""
    before = set(root.rglob("part-*.parquet"))
    await make(root, LATER, until=UNTIL + DAY, tables=TABLES)
    assert not before & set(root.rglob("part-*.parquet"))


async def opened(viewer: Viewer) -> int:
    generation: int = (await viewer.get("about")).json["generation"]
    return generation


@pytest.fixture
async def root(tmp_path: Path) -> Path:
    place = tmp_path / "calls"
    for end in (UNTIL - 3 * HOUR, UNTIL):
        await make(place, ROWS, until=end, tables=TABLES, partition_by="none")
    return place


async def test_a_page_of_files_that_were_swept_is_told_to_ask_again(root: Path) -> None:
    async with viewing(root) as viewer:
        old = await opened(viewer)
        first = (await viewer.get("conversations", limit=2, generation=old)).json
        await replaced(root)
        answer = await viewer.get("conversations", limit=2, cursor=first["cursor"], generation=old)
        assert answer.status == 409
        new = viewer.export.generation
        assert new > old
        assert answer.json["error"] == (
            f"a run has replaced files of the export meanwhile. This shows generation {new} from now on; ask again"
        )
        for what, asked in (
            ("conversations", {}),
            ("conversation", {"id": "c1"}),
            ("turns", {"id": "c1"}),
            ("facets", {}),
        ):
            assert (await viewer.get(what, generation=old, **asked)).status == 409
            assert (await viewer.get(what, generation=new, **asked)).status == 200
        rest = (await viewer.get("conversations", cursor=first["cursor"], generation=new)).json["rows"]
        assert [row["id"] for row in (*first["rows"], *rest)] == [f"c{n}" for n in range(6)]


async def test_what_was_read_of_somebody_is_not_shown_any_more_once_they_are_erased(root: Path) -> None:
    async with viewing(root) as viewer:
        old = await opened(viewer)
        for identity in ("c1", "c4"):
            assert len((await viewer.get("turns", id=identity, generation=old)).json["turns"]) == 1
        await erase(root, Wish(ids=("c1",)), KEYS, Quiet(), now=UNTIL + DAY)
        assert (await viewer.get("turns", id="c1", generation=old)).status == 409
        assert (await viewer.get("turns", id="c1")).status == 404
        assert len((await viewer.get("turns", id="c4")).json["turns"]) == 1


async def test_a_page_that_is_loaded_again_shows_the_latest_generation(tmp_path: Path) -> None:
    root = tmp_path / "calls"
    await make(root, ROWS)
    async with viewing(root) as viewer:
        old = await opened(viewer)
        await make(root, LATER, until=UNTIL + DAY)
        assert (await viewer.found(generation=old))[0] == "c0"
        assert await opened(viewer) > old
        assert (await viewer.found())[0] == "new"
        assert (await viewer.get("conversations", generation=old)).status == 409


async def test_a_file_that_is_missing_while_nothing_has_changed_is_no_new_generation(root: Path) -> None:
    async with viewing(root) as viewer:
        for path in (root / "conversations").rglob("part-*.parquet"):
            path.unlink()
        answer = await viewer.get("conversations")
        assert (answer.status, "exporter verify" in answer.json["error"]) == (500, True)


async def test_an_export_that_is_not_whole_says_so(tmp_path: Path) -> None:
    await make(tmp_path / "part", ROWS, tables=TABLES)
    manifest = tmp_path / "part" / "_manifest.json"
    manifest.write_text(manifest.read_text().replace('"state": "complete"', '"state": "incomplete"'))
    async with viewing(tmp_path / "part") as viewer:
        about = (await viewer.get("about")).json
        assert (about["state"], about["notes"]) == (
            "incomplete",
            [f"A part of the range is missing: exporter status {tmp_path}/part says which, and how to go on"],
        )


async def test_where_no_export_is_nothing_is_served(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="no export here"):
        async with viewing(tmp_path):
            raise AssertionError("it opened")
