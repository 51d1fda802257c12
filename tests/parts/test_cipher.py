"""Encrypted parts are what the readers of a matrix decrypt, and nothing at all without the key."""

import base64
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from anyio import create_task_group, to_thread
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.encode.recordings import recordings_schema
from exporter.encode.schema import arrow_schema, turns_schema
from exporter.errors import UnreadableFileError, UnreadablePartError, UsageError
from exporter.keys import KEY_BYTES, Key
from exporter.layout import CONVERSATIONS, TURNS
from exporter.parts.cipher import Cipher, current, is_plain, unwrap, using, wrap
from exporter.parts.columns import leaf_columns
from exporter.parts.ids import read_ids
from exporter.parts.reader import read_batches
from exporter.parts.writer import PartWriter, WrittenPart
from exporter.privacy import Encryption, EncryptionMode, KeyReference
from tests.parts.test_writer import SCHEMA as _SHORT
from tests.parts.test_writer import batch_of, descending

CANARY = "canary-4711"
SCHEMA = pa.schema([*_SHORT, ("user_id", pa.string())])
KEY = Key("d1", bytes(range(KEY_BYTES)))
OTHER = Key("d2", bytes(reversed(range(KEY_BYTES))))
MODES: tuple[EncryptionMode, ...] = ("uniform", "columns")


def encryption(mode: EncryptionMode = "uniform", *plain: str, key: Key = KEY) -> Encryption:
    return Encryption(mode=mode, key=KeyReference(name=key.name, check=key.check), plain_columns=plain)


def cipher(mode: EncryptionMode = "uniform", *plain: str, key: Key = KEY) -> Cipher:
    return Cipher(encryption(mode, *plain, key=key), key)


def rows(count: int = 300) -> pa.RecordBatch:
    """Returns rows with a canary in each text, all of them different."""
    batch = batch_of(descending(count))
    texts = [f"{CANARY}-{number:05}" for number in range(count)]
    columns: dict[str, Any] = {name: batch.column(name) for name in batch.schema.names}
    columns |= dict.fromkeys(("id", "status", "summary", "conversation", "user_id"), texts)
    columns |= {"agent": [{"id": text, "name": text} for text in texts], "tags": [[text] for text in texts]}
    return pa.record_batch(columns, schema=SCHEMA)


def write(
    path: Path, batch: pa.RecordBatch, *, row_group_bytes: int = 20_000, table: str = CONVERSATIONS
) -> WrittenPart:
    writer = PartWriter(path, batch.schema, row_group_bytes, table)
    writer.write(batch)
    return writer.close()


def encrypted(path: Path, with_cipher: Cipher, batch: pa.RecordBatch | None = None) -> Path:
    with using(with_cipher):
        write(path, rows() if batch is None else batch)
    return path


def read(path: Path) -> pa.Table:
    return pa.Table.from_batches(read_batches([path]))


def flipped(path: Path, position: int) -> Path:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    return path


# Reading


@pytest.mark.parametrize("mode", MODES)
def test_parts_are_read_back_with_the_key_and_not_without(tmp_path: Path, mode: EncryptionMode) -> None:
    path = tmp_path / "one"
    with using(cipher(mode)):
        assert write(path, rows()).key == "d1"
        assert read(path) == pa.Table.from_batches([rows()])
        assert pa.chunked_array(read_ids(path)).to_pylist() == rows().column("id").to_pylist()
    with pytest.raises(UnreadablePartError, match="EXPORTER_DATA_KEY") as raised:
        read(path)
    assert raised.value.exit_status == 2
    assert raised.value.path == path


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["d1", "d2"])
def test_a_wrong_key_is_no_damage(tmp_path: Path, mode: EncryptionMode, name: str) -> None:
    path = encrypted(tmp_path / "one", cipher(mode))
    with using(cipher(mode, key=Key(name, OTHER.secret))), pytest.raises(UnreadablePartError, match=f"than {name}"):
        read(path)


def test_without_a_cipher_parts_are_plain_and_a_cipher_reads_them(tmp_path: Path) -> None:
    assert write(tmp_path / "one", rows()).key == ""
    assert pq.ParquetFile(tmp_path / "one").read().num_rows == 300
    with using(cipher()):
        assert read(tmp_path / "one") == pa.Table.from_batches([rows()])


