"""Runs tasks on Ray, where it is installed; otherwise only what is told without it."""

import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import exporter.ray
from exporter.engine import Engine
from exporter.engines.ray import RayEngine
from exporter.errors import UsageError
from tests.engines.conformance import EngineConformance
from tests.engines.tasks import work

on_ray = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray, in an environment of its own as in .ci/run"),
]


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs ray, which is not installed\. To install it:\n.* install .*ray$"):
        exporter.ray.engine()


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"max_retries": -1}])
def test_arguments_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="not"):
        exporter.ray.engine(**wrong)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with closing(RayEngine("local", slots=2, work=work)) as engine:
        yield engine


class TestRay(EngineConformance):
    """Runs the tests of every engine on one that has started Ray itself; the last of them stops it."""

    pytestmark = on_ray

    def test_closed_it_gives_up_what_waits(self, engine: Engine, tmp_path: Path) -> None:
        import ray

        super().test_closed_it_gives_up_what_waits(engine, tmp_path)
        assert not ray.is_initialized()
