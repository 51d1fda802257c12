"""Encrypts parts and opens encrypted ones; nothing else imports Parquet's encryption.

The cipher of a run is a variable of the context, because many places write or read parts of which they know only paths.
Tasks and worker threads inherit it from the one that starts them.

With mode `columns`, each part has random keys, which the data key wraps in the form of Parquet's key tools for Java, so
that Spark can unwrap them: base64(nonce, ciphertext, tag) of AES-GCM, authenticated with the name of the data key.
"""

import base64
import binascii
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from exporter.errors import UnreadablePartError, UsageError
from exporter.keys import DATA_VARIABLE, KEY_BYTES, Key
from exporter.parts.columns import leaf_columns
from exporter.privacy import Encryption

#: A file with an encrypted footer begins and ends with these bytes.
ENCRYPTED_MAGIC: Final = b"PARE"
_NONCE_BYTES: Final = 12
#: Says why an encrypted file is not read where there is no cipher.
NO_KEY: Final = f"is encrypted, and there is no key here. Set {DATA_VARIABLE}, or give --data-key-file"
_NO_DIRECT_KEYS: Final = "Parquet with one key for whole files needs pyarrow 25 or newer: pip install 'pyarrow>=25'"
_NO_CRYPTOGRAPHY: Final = (
    "Parquet with encrypted columns needs cryptography: pip install 'anyreach-exporter[encryption]'"
)


class Cipher:
    """Encrypts parts with `key` as `encryption` says, and opens parts that are encrypted with it or one of `others`,
    in either mode. Raises `UsageError` if a library that the mode needs is missing."""

    def __init__(self, encryption: Encryption, key: Key, *others: Key) -> None:
        self.encryption: Final = encryption
        self.key_name: Final = key.name
        self._key = key
        self._keys = {one.name: one for one in (*others, key)}
        #: The key that writes is the first.
        self.keys: Final = (key, *others)
        _check_libraries(encryption)

    def to_write(self, schema: pa.Schema) -> Any:
        """Returns the properties with which a part of `schema` is written. They serve one part."""
        import pyarrow.parquet.encryption as pe

        if self.encryption.mode == "uniform":
            return pe.create_encryption_properties(self._key.secret)
        secret = [path for path, _ in leaf_columns(schema) if not is_plain(path, self.encryption.plain_columns)]
        # Without a secret column only the footer would be: then everything is encrypted.
        columns = {"column_keys": {self.key_name: secret}} if secret else {"uniform_encryption": True}
        configuration = pe.EncryptionConfiguration(
            footer_key=self.key_name,
            encryption_algorithm="AES_GCM_V1",
            # Keys in between would have 128 bits only, and help nothing where no key server is asked.
            double_wrapping=False,
            data_key_length_bits=8 * KEY_BYTES,
            **columns,
        )
        return self._factory().file_encryption_properties(pe.KmsConnectionConfig(), configuration)

    def to_read(self) -> Iterator[Any]:
        """Yields the properties that an encrypted part may need; those of any one part are among them."""
        import pyarrow.parquet.encryption as pe

        direct = self.keys if hasattr(pe, "create_decryption_properties") else ()
        if self.encryption.mode == "columns":
            yield self.to_unwrap()
        for key in direct:
            yield pe.create_decryption_properties(key.secret)
        if self.encryption.mode == "uniform":
            yield self.to_unwrap()

    def to_read_by_default(self) -> Any:
        """Returns the properties with which a part is read that `key` encrypts in the mode of this cipher."""
        return next(self.to_read())

    def to_unwrap(self) -> Any:
        """Returns the properties with which each part is read that any of the keys encrypts by columns."""
        import pyarrow.parquet.encryption as pe

        return self._factory().file_decryption_properties(pe.KmsConnectionConfig(), pe.DecryptionConfiguration())

    def _factory(self) -> Any:
        import pyarrow.parquet.encryption as pe

        keys = self._keys

        class Client(pe.KmsClient):  # type: ignore[misc]
            def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
                return wrap(keys[master_key_identifier], key_bytes)

            def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
                if master_key_identifier not in keys:
                    raise OSError(f"the key {master_key_identifier} is not here")
                return unwrap(keys[master_key_identifier], wrapped_key)

        return pe.CryptoFactory(lambda _: Client())


def wrap(key: Key, secret: bytes) -> bytes:
    """Returns a key of a part, wrapped by the data key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(key.secret).encrypt(nonce, secret, key.name.encode()))


def unwrap(key: Key, wrapped: bytes) -> bytes:
    """Returns a key of a part. Raises `OSError`, as Arrow does for all that it cannot decrypt."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise OSError(_NO_CRYPTOGRAPHY) from error
    try:
        data = base64.b64decode(wrapped, validate=True)
        return AESGCM(key.secret).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], key.name.encode())
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise OSError(f"the key {key.name} is another one") from error


_CURRENT: Final = ContextVar[Cipher | None]("cipher", default=None)


def current() -> Cipher | None:
    """Returns the cipher with which parts are written and read here; None: they are written plain."""
    return _CURRENT.get()


@contextmanager
def using(cipher: Cipher | None) -> Iterator[None]:
    """Makes the cipher the current one in this block, and in all tasks and worker threads that start in it."""
    before = _CURRENT.set(cipher)
    try:
        yield
    finally:
        _CURRENT.reset(before)


def writing_properties(schema: pa.Schema) -> Any:
    """Returns what `ParquetWriter` takes as `encryption_properties` here: None if there is no cipher."""
    cipher = current()
    return None if cipher is None else cipher.to_write(schema)


def open_parquet(file: IO[bytes] | pa.NativeFile, where: object) -> pq.ParquetFile:
    """Opens a file of Parquet at its start, with the keys of the current cipher if it is encrypted.

    A native file is read ahead, which saves requests to an object store. Any other lies on the disk; Arrow's threads
    would only wait for the interpreter to read it.

    Raises `UnreadablePartError`, which says `where`, if no key opens it. Other errors are Arrow's.
    """
    magic = file.read(len(ENCRYPTED_MAGIC))
    file.seek(0)
    reads_ahead = isinstance(file, pa.NativeFile)
    if magic != ENCRYPTED_MAGIC:
        return pq.ParquetFile(file, pre_buffer=reads_ahead)
    cipher = current()
    if cipher is None:
        raise UnreadablePartError(where, NO_KEY)
    failed: OSError | None = None
    for properties in cipher.to_read():
        try:
            return pq.ParquetFile(file, decryption_properties=properties, pre_buffer=reads_ahead)
        except OSError as error:
            # Arrow's errors have no number. One of the disk says nothing about the key.
            if error.errno is not None:
                raise
            failed = failed or error
    raise UnreadablePartError(
        where, f"is encrypted with another key than {cipher.key_name}, or its bytes have changed"
    ) from failed


def is_plain(path: str, plain_columns: tuple[str, ...]) -> bool:
    """Returns whether a column is one of these, or lies in one of them."""
    return any(path == name or path.startswith(f"{name}.") for name in plain_columns)


def _check_libraries(encryption: Encryption) -> None:
    try:
        import pyarrow.parquet.encryption as pe
    except ImportError as error:
        raise UsageError("this pyarrow was built without encryption: pip install 'pyarrow>=25'") from error
    if encryption.mode == "uniform":
        if not hasattr(pe, "create_encryption_properties"):
            raise UsageError(f"{_NO_DIRECT_KEYS} (this one is {pa.__version__})")
        return
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise UsageError(_NO_CRYPTOGRAPHY) from error
