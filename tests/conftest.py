import os
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import settings

from exporter.fetch.pace.retry import Patience, RetryPolicy
from exporter.pipeline import attempts
from tests.toolkit.clouds import S3, Cloud, azurite, google, moto, moto_process, starting_lists

#: Unless one of these asks for more, examples are the same on each run, so that only a change can make them fail.
_ASK_FOR_MORE = {"EXPORTER_RANDOM", "EXPORTER_SEQUENCES", "EXPORTER_WALK_EXAMPLES"}
settings.register_profile("same", derandomize=True, print_blob=True)
if not _ASK_FOR_MORE & os.environ.keys():
    settings.load_profile("same")


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


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a run doubt a refusal as usual, but believe it as soon as it is repeated."""
    again = Patience(attempts=2, seconds=0.0, throttled_seconds=0.0)
    hasty = partial(RetryPolicy, doubted=again, doubted_at_first=again, base_seconds=0.01)
    monkeypatch.setattr(attempts, "RetryPolicy", hasty)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with moto() as cloud:
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
