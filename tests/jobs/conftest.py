import shutil
from pathlib import Path

import pytest

from tests.jobs.made import make_exports


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_exports(tmp_path_factory.mktemp("exports"))


@pytest.fixture
def complete(exports: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exports["complete"], tmp_path / "out"))


@pytest.fixture
def odd(exports: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exports["odd"], tmp_path / "odd"))
