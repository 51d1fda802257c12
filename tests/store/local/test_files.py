"""What lies in directories beside the files that are known there is found, whatever lies there."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import StoreError
from exporter.store.local.files import paths_in, strays_below

NAMES = st.sampled_from(["a", "b", "c=1"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@settings(deadline=None)
@given(st.dictionaries(PATHS, st.sampled_from(["file", "link", "link to a directory", "directory"])), st.sets(PATHS))
def test_strays_are_what_a_list_has_without_what_is_known(tree: dict[str, str], known: set[str]) -> None:
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        for path, kind in sorted(tree.items()):
            place = root / "top" / path
            if any(above.is_symlink() or above.is_file() for above in (*place.parents, place)) or place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            match kind:
                case "file":
                    place.touch()
                case "directory":
                    place.mkdir()
                case _:
                    place.symlink_to(root if kind == "link to a directory" else root / "gone")
        listed = {path for directory in ("top", "gone") for path in paths_in(root, root / directory, "")}
        known = {f"top/{path}" for path in known if not (root / "top" / path).is_dir()}
        names: dict[str, list[str]] = {}
        for path in known:
            directory, _, name = path.rpartition("/")
            names.setdefault(directory, []).append(name)
        assert sorted(strays_below(root, ["top", "gone"], names)) == sorted(listed - known)


def test_an_error_names_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "top").mkdir()

    def fail(path: str) -> list[str]:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr("exporter.store.local.files.os.listdir", fail)
    with pytest.raises(StoreError, match=str(tmp_path / "top")):
        strays_below(tmp_path, ["top"], {})
