"""Makes exports to ask, and opens them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from exporter.query.connection import Query, open_query
from exporter.run.encryption import reader_keys
from exporter.sandbox import make_conversations
from exporter.store.location import parse_location
from tests.jobs.made import SINCE, UNTIL, make_export

TABLES = ("conversations", "turns")
ROWS = make_conversations(60, SINCE, UNTIL)

#: Opens an export, which is closed after the test.
Open: TypeAlias = Callable[..., Query]


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns an export that tests must not change."""
    return make_export(tmp_path_factory.mktemp("asked") / "calls", ROWS, tables=TABLES)


@pytest.fixture
def opened() -> Iterator[Open]:
    with ExitStack() as stack:

        def open_(where: Path | str, key: str = "", **options: Any) -> Query:
            keys = reader_keys(None, {"EXPORTER_DATA_KEY": key})
            return stack.enter_context(anyio.run(partial(open_query, parse_location(str(where)), keys, **options)))

        yield open_
