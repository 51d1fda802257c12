"""Puts a kept dataset through everything that it must survive, with the exporter of today or of tomorrow.

`python -m tests.datasets.trials FORMAT DIRECTORY COLUMN` does so with one column more than the exporter of today has.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import anyio
import pyarrow.parquet as pq

from exporter import contract

HERE = Path(__file__).parent


def copy_of(version: int, directory: Path) -> Path:
    """Returns a copy of a kept dataset with the modes that its exporter set, which the repository does not keep."""
    root = directory / f"format-{version}"
    shutil.copytree(HERE / f"format-{version}", root)
    root.chmod(0o700)
    for path in root.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return root


def rows_at(root: Path) -> dict[str, dict[str, Any]]:
    """Returns, by id, the rows of the files that the manifest names, in the columns that each file has."""
    manifest = json.loads((root / "_manifest.json").read_bytes())
    paths = [root / file["path"] for file in manifest["tables"]["conversations"]["files"]]
    found = [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


def columns_at(root: Path) -> list[str]:
    manifest = json.loads((root / "_manifest.json").read_bytes())
    return [column["name"] for column in manifest["tables"]["conversations"]["schema"]]


def live(root: Path, column: str | None) -> None:
    """Reads, verifies, opens, syncs and compacts a dataset. `column` is one that its exporter did not know."""
    before, columns = rows_at(root), columns_at(root)
    check_as_found(root, before, columns)
    identity, other = anyio.run(bring_up_to_date, root, column)
    after = rows_at(root)
    assert columns_at(root) == [*contract.FIELD_NAMES, "extra"]
    assert after.keys() == before.keys()
    expected = dict(before)
    for known, summary in ((identity, "summed up anew"), (other, "and again")):
        expected[known] = {**before[known], "summary": summary}
        assert after[known]["summary"] == summary
        assert after[known].pop("updated_at") >= before[known]["updated_at"]
        del expected[known]["updated_at"]
    for known, row in after.items():
        new = {name: row.pop(name, None) for name in set(row) - set(columns)}
        assert row == expected[known], known
        # Rows that were not read again do not have the new column.
        assert set(new) <= {column}
        assert new.get(column or "") == ("en" if column and known == other else None)
    anyio.run(compact_and_check, root, column)


def check_as_found(root: Path, rows: dict[str, dict[str, Any]], columns: list[str]) -> None:
    from exporter import open_dataset
    from exporter.errors import UsageError
    from exporter.jobs.status import status
    from exporter.jobs.verify import verify

    async def look() -> None:
        verified = await verify(root, now=0)
        assert verified.problems == ()
        assert (verified.state, verified.quarantine_files, verified.ids_compared) == ("unproven", 1, len(rows))
        found = await status(root)
        assert (found.rows, found.quarantined_rows, found.unproven) == (len(rows), 1, 1)

    anyio.run(look)
    now, then = open_dataset(root), open_dataset(root, generation=8)
    assert now.schema.names == [*columns, "created_date"]
    shown = {row["id"]: row for row in now.to_table(columns=columns).to_pylist()}
    assert shown == rows
    # The sync has replaced one file, and has kept the old one.
    kept = {row["id"]: row for row in then.to_table(columns=columns).to_pylist()}
    (changed,) = [identity for identity in rows if kept[identity] != rows[identity]]
    assert (rows[changed]["summary"], kept.keys()) == ("summed up anew", rows.keys())
    assert len({*now.files} - {*then.files}) == len({*then.files} - {*now.files}) == 1
    try:
        open_dataset(root, generation=10)
    except UsageError as error:
        assert "1 to 9" in str(error)
    else:
        raise AssertionError


async def bring_up_to_date(root: Path, column: str | None) -> tuple[str, str]:
    """Returns the rows that have changed at the source: before the dataset was last synced, and since."""
    from exporter.jobs.sync import sync
    from exporter.options.spec import ExportSpec
    from exporter.progress import Quiet
    from exporter.run.context import RunContext
    from exporter.sandbox import TOKEN, serve
    from tests.datasets.maker import BEHAVIOUR, UNTIL, change, rows

    # This is soon after the last run: a row that was not over then is read again, and is unchanged.
    now = UNTIL + contract.DAY + 2 * contract.HOUR
    async with serve(rows(), BEHAVIOUR, clock=lambda: now) as source:
        identity = change(source, UNTIL + contract.DAY + 2 * contract.MINUTE - contract.HOUR)
        other = next(str(row.facts()["id"]) for row in rows()[15:] if len(row.facts()) > 4)
        more = {column: "en"} if column else {}
        source.update(other, now - contract.HOUR, summary="and again", **more)
        wanted = ExportSpec(
            base_url=source.url, token=TOKEN, page_size=8, part_size="8kB", trust_clock="server"
        ).resolve({})
        synced = await sync(root, wanted.asked, RunContext(wanted.settings, wanted.credentials, Quiet()))
    assert (synced.updated, synced.inserted, synced.removed, synced.rewritten) == (1, 0, 0, 1)
    assert synced.unchanged > 0
    assert synced.summary.quarantined_rows == 1
    return identity, other


async def compact_and_check(root: Path, column: str | None) -> None:
    """Checks that compaction makes one part a day of old and new ones, with the columns of today."""
    from exporter.jobs.compact import compact
    from exporter.jobs.verify import verify
    from exporter.progress import Quiet

    before = rows_at(root)
    done = await compact(root, target_bytes=1 << 20, memory_bytes=256 << 20, observer=Quiet())
    assert (done.files_before, done.files) == (6, 3)
    after = rows_at(root)
    none = {column: None} if column else {}
    assert {identity: none | row for identity, row in after.items()} == {
        identity: none | row for identity, row in before.items()
    }
    merged = [row for row in after.values() if len(row) == len(contract.FIELDS) + 1]
    assert len(merged) == (len(after) if column is None else 33)  # one part is alone in its directory
    verified = await verify(root, now=0)
    assert (verified.problems, verified.ids_compared) == ((), len(before))


def add_column(name: str) -> None:
    """Makes this process an exporter of a later version. It must be called before anything else of it is loaded."""
    assert not [
        module
        for module in sys.modules
        if module.startswith("exporter.") and module not in ("exporter.contract", "exporter.version")
    ]
    position = contract.FIELD_NAMES.index("duration")
    field = contract.Field(name, contract.Kind.STRING, added="9.9")
    contract.FIELDS = (*contract.FIELDS[:position], field, *contract.FIELDS[position:])  # type: ignore[assignment,misc]
    contract.FIELD_NAMES = tuple(field.name for field in contract.FIELDS)  # type: ignore[misc]


def main(version: str, directory: str, column: str) -> None:
    add_column(column)
    live(copy_of(int(version), Path(directory)), column)


if __name__ == "__main__":
    main(*sys.argv[1:])
