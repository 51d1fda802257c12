"""Exports as scripts written by hand do: one page after another with requests, each a table and a file of its own.

`python script.py URL TOKEN DIRECTORY`. Nested values must become texts, because `initial_context` is sometimes a
string and sometimes an object, which no column holds. The script believes that a short page is the last.
"""

import base64
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import requests

url, token, directory = sys.argv[1:]
NESTED = ("agent", "initial_context", "custom_metadata", "conversation", "recording_details")

Path(directory).mkdir()
session = requests.Session()
session.headers["Authorization"] = f"Bearer {token}"
parameters, number = {"limit": "1000"}, 0
while True:
    answer = session.get(f"{url}/core/conversations", params=parameters, timeout=60)
    answer.raise_for_status()
    rows = json.loads(answer.content)
    if not rows:
        break
    parameters["cursor"] = base64.b64encode(rows[-1]["created_at"].encode()).decode()
    for row in rows:
        for name in NESTED:
            row[name] = json.dumps(row[name])
    pq.write_table(pa.Table.from_pylist(rows), f"{directory}/{number:05d}.parquet", compression="zstd")
    number += 1
    if len(rows) < 1000:
        break