@pytest.mark.parametrize("old", MODES)
@pytest.mark.parametrize("new", MODES)
def test_two_keys_and_modes_live_while_one_takes_the_others_place(
    tmp_path: Path, old: EncryptionMode, new: EncryptionMode
) -> None:
    before = encrypted(tmp_path / "before", cipher(old))
    with using(Cipher(encryption(new, key=OTHER), OTHER, KEY)):
        written = write(tmp_path / "after", read(before).combine_chunks().to_batches()[0])
        assert written.key == "d2"
        assert read(tmp_path / "after") == read(before)
    with using(cipher(new, key=OTHER)):
        assert read(tmp_path / "after").num_rows == 300
        with pytest.raises(UnreadablePartError):
            read(before)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_an_error_and_never_other_rows(mode: EncryptionMode, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory, using(cipher(mode)):
        path = encrypted(Path(directory) / "one", cipher(mode), rows(20))
        flipped(path, data.draw(st.integers(0, path.stat().st_size - 1)))
        try:
            assert read(path) == pa.Table.from_batches([rows(20)])  # no reader looks at the bytes at the ends
        except (UnreadableFileError, UnreadablePartError) as error:
            assert CANARY not in str(error)


@pytest.mark.anyio
async def test_tasks_and_threads_inherit_the_cipher() -> None:
    found = []

    async def look() -> None:
        found.append(await to_thread.run_sync(current))

    inside = cipher()
    with using(inside):
        async with create_task_group() as group:
            group.start_soon(look)
    await look()
    assert found == [inside, None]


# Other readers


def uniform(tmp_path: Path) -> Path:
    return encrypted(tmp_path / "one.parquet", cipher())


def test_pyarrow_reads_uniform_parts_with_the_key(tmp_path: Path) -> None:
    path, properties = uniform(tmp_path), pe.create_decryption_properties(KEY.secret)
    assert pq.read_table(path, decryption_properties=properties, partitioning=None).num_rows == 300
    scan = ds.ParquetFragmentScanOptions(decryption_properties=properties)
    dataset = ds.dataset(path, format=ds.ParquetFileFormat(default_fragment_scan_options=scan))
    assert dataset.count_rows(filter=ds.field("user_id") == f"{CANARY}-00007") == 1


def test_duckdb_reads_uniform_parts_with_the_key(tmp_path: Path) -> None:
    path, text = uniform(tmp_path), base64.b64encode(KEY.secret).decode()
    with duckdb.connect() as connection:
        connection.execute(f"PRAGMA add_parquet_key('d1', '{text}')")
        source = f"read_parquet('{path}', encryption_config = {{footer_key: 'd1'}})"
        counted = f"SELECT count(*), count(DISTINCT user_id) FROM {source} WHERE starts_with(id, '{CANARY}')"
        assert connection.execute(counted).fetchall() == [(300, 300)]


def test_polars_reads_uniform_parts_with_the_key(tmp_path: Path) -> None:
    frame = pl.read_parquet(uniform(tmp_path), decryption=pl.ParquetDecryptionProperties(footer_key=KEY.secret))
    assert frame["user_id"].to_list() == rows().column("user_id").to_pylist()


READERS: dict[str, Callable[[Path], object]] = {
    "pyarrow": lambda path: pq.ParquetFile(path).metadata.num_rows,
    "dataset": lambda path: ds.dataset(path).count_rows(),
    "duckdb": lambda path: duckdb.execute(f"SELECT count(*) FROM '{path}'").fetchall(),
    "duckdb metadata": lambda path: duckdb.execute(f"SELECT num_rows FROM parquet_file_metadata('{path}')").fetchall(),
    "polars": lambda path: pl.scan_parquet(path).select(pl.len()).collect(),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_learns_even_the_count_of_rows_without_the_key(
    tmp_path: Path, mode: EncryptionMode, reader: str
) -> None:
    path = encrypted(tmp_path / "one.parquet", cipher(mode))
    with pytest.raises((OSError, duckdb.Error, pl.exceptions.PolarsError)):
        READERS[reader](path)
    write(tmp_path / "two.parquet", rows())
    READERS[reader](tmp_path / "two.parquet")


def test_pyarrow_reads_columns_with_a_client_that_unwraps_keys(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "one.parquet", cipher("columns", "id"))
    properties = cipher("columns").to_unwrap()
    assert pq.ParquetFile(path, decryption_properties=properties).read() == pa.Table.from_batches([rows()])
    scan = ds.ParquetFragmentScanOptions(decryption_properties=properties)
    dataset = ds.dataset(path, format=ds.ParquetFileFormat(default_fragment_scan_options=scan))
    assert dataset.to_table(columns=["user_id"]).num_rows == 300


# What is in the bytes


@pytest.mark.parametrize("mode", MODES)
def test_no_value_is_in_the_bytes(tmp_path: Path, mode: EncryptionMode) -> None:
    write(tmp_path / "plain", rows())
    assert CANARY.encode() in (tmp_path / "plain").read_bytes()  # as a minimum, for one
    assert CANARY.encode() not in encrypted(tmp_path / "one", cipher(mode)).read_bytes()


COLUMNS = [path for path, _ in leaf_columns(SCHEMA)]


@pytest.mark.parametrize("plain", COLUMNS)
def test_columns_are_in_clear_only_if_they_are_named(tmp_path: Path, plain: str) -> None:
    """A reader that has the key of the footer, and no other, can decode only the column that is named."""
    path = encrypted(tmp_path / "one", cipher("columns", plain))
    readable = []
    for name in COLUMNS:
        try:
            table = pq.ParquetFile(path, decryption_properties=footer_only()).read([name.partition(".")[0]])
        except OSError:
            continue
        assert table.num_rows == 300
        readable.append(name)
    expected = [plain] if not plain.startswith("agent.") else []  # Arrow reads a struct as a whole
    assert readable == expected


def footer_only() -> Any:
    """Returns properties that unwrap the key of the footer, which is the first, and no other one."""

    class Client(pe.KmsClient):  # type: ignore[misc]
        seen = 0

        def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
            Client.seen += 1
            if Client.seen > 1:
                raise OSError("no key")
            return unwrap(KEY, wrapped_key)

    factory = pe.CryptoFactory(lambda _: Client())
    return factory.file_decryption_properties(pe.KmsConnectionConfig(), pe.DecryptionConfiguration())


def test_user_ids_are_in_the_bytes_only_where_they_are_plain(tmp_path: Path) -> None:
    sole = b"sole-user"
    batch = rows().set_column(SCHEMA.names.index("user_id"), "user_id", pa.array([sole.decode()] * 300))
    assert sole not in encrypted(tmp_path / "one", cipher("columns", "id", "agent"), batch).read_bytes()
    assert sole in encrypted(tmp_path / "two", cipher("columns", "id", "user_id"), batch).read_bytes()


@pytest.mark.parametrize("schema", [arrow_schema(None), turns_schema(), recordings_schema(), SCHEMA])
def test_leaf_columns_are_those_of_the_file(tmp_path: Path, schema: pa.Schema) -> None:
    pq.write_table(schema.empty_table(), tmp_path / "one")
    found = pq.ParquetFile(tmp_path / "one").schema
    assert [path for path, _ in leaf_columns(schema)] == [found.column(index).path for index in range(len(found))]


def test_all_columns_may_be_plain_only_in_name(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "one", cipher("columns", *COLUMNS))
    assert CANARY.encode() not in path.read_bytes()
    with using(cipher("columns")):
        assert read(path).num_rows == 300


def test_a_plain_column_names_itself_and_what_is_in_it() -> None:
    assert is_plain("agent.name", ("agent",))
    assert is_plain("agent.name", ("agent.name",))
    assert not is_plain("agent_number", ("agent",))
    assert not is_plain("agent.id", ("agent.name",))


def test_turns_without_any_column_of_the_list_are_encrypted(tmp_path: Path) -> None:
    batch = pa.record_batch(
        {name: pa.nulls(3, type_) for name, type_ in zip(turns_schema().names, turns_schema().types, strict=True)}
        | {
            "conversation_id": [CANARY] * 3,
            "conversation_created_at": pa.array([3, 2, 1], pa.timestamp("us", "UTC")),
        },
        schema=turns_schema(),
    )
    with using(cipher("columns", "id", "created_at")):
        write(tmp_path / "one", batch, table=TURNS)
        assert read(tmp_path / "one").num_rows == 3
    assert CANARY.encode() not in (tmp_path / "one").read_bytes()


# Keys


@given(secret=st.binary(min_size=1, max_size=64), name=st.text(max_size=20))
def test_wrapped_keys_have_the_form_of_the_key_tools(secret: bytes, name: str) -> None:
    key = Key(name, os.urandom(KEY_BYTES))
    wrapped = wrap(key, secret)
    assert unwrap(key, wrapped) == secret
    data = base64.b64decode(wrapped)
    assert AESGCM(key.secret).decrypt(data[:12], data[12:], name.encode()) == secret
    for other in (Key(f"{name}x", key.secret), Key(name, os.urandom(KEY_BYTES))):
        with pytest.raises(OSError, match="another one"):
            unwrap(other, wrapped)


@pytest.mark.parametrize("wrapped", [b"", b"!", b"AAAA", base64.b64encode(bytes(12))])
def test_what_is_no_wrapped_key_is_a_clean_error(wrapped: bytes) -> None:
    with pytest.raises(OSError, match="another one"):
        unwrap(KEY, wrapped)


def test_an_old_pyarrow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pe, "create_encryption_properties")
    with pytest.raises(UsageError, match="pyarrow 25 or newer"):
        cipher()
    cipher("columns")


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    cipher()
    with pytest.raises(UsageError, match=r"exporter\[encryption\]"):
        cipher("columns")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet.encryption", None)
    with pytest.raises(UsageError, match="built without encryption"):
        cipher()


def test_nothing_shows_the_key() -> None:
    assert "secret" not in repr(cipher())
    assert KEY.secret.hex() not in repr(vars(cipher()))
    assert repr(KEY.secret) not in repr(vars(cipher()))
