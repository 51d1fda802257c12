"""Opens encrypted parts without the exporter's own ciphers, and tells which parts nobody reads without a key."""

import base64
import hashlib
import io
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from exporter.keys import DATA_VARIABLE, PRIVACY_VARIABLE, Key, Keys
from exporter.media_cipher import unseal
from exporter.privacy import Encryption, EncryptionMode, KeyReference
from tests.toolkit.canary_search import OpenParquet
from tests.toolkit.policies import key_text

_MAGIC: Final = b"PARE"
_NONCE_BYTES: Final = 12


def data_key(name: str) -> Key:
    """Returns a key that encrypts; each name has its own."""
    return Key(name, hashlib.sha256(name.encode()).digest())


def text_of(key: Key) -> str:
    """Returns a key as the environment holds it."""
    return base64.b64encode(key.secret).decode()


def keys_with(data: Key | None) -> Keys:
    """Returns the key of policies, and the one that encrypts, if there is one."""
    found = {PRIVACY_VARIABLE: key_text()}
    return Keys(found if data is None else found | {DATA_VARIABLE: text_of(data)})


def encryption_with(mode: EncryptionMode, key: Key) -> Encryption:
    """Returns an encryption of parts, which leaves media as it is."""
    plain = ("id", "conversation_id") if mode == "columns" else ()
    return Encryption(mode=mode, key=KeyReference(name=key.name), plain_columns=plain, recordings="plain")


def lines_of(path: Path) -> list[bytes]:
    """Returns the lines of a quarantine file, whichever `data_key` encrypts it, if one does."""
    content = path.read_bytes()
    if path.suffix == ".enc":
        name = content.partition(b"\n")[0].split()[-1].decode()
        content = b"".join(unseal(io.BytesIO(content), path, str(path), data_key(name)))
    return content.splitlines()


def opened_with(*keys: Key) -> OpenParquet:
    """Returns what opens a part, if it is plain, or if one of the keys encrypts it, in whatever mode."""
    return partial(_open, keys)


def check_closed(path: Path) -> None:
    """Checks that nobody reads a part who has no key."""
    with pytest.raises(OSError, match="no decryption"):
        pq.ParquetFile(path).close()


def _open(keys: Iterable[Key], path: Path) -> pq.ParquetFile:
    with path.open("rb") as file:
        is_plain = file.read(len(_MAGIC)) != _MAGIC
    if is_plain:
        return pq.ParquetFile(path)
    failed: OSError | None = None
    for properties in (one for key in keys for one in (pe.create_decryption_properties(key.secret), _unwrapping(key))):
        try:
            return pq.ParquetFile(path, decryption_properties=properties)
        except OSError as error:
            failed = error
    raise AssertionError(f"{path}: no key opens it") from failed


def _unwrapping(key: Key) -> Any:
    class Client(pe.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
            raise NotImplementedError

        def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
            if master_key_identifier != key.name:
                raise OSError(f"{master_key_identifier} is not {key.name}")
            data = base64.b64decode(wrapped_key)
            return AESGCM(key.secret).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], key.name.encode())

    factory = pe.CryptoFactory(lambda _: Client())
    return factory.file_decryption_properties(pe.KmsConnectionConfig(), pe.DecryptionConfiguration())
