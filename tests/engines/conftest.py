"""Leaves the tests of Spark, Ray and Dask to runs that ask for them: their processes are not for many at once."""

import pytest

_MARKS = ("spark", "ray")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for mark in _MARKS:
            if item.get_closest_marker(mark) and mark not in config.getoption("markexpr"):
                item.add_marker(pytest.mark.skip(reason=f"only pytest -n0 -m {mark} runs it, as .ci/run does"))
