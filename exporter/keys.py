"""Finds the keys of an export when they are needed: in the environment, or in a private file. Never in an argument."""

import base64
import binascii
import hashlib
import hmac
import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from exporter.contract import TOKEN_VARIABLE
from exporter.errors import ProtectionError, UsageError
from exporter.privacy import KeyReference

#: A key is this long. A passphrase would let somebody who guesses it list the hashes of all phone numbers.
KEY_BYTES: Final = 32
PRIVACY_VARIABLE: Final = "EXPORTER_PRIVACY_KEY"
DATA_VARIABLE: Final = "EXPORTER_DATA_KEY"
#: The key that takes the place of the one in `DATA_VARIABLE`.
NEW_DATA_VARIABLE: Final = "EXPORTER_NEW_DATA_KEY"
#: No other program is given these.
_SECRET_VARIABLES: Final = frozenset({TOKEN_VARIABLE, PRIVACY_VARIABLE, DATA_VARIABLE, NEW_DATA_VARIABLE})
_CHECKED: Final = b"exporter key check"
#: The size of a block of SHA-256, and the bytes that HMAC mixes into a key of at most a block.
_BLOCK_BYTES: Final = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_MOST_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Key:
    """Holds a key and its name. Neither `repr` nor `str` shows the key."""

    name: str
    secret: bytes = field(repr=False)

    @property
    def check(self) -> str:
        """Returns 16 hexadecimal digits by which a wrong key is told, and which tell nothing about a right one."""
        return hmac.digest(self.secret, _CHECKED, hashlib.sha256)[:8].hex()

    def tag(self, purpose: str, value: str) -> str:
        """Returns the keyed hash of a value, as 32 hexadecimal digits. That for another purpose is another one."""
        text = f"{purpose}\0{value}".encode(errors="surrogatepass")
        return hmac.digest(self.secret, text, hashlib.sha256)[:16].hex()

    def tagger(self, purpose: str) -> Callable[[str], str]:
        """Returns what `tag` does for one purpose, for many values: it begins from states that are made once."""
        block = self.secret.ljust(_BLOCK_BYTES, b"\0")
        inner, outer = hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))
        inner.update(f"{purpose}\0".encode(errors="surrogatepass"))

        def tag(value: str) -> str:
            within, around = inner.copy(), outer.copy()
            within.update(value.encode(errors="surrogatepass"))
            around.update(within.digest())
            return around.hexdigest()[:32]

        return tag


@dataclass(frozen=True, slots=True)
class Keys:
    """Knows where keys may be found. `privacy_file` and `data_file` are files that the caller names for this run."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    privacy_file: Path | None = None
    data_file: Path | None = None

    def privacy(self, reference: KeyReference) -> Key:
        """Returns the key that hashes. Raises `ProtectionError` if there is none, or another."""
        return self._find(reference, self.privacy_file, PRIVACY_VARIABLE, "--privacy-key-file")

    def data(self, reference: KeyReference) -> Key:
        """Returns the key that encrypts. Raises `ProtectionError` if there is none, or it is not the one that was
        used."""
        return self._find(reference, self.data_file, DATA_VARIABLE, "--data-key-file")

    def has_data(self, reference: KeyReference) -> bool:
        """Returns whether there is a key that encrypts, right or wrong."""
        named = any(self.environment.get(name, "").strip() for name in (reference.env, DATA_VARIABLE) if name)
        return named or self.data_file is not None or (reference.file is not None and Path(reference.file).exists())

    def _find(self, reference: KeyReference, file: Path | None, variable: str, option: str) -> Key:
        names = dict.fromkeys(name for name in (reference.env, variable) if name)
        text = next((found for name in names if (found := self.environment.get(name, "").strip())), "")
        if file is not None:
            text = read_private(file, option, "key")
            where = f"{option} {file}"
        elif text:
            where = next(name for name in names if self.environment.get(name, "").strip())
        elif reference.file is not None:
            text, where = read_private(Path(reference.file), "key file", "key"), f"key file {reference.file}"
        else:
            raise ProtectionError(
                f"the key {reference.name} is needed, and is not here. Set {' or '.join(names)}, or give {option}"
            )
        key = Key(reference.name, parse_key(text, where))
        if reference.check and key.check != reference.check:
            raise ProtectionError(f"{where}: not the key {reference.name} that this export was made with")
        return key


#: For jobs that are told of no key.
NO_KEYS: Final = Keys()


def with_check(reference: KeyReference, key: Key) -> KeyReference:
    """Returns the reference with what tells another key of that name."""
    return msgspec.structs.replace(reference, check=key.check)


def parse_key(text: str, where: str) -> bytes:
    """Returns the key that a text holds: 32 bytes in base64, as `exporter keygen` writes them. Raises
    `ProtectionError`, which says `where`, never what."""
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtectionError(f"{where}: not a key in base64; exporter keygen makes one") from error
    if len(secret) != KEY_BYTES:
        raise ProtectionError(
            f"{where}: a key has {KEY_BYTES} bytes, and this one has {len(secret)}; exporter keygen makes one"
        )
    return secret


def without_secrets(environment: Mapping[str, str], others: Collection[str] = ()) -> dict[str, str]:
    """Returns an environment for another program, without the token, the keys, and `others`."""
    return {name: value for name, value in environment.items() if name not in _SECRET_VARIABLES.union(others)}


def read_private(path: Path, option: str, what: str) -> str:
    """Returns the text of a file that nobody else may read. Raises `UsageError`, which names the `option`.

    A file of somebody else's may be given to a group to read, because there is no other way to give it to this user: so
    do Kubernetes, and systemd by an access list.
    """
    try:
        with open(path, encoding="utf-8", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{option} {path}: not a regular file")
            if is_open_to_others(status.st_mode, status.st_uid):
                may_change = os.geteuid() in (0, status.st_uid)
                advice = f"run: chmod 600 {path}" if may_change else "mount it with mode 0400, or 0440 if root owns it"
                raise UsageError(f"{option} {path}: others can read it; {advice}")
            text = file.read(_MOST_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(f"{option} {path}: {reason}") from error
    if not text:
        raise UsageError(f"{option} {path}: holds no {what}")
    return text


def is_open_to_others(mode: int, owner: int) -> bool:
    """Returns whether a file of this mode and owner is open to more than the user whom it is meant for.

    A group may read what root owns: so Kubernetes, and systemd for a service, hand a secret to a user other than root.
    """
    group = stat.S_IWGRP | stat.S_IXGRP if owner == 0 else stat.S_IRWXG
    return bool(mode & (group | stat.S_IRWXO))


def _open_at_once(path: str, flags: int) -> int:
    # Otherwise a pipe that nobody writes to would be waited for in silence.
    return os.open(path, flags | os.O_NONBLOCK)
