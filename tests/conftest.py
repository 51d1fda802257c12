import gc
import os
import re
import sys
from collections.abc import Iterator
from functools import cache, partial

import pytest
from hypothesis import settings

from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.pipeline import attempts
from tests.toolkit.clouds import S3, Cloud, azurite, google, moto, moto_process, starting_lists
from tests.toolkit.sizes import THOROUGH, size_of

#: Unless one of these asks for more, examples are the same on each run, so that only a change can make them fail.
_ASK_FOR_MORE = {"EXPORTER_RANDOM", "EXPORTER_SEQUENCES", "EXPORTER_WALK_EXAMPLES"}
#: What botocore reads to open a bucket.
_OF_S3 = re.compile(r"botocore/data/(?:s3/|endpoints|partitions|sdk-default-configuration)")
settings.register_profile("same", deadline=None, derandomize=True, print_blob=True, max_examples=size_of(40, 100))
if not _ASK_FOR_MORE & os.environ.keys():
    settings.load_profile("same")


def pytest_xdist_auto_num_workers() -> int:
    """Returns twice as many processes as there are cores, because tests also wait: for time, and for processes."""
    return 2 * len(os.sched_getaffinity(0))


# Otherwise each of the hundreds of processes that tests start would compile the package again, and each run the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


# As in a process of the exporter's own.
gc.set_threshold(50_000)


def pytest_collection_finish() -> None:
    """Exempts modules and collected tests, which stay to the end, from each search for cycles among all objects."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the tests that are marked `thorough` to the thorough run."""
    if THOROUGH in os.environ:
        return
    left = [item for item in items if item.get_closest_marker("thorough")]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if not item.get_closest_marker("thorough")]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def no_proxies_of_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name in list(os.environ):
            if name.lower().endswith("_proxy"):
                environment.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_pandas_in_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hides pandas from the processes that tests start: PyArrow would load it, which takes a third of each start."""
    directory = tmp_path_factory.mktemp("without")
    (directory / "pandas.py").write_text("raise ModuleNotFoundError(\"No module named 'pandas'\", name='pandas')\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(directory), prepend=os.pathsep)
        yield


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a run doubt a refusal as usual, but believe it as soon as it is repeated."""
    again = Patience(attempts=2, seconds=0.0, throttled_seconds=0.0)
    hasty = partial(RetryPolicy, doubted=again, doubted_at_first=again, base_seconds=0.01)
    monkeypatch.setattr(attempts, "RetryPolicy", hasty)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    from botocore.loaders import JSONFileLoader

    load = JSONFileLoader().load_file
    with moto() as cloud, pytest.MonkeyPatch.context() as patch:
        # Each opening of a bucket would parse the same megabytes of JSON again, for a tenth of a second.
        loaded = cache(load)
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: loaded(path) if _OF_S3.search(path) else load(path))
        yield cloud


@pytest.fixture(scope="session")
def s3_process() -> Iterator[Cloud]:
    with moto_process() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def gcs() -> Iterator[Cloud]:
    with google() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def azure() -> Iterator[Cloud]:
    with azurite() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def azure_tables(azure: Cloud) -> Iterator[Cloud]:
    with starting_lists(azure) as cloud:
        yield cloud
