"""Some columns of a part in an object store are copied, and the copy is encrypted where parts are."""

import secrets
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exporter.errors import UnreadablePartError
from exporter.parts.cipher import ENCRYPTED_MAGIC, Cipher, using
from exporter.parts.excerpt import copy_columns
from exporter.parts.reader import read_batches
from exporter.store.location import Url
from exporter.store.objects import clouds
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from exporter.store.objects.store import ObjectStore
from tests.parts.test_cipher import cipher, rows, write
from tests.toolkit.clouds import S3

PATH = "conversations/part-0123456789ab-000001.parquet"


@pytest.mark.parametrize("with_cipher", [None, cipher(), cipher("columns")], ids=["plain", "uniform", "columns"])
def test_a_copy_is_encrypted_as_parts_are(
    with_cipher: Cipher | None, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.make_bucket(name := f"excerpt-{secrets.token_hex(4)}")
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)
    url, copy = Url("s3", name, "pre"), tmp_path / "copy"
    with using(with_cipher):
        write(tmp_path / "part", rows())
        bucket = Bucket(url, open_bucket(url))
        bucket.put(PATH, (tmp_path / "part").read_bytes(), "overwrite")
        monkeypatch.setattr(clouds, "open_bucket", lambda *_: pytest.fail("opened again"))
        copy_columns(ObjectStore(bucket), PATH, ["user_id", "id", "unknown"], copy)
        found = pa.Table.from_batches(read_batches([copy]))
    assert found == pa.Table.from_batches([rows()]).select(["user_id", "id"])
    if with_cipher is None:
        assert pq.ParquetFile(copy).metadata.num_rows == found.num_rows
        return
    assert copy.read_bytes().startswith(ENCRYPTED_MAGIC)
    with pytest.raises(UnreadablePartError, match=PATH):
        copy_columns(ObjectStore(bucket), PATH, ["id"], tmp_path / "other")
    assert not (tmp_path / "other").exists()
