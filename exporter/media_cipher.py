"""Encrypts media while it comes, and decrypts it while it is read, chunk by chunk, in a form that the manual documents.

    exporter media 1 d1\\n     what this is, its version, and the name of the data key
    32 bytes                  a random salt
    chunks                    64 KiB of audio each, and a tag of 16 bytes; the last one is as long as the rest

Each file has a key of its own, HKDF-SHA256 of the data key with the salt and the first line: so no two files, and no
two attempts at one, ever share a key with a nonce, and a first line that was changed opens nothing. That is what Tink's
AES-GCM-HKDF streaming also does. The chunks are a STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, 2015) as age has it,
with AES-256-GCM: the nonce is the number of the chunk in 11 bytes, and a byte that is 1 for the last chunk alone. So a
file that was cut, also between two chunks, lengthened, or put in another order does not open, and a reader has
authentic audio before it has read the whole.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from exporter.errors import DamagedPartError, UnreadablePartError, UsageError
from exporter.keys import KEY_BYTES, Key
from exporter.words import install_command

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK_BYTES: Final = 64 * 1024
TAG_BYTES: Final = 16
SALT_BYTES: Final = 32
_SEALED_BYTES: Final = CHUNK_BYTES + TAG_BYTES
_NUMBER_BYTES: Final = 11
_BEGINNING: Final = b"exporter media 1 "
_MOST_LINE_BYTES: Final = 512
_NAME: Final = re.compile(r"[^\n]{1,60}")


class Sealer:
    """Encrypts one file with a data key. What `update` and `finish` return, one after the other, is the file.

    Raises `UsageError` if the package that encrypts is not installed.
    """

    def __init__(self, key: Key) -> None:
        line, salt = _first_line(key.name), secrets.token_bytes(SALT_BYTES)
        self._cipher = _cipher(key, line, salt)
        self._number = 0
        self._sealed = [line + salt]
        self._rest = b""

    def update(self, audio: bytes | memoryview) -> bytes:
        """Takes more audio, and returns what can be written: a chunk waits for the next one, unless it is the last."""
        waiting, start = memoryview(self._rest + audio), 0
        while len(waiting) - start > CHUNK_BYTES:
            self._seal(waiting[start : start + CHUNK_BYTES], is_last=False)
            start += CHUNK_BYTES
        self._rest = bytes(waiting[start:])
        return self._taken()

    def finish(self) -> bytes:
        """Ends the file, and returns the last bytes of it."""
        self._seal(self._rest, is_last=True)
        return self._taken()

    def _seal(self, chunk: bytes | memoryview, *, is_last: bool) -> None:
        self._sealed.append(self._cipher.encrypt(_nonce(self._number, is_last=is_last), chunk, None))
        self._number += 1

    def _taken(self) -> bytes:
        taken, self._sealed = b"".join(self._sealed), []
        return taken


def key_name_of(file: BinaryIO) -> str | None:
    """Reads the first line of a file, and returns the name of the key that encrypts it; None if it is not encrypted."""
    line = file.readline(_MOST_LINE_BYTES)
    if not (line.startswith(_BEGINNING) and line.endswith(b"\n")):
        return None
    return line[len(_BEGINNING) : -1].decode(errors="replace")


def unseal(file: BinaryIO, where: object, destination: str, *keys: Key) -> Iterator[bytes]:
    """Yields the audio of a file that was encrypted with one of the data keys, each chunk once it is known to be
    authentic.

    Raises `UnreadablePartError` if it was encrypted with another key, and `DamagedPartError` if it was cut or changed,
    which may be known at the end alone. Both say `where`; `destination` is as in the latter.
    """
    opened = _open(file, where, destination, keys)
    number, chunk = 0, file.read(_SEALED_BYTES)
    while True:
        following = file.read(_SEALED_BYTES)
        yield opened.open(number, chunk, is_last=not following)
        if not following:
            return
        number, chunk = number + 1, following


class Unsealer:
    """Gives any part of the audio of a file of `file_bytes`, which was encrypted with one of the data keys.

    `audio_bytes` is the size of the audio. Raises as `unseal`: of what is not read, nothing is known.
    """

    def __init__(self, file: BinaryIO, file_bytes: int, where: object, destination: str, *keys: Key) -> None:
        file.seek(0)
        self._opened = _open(file, where, destination, keys)
        self._file = file
        self._start = file.tell()
        sealed = file_bytes - self._start
        self._chunks = max(1, -(-sealed // _SEALED_BYTES))
        self.audio_bytes: Final = sealed - self._chunks * TAG_BYTES
        if self.audio_bytes < 0:
            raise DamagedPartError(where, "ends before its audio begins", destination)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Yields the bytes of `[start, stop)`, each chunk once it is known to be authentic."""
        for number in range(start // CHUNK_BYTES, -(-stop // CHUNK_BYTES)):
            self._file.seek(self._start + number * _SEALED_BYTES)
            sealed = self._file.read(_SEALED_BYTES)
            audio = self._opened.open(number, sealed, is_last=number == self._chunks - 1)
            offset = number * CHUNK_BYTES
            yield audio[max(0, start - offset) : stop - offset]


class _Opened(NamedTuple):
    """Decrypts the chunks of one file."""

    cipher: "AESGCM"
    where: object
    destination: str

    def open(self, number: int, chunk: bytes, *, is_last: bool) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self.cipher.decrypt(_nonce(number, is_last=is_last), chunk, None)
        except (InvalidTag, ValueError) as error:
            what = f"its chunk {number + 1:,} was cut or changed, or was encrypted with another key of that name"
            raise DamagedPartError(self.where, what, self.destination) from error


def _open(file: BinaryIO, where: object, destination: str, keys: Sequence[Key]) -> _Opened:
    """Reads what stands before the chunks of a file. Raises as `unseal`."""
    name = key_name_of(file)
    if name is None:
        raise DamagedPartError(where, "does not begin as encrypted media does", destination)
    key = next((one for one in keys if one.name == name), None)
    if key is None:
        given = f"; the one given is {keys[0].name}" if keys else ""
        raise UnreadablePartError(where, f"encrypted with the key {name}{given}")
    return _Opened(_cipher(key, _first_line(key.name), file.read(SALT_BYTES)), where, destination)


def check_installed() -> None:
    """Raises `UsageError` if the package that encrypts is not installed."""
    try:
        import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401 - whether it is there
    except ImportError as error:
        raise UsageError(
            "recordings, and rows that fit no column, cannot be encrypted without a package that is not installed. "
            "To install it:\n"
            f"{install_command('cryptography')}"
        ) from error


def _first_line(key_name: str) -> bytes:
    if _NAME.fullmatch(key_name) is None:
        raise ValueError("no name of a key")
    return _BEGINNING + key_name.encode() + b"\n"


def _cipher(key: Key, line: bytes, salt: bytes) -> "AESGCM":
    check_installed()
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    # HKDF (RFC 5869) of a key that is as long as the hash: one step to extract, one to expand.
    extracted = hmac.digest(salt, key.secret, hashlib.sha256)
    return AESGCM(hmac.digest(extracted, line + b"\x01", hashlib.sha256)[:KEY_BYTES])


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big") + bytes([is_last])
