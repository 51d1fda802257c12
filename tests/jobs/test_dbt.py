"""The files for dbt read what an export holds: their SQL by DuckDB alone, and all of it by dbt where that is installed.

`EXPORTER_THOROUGH=1` installs dbt beside this environment, which takes minutes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import duckdb
import pytest

from exporter.errors import UsageError
from exporter.jobs.dbt import dbt_files
from exporter.jobs.warehouse import Place
from exporter.privacy import Encryption, KeyReference
from exporter.sandbox import make_conversations
from exporter.store.location import Url
from tests.jobs.made import SINCE, UNTIL, make_export
from tests.jobs.sealed import keys
from tests.toolkit.manual import PAGES
from tests.toolkit.recorded import conversations, record
from tests.toolkit.sizes import THOROUGH

ROWS = make_conversations(40, SINCE, UNTIL)
FEW = ("id", "created_at", "updated_at", "status", "duration", "conversation")
#: Newer ones fetch a part of themselves from elsewhere.
_WANTED = ("dbt-core==1.10.*", "dbt-duckdb==1.10.1", "duckdb==1.5.5")
_PACKAGES = Path(sys.prefix) / "dbt-duckdb-1.10.1"


def files_of(root: Path, copy: Place | None = None) -> dict[str, str]:
    text = anyio.run(partial(dbt_files, root, copy))
    found = re.split(r"^(?:#|--) file: (\S+)\n", text, flags=re.MULTILINE)
    assert found[0] == ""
    return dict(zip(found[1::2], found[2::2], strict=True))


def scans(sources: str) -> dict[str, str]:
    """Returns how DuckDB reads each table."""
    names = re.findall(r"^      - name: (\w+)$", sources, re.MULTILINE)
    texts = re.findall(r"^            external_location: (.*)$", sources, re.MULTILINE)
    return dict(zip(names, map(json.loads, texts), strict=True))


def rows(model: str, scan: str) -> list[dict[str, Any]]:
    query = re.sub(r"\{\{ source\([^}]*\}\}", lambda _: scan, model.partition("\n")[2])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(query)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def exported(root: Path, **asked: Any) -> Path:
    make_export(root, ROWS, tables=("conversations", "turns"), **asked)
    record(root, dict.fromkeys([*conversations(root)][:3], ""))
    return root


@pytest.mark.parametrize(
    "asked",
    [
        {"partition_by": "day"},
        {"partition_by": "month", "timezone": "Asia/Tokyo", "fields": FEW},
        {"partition_by": "none"},
    ],
)
def test_each_model_has_the_rows_of_its_table(asked: dict[str, Any], tmp_path: Path) -> None:
    root = exported(tmp_path / "Anne's [calls]", **asked)
    files = files_of(root)
    tables = ("conversations", "turns", "recordings")
    assert [*files] == ["exporter_sources.yml", *(f"stg_{table}.sql" for table in tables)]
    found = {
        table: rows(files[f"stg_{table}.sql"], scan) for table, scan in scans(files["exporter_sources.yml"]).items()
    }
    served = {str(row.facts()["id"]): row for row in ROWS}
    assert {row["conversation_id"] for row in found["conversations"]} == set(served)
    assert len(found["conversations"]) == len(ROWS)
    assert {row["conversation_id"] for row in found["turns"]} <= set(served)
    assert [row["is_stored"] for row in found["recordings"]] == [True] * 3
    key = {"day": "created_date", "month": "created_month"}.get(asked["partition_by"])
    assert all((key in row) == (key is not None) for row in found["turns"])
    first = found["conversations"][0]
    assert ("agent_name" in first, "duration_seconds" in first) == ("fields" not in asked, True)


def test_what_dbt_cannot_read(tmp_path: Path) -> None:
    root = make_export(tmp_path / "out", ROWS[:5])
    assert scans(files_of(root, Place.of(Url("s3", "lake", "calls")))["exporter_sources.yml"]) == {
        "conversations": "read_parquet('s3://lake/calls/conversations/**/part-*.parquet', hive_partitioning = true, "
        "union_by_name = true)"
    }
    with pytest.raises(UsageError, match="braces"):
        files_of(root, Place.of(tmp_path / "{x}"))
    sealed = make_export(
        tmp_path / "sealed",
        ROWS[:5],
        keys=keys(),
        encryption=Encryption(mode="uniform", key=KeyReference(name="d1")),
    )
    with pytest.raises(UsageError, match="the parts are encrypted"):
        files_of(sealed)


def install() -> Path:
    if not _PACKAGES.exists():
        with tempfile.TemporaryDirectory(dir=sys.prefix) as directory:
            command = [sys.executable, "-m", "pip", "install", "-q", "--target", directory, *_WANTED]
            subprocess.run(command, check=True, timeout=600)
            # Another process may have been faster.
            with suppress(OSError):
                shutil.copytree(directory, f"{directory}.whole")
                Path(f"{directory}.whole").rename(_PACKAGES)
    return _PACKAGES


@pytest.mark.skipif(THOROUGH not in os.environ and not _PACKAGES.exists(), reason="dbt is not installed here")
def test_dbt_builds_what_the_manual_says(tmp_path: Path) -> None:
    exported(tmp_path / "calls")
    (tmp_path / "models/calls").mkdir(parents=True)
    (tmp_path / "dbt_project.yml").write_text("name: calls\nprofile: calls\n")
    target = f"{{type: duckdb, path: '{tmp_path}/calls.duckdb'}}"
    (tmp_path / "profiles.yml").write_text(f"calls: {{target: dev, outputs: {{dev: {target}}}}}\n")
    line = PAGES["read"].command_holding("--format dbt").strip()
    path = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-euc", line], cwd=tmp_path, env=path, check=True, timeout=60)
    environment = {**os.environ, "PYTHONPATH": str(install()), "DBT_SEND_ANONYMOUS_USAGE_STATS": "0"}
    program = "from dbt.cli.main import cli; cli()"
    for words in (["build"], ["source", "freshness"]):
        command = [sys.executable, "-c", program, *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout
        assert "Deprecat" not in done.stdout.replace("This version of dbt is deprecated", "")
    assert "PASS=8" in done.stdout or "freshness of exporter.recordings" in done.stdout
    with duckdb.connect(str(tmp_path / "calls.duckdb")) as database:
        assert database.execute("SELECT count(*) FROM stg_conversations").fetchall() == [(len(ROWS),)]
        assert database.execute("SELECT count(*) FROM stg_recordings").fetchall() == [(3,)]
