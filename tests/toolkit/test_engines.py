import signal
from pathlib import Path

import polars as pl
import pytest

from tests.toolkit.engines import QueryError, collected, polars_engine


def test_a_crash_of_polars_is_an_error_that_names_its_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next frame has a new process, which the environment of a test does not lead to a cloud."""
    frame = pl.LazyFrame({"number": [1, 2, 3]}).filter(pl.col("number") > 1)
    assert collected(frame)["number"].to_pylist() == [2, 3]
    polars_engine().process.send_signal(signal.SIGSEGV)
    with pytest.raises(QueryError, match="ended by SIGSEGV"):
        collected(frame)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert collected(frame)["number"].to_pylist() == [2, 3]
    environment = Path(f"/proc/{polars_engine().process.pid}/environ").read_text()
    names = {pair.partition("=")[0] for pair in environment.split("\0")}
    assert "POLARS_ICEBERG_PLANNER" in names
    assert not [name for name in names if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]
