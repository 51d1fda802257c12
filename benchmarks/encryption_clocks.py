"""Writes and reads parts of the same rows, plain and encrypted, in this process.

    python -m benchmarks.encryption_clocks FILE ROWS

For each way, the seconds of CPU of writing and of reading, and the bytes, are written to FILE, as a JSON object. A
first turn with few rows, which loads code, is not counted.
"""

import json
import sys
import tempfile
from pathlib import Path
from time import process_time
from typing import Final

import pyarrow as pa

from benchmarks.rows import repeat_conversations
from exporter.encode.batch import Encoder
from exporter.encode.decode import Decoder
from exporter.keys import Key
from exporter.parts.cipher import Cipher, using
from exporter.parts.reader import read_batches
from exporter.parts.writer import PartWriter
from exporter.privacy import Encryption, EncryptionMode, KeyReference
from exporter.sandbox import Behaviour
from exporter.sandbox.render import View, render

_KEY: Final = Key("d1", bytes(range(32)))
_PAGE_ROWS: Final = 500
_ROW_GROUP_BYTES: Final = 32 * 1024 * 1024


def main() -> None:
    file, rows = Path(sys.argv[1]), int(sys.argv[2])
    batches = _batches(rows)
    ways = {"plain": None, "uniform": _cipher("uniform"), "columns": _cipher("columns")}
    with tempfile.TemporaryDirectory() as directory:
        part = Path(directory) / "part"
        for cipher in ways.values():
            _measure(part, batches[:1], cipher)
        found = {name: _measure(part, batches, cipher) for name, cipher in ways.items()}
    file.write_text(json.dumps(found))


def _batches(rows: int) -> list[pa.RecordBatch]:
    made = repeat_conversations(rows, "office", transcripts=True)
    decoder, encoder, view = Decoder(None), Encoder(None), View.of(Behaviour())
    pages = (made[start : start + _PAGE_ROWS] for start in range(0, rows, _PAGE_ROWS))
    bodies = (b"[" + b",".join(render(row, view) for row in page) + b"]" for page in pages)
    return [encoder.encode(decoder.decode(body).page.rows).batch for body in bodies]


def _cipher(mode: EncryptionMode) -> Cipher:
    return Cipher(Encryption(mode=mode, key=KeyReference(name=_KEY.name), plain_columns=("id", "created_at")), _KEY)


def _measure(part: Path, batches: list[pa.RecordBatch], cipher: Cipher | None) -> dict[str, float]:
    with using(cipher):
        began = process_time()
        writer = PartWriter(part, batches[0].schema, _ROW_GROUP_BYTES)
        for batch in batches:
            writer.write(batch)
        written = writer.close()
        wrote = process_time()
        read = sum(batch.num_rows for batch in read_batches([part]))
        ended = process_time()
    assert read == written.rows
    part.unlink()
    return {"write": wrote - began, "read": ended - wrote, "bytes": written.size_bytes}


if __name__ == "__main__":
    main()
