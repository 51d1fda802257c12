"""Decides how a run encrypts what it writes, and finds the key. A run that lacks the key touches nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from exporter.errors import ProtectionError, UsageError
from exporter.keys import DATA_VARIABLE, NEW_DATA_VARIABLE, Key, Keys, parse_key, read_private, with_check
from exporter.log.state import State
from exporter.media_cipher import check_installed
from exporter.privacy import Encryption, KeyReference
from exporter.settings import Selection
from exporter.store.location import Location, shell_word
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.parts.cipher import Cipher

#: Finds the cipher for an export in a state; None if its parts are plain.
FindCipher: TypeAlias = Callable[[State], "Cipher | None"]


def settle_encryption(state: State, asked: Selection, destination: Location) -> Encryption | None:
    """Returns how an export must be encrypted: as stored or, before its first commit, as it is asked for.

    Raises `ProtectionError` if it is stored in another way, and `UsageError` for tables, which nobody could read.
    """
    stored, wanted = state.privacy.encryption, asked.encryption
    settled = wanted if state.request is None else stored
    if wanted is not None and settled is not wanted:
        _check_same(stored, wanted, destination)
    if settled is not None and (asked.table_format or state.table_format):
        raise UsageError(
            "--table-format: no reader of Delta or Iceberg tables decrypts their files. Leave it out, or do not encrypt"
        )
    return settled


def _check_same(stored: Encryption | None, wanted: Encryption, destination: Location) -> None:
    where = shell_word(destination)
    if stored is None:
        rekeyed = _way(wanted) == _way(Encryption(key=wanted.key))
        raise ProtectionError(
            f"{destination}: its files are not encrypted, and the policy has [encryption]. "
            + (
                "Take [encryption] out, or encrypt them first:\n"
                f"  exporter rekey {where} --to {wanted.key.name} --new-key-file FILE"
                if rekeyed
                else "Stored files are only ever encrypted whole, with their audio (exporter rekey). Take [encryption] "
                "out, or export to a new destination"
            )
        )
    if wanted.key.name != stored.key.name:
        raise ProtectionError(
            f"{destination}: is encrypted with the key {stored.key.name}, and the policy names {wanted.key.name}. "
            f'Write name = "{stored.key.name}" into [encryption], or leave --policy out. To have the key '
            f"{wanted.key.name} take its place:\n  exporter rekey {where} --to {wanted.key.name} --new-key-file FILE"
        )
    if wanted.key.check and wanted.key.check != stored.key.check:
        raise ProtectionError(f"{destination}: not the key {stored.key.name} that this export was made with")
    if _way(wanted) != _way(stored):
        raise ProtectionError(
            f"{destination}: is encrypted in another way than is asked for ({_described(stored)}). "
            "Ask for the same, or export to a new destination"
        )


def _way(encryption: Encryption) -> tuple[str, frozenset[str], str]:
    plain = encryption.plain_columns if encryption.mode == "columns" else ()
    return encryption.mode, frozenset(plain), encryption.recordings


def _described(encryption: Encryption) -> str:
    plain = f", plain: {', '.join(encryption.plain_columns)}" if encryption.plain_columns else ""
    return f"mode {encryption.mode}{plain}; recordings {encryption.recordings}"


def find_cipher(keys: Keys, destination: Location, asked: Selection | None = None) -> FindCipher:
    """Returns what finds the cipher of a run that reads and writes parts.

    It raises as `settle_encryption`; `UsageError` without the package that encrypts what is no part, and
    `ProtectionError` without the key, and while another key is taking its place.
    """

    def find(state: State) -> "Cipher | None":
        wanted = asked or Selection()
        encryption = settle_encryption(state, wanted, destination)
        if encryption is None:
            return None
        from exporter.parts.cipher import Cipher

        # A row that fits no column may come at any time.
        check_installed()
        # Whoever lacks the key must learn first that the old one, or none, does not do either.
        check_one_key(state, destination)
        key = keys.data(encryption.key)
        return Cipher(replace(encryption, key=with_check(encryption.key, key)), key)

    return find


def check_one_key(state: State, destination: Location) -> None:
    """Raises `ProtectionError` if some parts are encrypted with another key than that of the export, or are plain."""
    name = state.privacy.key_name
    if others := sum(file.key != name for file in state.files.values()):
        are = "is" if others == 1 else "are"
        raise ProtectionError(
            f"{destination}: {count_of(others, 'file')} {are} not encrypted with {name} yet.\n"
            f"exporter rekey {shell_word(destination)} --to {name} finishes that; then run this again"
        )


def without_cipher(state: State) -> "Cipher | None":
    """Returns None: the cipher of a run that neither reads nor writes parts. The log takes no plain part from it."""
    return None


def find_cipher_if_here(keys: Keys) -> FindCipher:
    """Returns what finds the cipher of a run that goes on without the key. It raises `ProtectionError` for a wrong
    one."""

    def find(state: State) -> "Cipher | None":
        encryption = state.privacy.encryption
        if encryption is None or not keys.has_data(encryption.key):
            return None

        from exporter.parts.cipher import Cipher

        return Cipher(encryption, keys.data(encryption.key))

    return find


@dataclass(frozen=True, slots=True)
class ReaderKeys:
    """Holds the keys that a reader of the tables has, in base64, and says where each was found. `option` is what a
    caller gives the file of a key by."""

    texts: Mapping[str, str] = field(repr=False)
    option: str = "data_key_file"

    def cipher(self, destination: Location, name: str, encryption: Encryption | None) -> "Cipher":
        """Returns what reads the parts that are encrypted with the key of this name; `encryption` is that of the
        export. Raises `ProtectionError` if no key fits."""
        known = None if encryption is None else encryption.key
        keys = [Key(name, parse_key(text, where)) for where, text in self.texts.items()]
        is_current = known is not None and known.name == name
        # That of another name is the one whose place is being taken.
        fits = [key for key in keys if known is None or (key.check == known.check) == is_current]
        if not fits:
            raise ProtectionError(
                f"{destination}: files are encrypted with the key {name}, and it is not here. Set {DATA_VARIABLE}, or "
                f"give {self.option}"
            )

        from exporter.parts.cipher import Cipher

        return Cipher(encryption or Encryption(key=KeyReference(name=name)), fits[0])


def reader_keys(file: str | Path | None, environment: Mapping[str, str], option: str = "data_key_file") -> ReaderKeys:
    """Returns the keys in a file or, without one, in the environment. Raises `UsageError` for a file that others may
    read."""
    found = {name: text for name in (DATA_VARIABLE, NEW_DATA_VARIABLE) if (text := environment.get(name, "").strip())}
    if file is not None:
        found = {str(file): read_private(Path(file), option, "key")} | found
    return ReaderKeys(found, option)
