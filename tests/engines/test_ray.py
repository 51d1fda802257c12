"""Runs tasks on Ray, where it is installed; otherwise only what is told without it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import exporter.ray
from exporter import ExportSpec, blocking
from exporter.engine import Engine
from exporter.engines.ray import RayEngine
from exporter.engines.work import work as work_on_share
from exporter.errors import EngineError, UsageError
from exporter.layout import STAGING
from exporter.sandbox import TOKEN, make_conversations
from exporter.schedule import shares
from tests.end_to_end.records import SINCE, UNTIL
from tests.engines.conformance import EngineConformance
from tests.engines.tasks import work
from tests.toolkit.manual import PAGES, serving

REASON = "needs Ray, in an environment of its own as in .ci/run"
ON_RAY = [pytest.mark.ray, pytest.mark.skipif(find_spec("ray") is None, reason=REASON)]
ROWS = make_conversations(3000, SINCE, UNTIL, seed=26)
#: Names the file that says that a worker has been killed.
MARK = "EXPORTER_TEST_KILLED"


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


@pytest.mark.parametrize("address", ["127.0.0.1:9", "[::1]:9"])
@pytest.mark.ray
@pytest.mark.skipif(find_spec("ray") is None, reason=REASON)
def test_an_address_where_no_cluster_is(address: str) -> None:
    with pytest.raises(EngineError, match=r"no Ray cluster at .*:9 to run tasks on: "):
        exporter.ray.engine(address)


class TestRay(EngineConformance):
    """Runs the tests of every engine on one that has started Ray itself; the last of them stops it."""

    pytestmark = ON_RAY

    def test_closed_it_gives_up_what_waits(self, engine: Engine, tmp_path: Path) -> None:
        import ray

        super().test_closed_it_gives_up_what_waits(engine, tmp_path)
        assert not ray.is_initialized()


def work_and_die_once(share: bytes) -> bytes:
    """Reads a share, and kills the worker at the first one, when all of it is staged."""
    answer = work_on_share(share)
    with suppress(FileExistsError):
        Path(os.environ[MARK]).touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    return answer


def rows_in(export: Path) -> pa.Table:
    """Returns the conversations of an export that is sound, in one order."""
    assert blocking.verify(export).exit_status == 0
    return exporter.open_dataset(export).to_table().sort_by("id")


class TestExport:
    """Exports on a Ray that was there before, as a user may have one."""

    pytestmark = ON_RAY

    @pytest.fixture
    def api(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """Yields the address of an API, while workers of Ray know the token."""
        import ray

        monkeypatch.setenv("ANYREACH_TOKEN", TOKEN)
        monkeypatch.setenv(MARK, str(tmp_path / "killed"))
        # Even a short list is worth several tasks.
        for name, value in {"_LEAST_PAGES": 0, "_FIRST_SECONDS": 1, "_LEAST_SECONDS": 1, "_MOST_SECONDS": 1}.items():
            monkeypatch.setattr(shares, name, value)
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        with serving(ROWS) as url:
            monkeypatch.setenv("ANYREACH_BASE_URL", url)
            yield url
        ray.shutdown()

    def test_a_worker_is_killed_when_all_is_staged(self, api: str, tmp_path: Path) -> None:
        import ray

        plain, on_ray = tmp_path / "plain", tmp_path / "ray"
        spec = partial(ExportSpec, base_url=api, since="2024-01-01", until="2024-03-01", page_size=50)
        blocking.export(spec(destination=plain))
        with closing(RayEngine(work=work_and_die_once)) as engine:
            summary = blocking.export(spec(destination=on_ray), engine=engine)
        assert (tmp_path / "killed").exists()
        assert (summary.state, summary.rows) == ("complete", len(ROWS))
        assert rows_in(on_ray) == rows_in(plain)
        assert not list((on_ray / STAGING).iterdir())
        # As it stands in the manual.
        (program,) = [text for text in PAGES["ray"].in_language("python") if "exporter.ray" in text]
        exec(program.replace("/shared/calls", str(tmp_path / "manual")), {})
        assert rows_in(tmp_path / "manual") == rows_in(plain)
        assert ray.is_initialized()
