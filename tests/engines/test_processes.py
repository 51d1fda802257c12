from collections.abc import Iterator
from contextlib import closing

import pytest

from exporter.engine import Engine
from exporter.engines.processes import Processes
from tests.engines.conformance import EngineConformance

WORK = "tests.engines.tasks:work"


class TestProcesses(EngineConformance):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with closing(Processes(2, work=WORK)) as engine:
            yield engine
