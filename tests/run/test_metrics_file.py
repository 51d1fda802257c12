"""The file for a collector: whole, readable by others, and never in the place of anything else."""

import os
import stat
from pathlib import Path

import pytest

from exporter.errors import UsageError
from exporter.run.metrics_file import check_metrics_file, write_metrics


def test_a_file_is_replaced_in_one_step_and_readable_by_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "acme.prom"
    file.write_text("before")
    seen: list[tuple[list[str], str]] = []
    replace = Path.replace

    def see(self: Path, target: Path) -> Path:
        seen.append((sorted(each.name for each in tmp_path.glob("*.prom")), file.read_text()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", see)
    before = os.umask(0o077)
    try:
        write_metrics(file, "after")
    finally:
        os.umask(before)
    assert seen == [(["acme.prom"], "before")]
    assert file.read_text() == "after"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.stat().st_gid == tmp_path.stat().st_gid
    assert [each.name for each in tmp_path.iterdir()] == ["acme.prom"]


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_metrics(tmp_path / "acme.prom", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_export_and_one_that_is_no_regular_file_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "link").symlink_to(out)
    for inside in (out / "acme.prom", tmp_path / "link" / "acme.prom"):
        with pytest.raises(UsageError, match="inside the export"):
            check_metrics_file(inside, str(out))
    for other in (Path("/dev/null"), tmp_path):
        with pytest.raises(UsageError, match="not a regular file"):
            check_metrics_file(other, str(out))
    with pytest.raises(UsageError, match=r"--metrics-file .*: Not a directory"):
        (tmp_path / "file").write_text("")
        check_metrics_file(tmp_path / "file" / "acme.prom", str(out))
    assert check_metrics_file(tmp_path / "acme.prom", str(out)) == tmp_path / "acme.prom"
    assert check_metrics_file(tmp_path / "acme.prom", "s3://bucket/out") == tmp_path / "acme.prom"
