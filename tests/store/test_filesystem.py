"""Arrow's reading from an object store fails in words for a user, without the request, which is signed."""

import secrets

import pytest

from exporter.errors import StoreError
from exporter.store.filesystem import open_filesystem
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from exporter.store.objects.store import ObjectStore
from tests.toolkit.clouds import S3, Answer


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_store_that_refuses_says_why(method: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.make_bucket(name := f"arrow-{secrets.token_hex(4)}")
    for variable, value in s3.environment.items():
        monkeypatch.setenv(variable, value)
    url = Url("s3", name, "pre")
    bucket = Bucket(url, open_bucket(url))
    bucket.put("part.parquet", b"PAR1", "overwrite")
    filesystem, prefix = open_filesystem(ObjectStore(bucket))
    monkeypatch.setattr(
        s3.gate, "answers", lambda asked: Answer(403, "ExpiredToken") if asked.method == method else None
    )
    with pytest.raises(StoreError) as raised:
        filesystem.get_file_info(f"{prefix}part.parquet")
        filesystem.open_input_file(f"{prefix}part.parquet").read(1)
    assert str(raised.value).startswith(f"s3://{name}/pre/part.parquet: ")
    assert "http" not in str(raised.value)
