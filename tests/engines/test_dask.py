"""Runs the recipe for Dask as it stands in the manual, where Dask is installed."""

from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from typing import Any

import pytest

from exporter.engine import Engine
from tests.engines.conformance import EngineConformance
from tests.engines.tasks import work
from tests.toolkit.manual import PAGES

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("distributed") is None, reason="needs Dask, in an environment of its own: .ci/run"),
]


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    """Returns the names that the recipe defines."""
    (program,) = [text for text in PAGES["ray"].in_language("python") if "dask" in text]
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(program, names)
    return names


@pytest.fixture(scope="module")
def engine(recipe: dict[str, Any]) -> Iterator[Engine]:
    recipe["work"] = work
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with closing(recipe["Dask"](**options)) as engine:
        yield engine


class TestDask(EngineConformance):
    """Runs the tests of every engine."""
