import os
from collections.abc import Iterator

import pytest

from tests.toolkit.clouds import S3, Cloud, azurite, google, moto


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


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with moto() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def gcs() -> Iterator[Cloud]:
    with google() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def azure() -> Iterator[Cloud]:
    with azurite() as cloud:
        yield cloud
