"""Measures the engine that protects rows beside what it could be made of, in this process.

    python -m benchmarks.privacy_clocks FILE HASHES ROWS

The seconds of CPU are written to FILE, as a JSON object.
"""

import hmac
import json
import re
import sys
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import process_time
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.policies import KEY, TRANSCRIPT_RULES, write_policy
from benchmarks.privacy_rows import protected_conversations
from exporter.encode.protect.checks import CHECKS
from exporter.encode.protect.patterns import BUILT_IN
from exporter.encode.protect.protector import Protector
from exporter.encode.protect.values import Hasher
from exporter.encode.schema import arrow_schema
from exporter.options.policy import load_policy
from exporter.privacy import Pattern

_TEXTS: Final = ("content", "arguments", "output")
_EXPRESSIONS: Final = {
    "email": r"[\w.!#$%'*+^{|}~-]+[@＠](?:[\w-]+\.)+[^\W\d_][\w-]+",
    "spoken-digits": BUILT_IN["spoken-digits"].regex.replace(r"\p{Nd}", r"\d"),
}
_BATCH_ROWS: Final = 1000


def main() -> None:
    file, hashes, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    ids = [f"{number:032x}" for number in range(hashes)]
    texts = _transcripts(rows)
    schema = pa.schema([arrow_schema(None).field("conversation")])
    batches = [
        pa.RecordBatch.from_arrays([pa.array(texts[start : start + _BATCH_ROWS])], schema=schema)
        for start in range(0, len(texts), _BATCH_ROWS)
    ]
    policy = load_policy(write_policy(file.with_suffix(".toml"), TRANSCRIPT_RULES)).policy
    protector = Protector(policy, KEY)
    protected, redact = _clock(lambda: [protector.protect(batch).column(0) for batch in batches])
    changed = sum(pc.not_equal(batch.column(0), new).true_count for batch, new in zip(batches, protected, strict=True))
    _, naive = _clock(lambda: list(map(_naive, texts)))
    _, ours = _clock(lambda: Hasher(KEY, "person").all(ids))
    _, digest = _clock(lambda: [hmac.digest(KEY.secret, value.encode(), sha256).hex()[:32] for value in ids])
    bytes_ = sum(len(text.encode()) for text in texts)
    found = {
        "redact": redact,
        "naive": naive,
        "hash": ours,
        "digest": digest,
        "bytes": bytes_,
        "changed": changed / len(texts),
    }
    file.write_text(json.dumps(found))


def _clock(function: Callable[[], Any]) -> tuple[Any, float]:
    began = process_time()
    result = function()
    return result, process_time() - began


def _transcripts(rows: int) -> list[str]:
    transcripts = [row.document("", "")["conversation"] for row in protected_conversations(rows)]
    return [json.dumps(transcript, separators=(",", ":")) for transcript in transcripts if transcript]


def _naive(text: str) -> str:
    transcript = json.loads(text)
    for item in transcript["items"]:
        for name in _TEXTS:
            match item.get(name):
                case list(parts):
                    item[name] = [_leaf(part) for part in parts]
                case str(whole) if name != "content" and whole[:1] == "{":
                    item[name] = json.dumps(_leaf(json.loads(whole)))
                case str(whole):
                    item[name] = _redacted(whole)
    return json.dumps(transcript, separators=(",", ":"))


def _leaf(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _leaf(inside) for key, inside in value.items()}
    return _redacted(value) if isinstance(value, str) else value


def _redacted(text: str) -> str:
    for expression, replace in _COMPILED:
        text = expression.sub(replace, text)
    return text


def _checked(hit: re.Match[str], pattern: Pattern) -> str:
    check = CHECKS.get(pattern.check)
    return pattern.to if check is None or check(hit[0]) else hit[0]


_COMPILED: Final = [
    (re.compile(_EXPRESSIONS.get(name, pattern.regex.replace(r"\p{Nd}", r"\d"))), partial(_checked, pattern=pattern))
    for name, pattern in BUILT_IN.items()
]

if __name__ == "__main__":
    main()
