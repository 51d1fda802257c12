"""Exports with dlt: a resource that pages, to Parquet files on the local disk.

`python dlt_pipeline.py URL TOKEN DIRECTORY`. Nested values stay whole (`max_table_nesting=0`); by default they would
become tables of their own, which takes several times as long.
"""

import base64
import os
import sys
from collections.abc import Iterator
from typing import Any

url, token, directory = sys.argv[1:]
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["DLT_DATA_DIR"] = f"{directory}/state"

import dlt  # noqa: E402 - reads its settings when it is imported
from dlt.sources.helpers import requests  # noqa: E402


@dlt.resource(name="conversations", max_table_nesting=0)  # type: ignore[untyped-decorator, unused-ignore]
def conversations() -> Iterator[list[dict[str, Any]]]:
    parameters, headers = {"limit": "1000"}, {"Authorization": f"Bearer {token}"}
    while True:
        answer = requests.get(f"{url}/core/conversations", params=parameters, headers=headers)
        answer.raise_for_status()
        rows = answer.json()
        if rows:
            yield rows
        if len(rows) < 1000:
            return
        parameters["cursor"] = base64.b64encode(rows[-1]["created_at"].encode()).decode()


dlt.pipeline(
    "conversations",
    pipelines_dir=f"{directory}/pipelines",
    destination=dlt.destinations.filesystem(f"file://{directory}/table"),
    dataset_name="calls",
).run(conversations(), loader_file_format="parquet")
