"""Changes single values: to a keyed hash, to a mask, to an address without its query, to a rounded number."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from exporter.encode.protect.checks import ascii_digits
from exporter.errors import UsageError
from exporter.keys import Key

_BLOCK_BYTES: Final = 64
_HASH_DIGITS: Final = 32
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))

#: The country calling code and the prefix of national numbers, by region.
_REGIONS: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("US", "CA", "PR", "DO", "JM", "BS", "BB", "TT"), ("1", "1")),
    **dict.fromkeys(("GB", "GG", "IM", "JE"), ("44", "0")),
    "AE": ("971", "0"), "AR": ("54", "0"), "AT": ("43", "0"), "AU": ("61", "0"), "BE": ("32", "0"), "BR": ("55", "0"),
    "CH": ("41", "0"), "CL": ("56", ""), "CN": ("86", "0"), "CO": ("57", ""), "CZ": ("420", ""), "DE": ("49", "0"),
    "DK": ("45", ""), "EG": ("20", "0"), "ES": ("34", ""), "FI": ("358", "0"), "FR": ("33", "0"), "GR": ("30", ""),
    "HK": ("852", ""), "HU": ("36", "06"), "ID": ("62", "0"), "IE": ("353", "0"), "IL": ("972", "0"), "IN": ("91", "0"),
    "IT": ("39", ""), "JP": ("81", "0"), "KR": ("82", "0"), "LU": ("352", ""), "MX": ("52", ""), "MY": ("60", "0"),
    "NG": ("234", "0"), "NL": ("31", "0"), "NO": ("47", ""), "NZ": ("64", "0"), "PH": ("63", "0"), "PK": ("92", "0"),
    "PL": ("48", ""), "PT": ("351", ""), "RO": ("40", "0"), "SA": ("966", "0"), "SE": ("46", "0"), "SG": ("65", ""),
    "TH": ("66", "0"), "TR": ("90", "0"), "TW": ("886", "0"), "UA": ("380", "0"), "VN": ("84", "0"), "ZA": ("27", "0"),
}  # fmt: skip
REGIONS: Final = frozenset(_REGIONS)
#: What may stand in a telephone number: digits, and what people put between them.
_PHONE: Final = re.compile(r"\s*(\+|\uff0b|00)?[\d\s()./\u2010-\u2015\u2212-]+")
_LEAST_DIGITS: Final = 7
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)


class Hasher:
    """Hashes the values of one `domain`, after `normalise`, with the key: `<its name>.` and 32 hexadecimal digits.

    This is HMAC-SHA256 of the domain and the value, from states that are computed once and copied for each value.
    """

    def __init__(self, key: Key, domain: str, normalise: Iterable[str] = ()) -> None:
        secret = key.secret if len(key.secret) <= _BLOCK_BYTES else hashlib.sha256(key.secret).digest()
        block = secret.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER) + f"{hash_purpose(domain)}\0".encode())
        self._outer = hashlib.sha256(block.translate(_OUTER))
        self._prefix = f"{key.name}."
        self._normalise = [normaliser(name) for name in normalise]

    def __call__(self, value: str) -> str:
        """Returns the hash of a value; "" stays "", and so does what is "" once it is normalised."""
        return self.all([value])[0]

    def all(self, values: Iterable[str]) -> list[str]:
        """Returns the hashes of values, in their order."""
        for step in self._normalise:
            values = map(step, values)
        inner_copy, outer_copy, prefix = self._inner.copy, self._outer.copy, self._prefix
        hashes: list[str] = []
        for value in values:
            if not value:
                hashes.append("")
                continue
            inner, outer = inner_copy(), outer_copy()
            inner.update(value.encode())
            outer.update(inner.digest())
            hashes.append(prefix + outer.hexdigest()[:_HASH_DIGITS])
        return hashes


def hash_purpose(domain: str) -> str:
    """Returns the purpose for which `Key.tag` gives the digits that the hash rule of this domain does."""
    return f"hash:{domain}"


def normaliser(name: str) -> Callable[[str], str]:
    """Returns what a `normalise` of this name does: `lower`, `trim`, `digits` or `phone:REGION`.

    Raises `UsageError`.
    """
    match name.partition(":"):
        case "lower", "", "":
            return str.lower
        case "trim", "", "":
            return str.strip
        case "digits", "", "":
            return ascii_digits
        case "phone", ":", region if region in _REGIONS:
            return _phone(*_REGIONS[region])
        case "phone", _, _:
            raise UsageError(f"normalise {name}: write phone:REGION, with one of {', '.join(sorted(REGIONS))}")
    raise UsageError(f"normalise {name}: there is lower, trim, digits and phone:REGION, such as phone:US")


def _phone(code: str, trunk: str) -> Callable[[str], str]:
    abroad = "011" if code == "1" else "00"

    def normalised(value: str) -> str:
        found = _PHONE.fullmatch(value)
        digits = ascii_digits(value)
        if found is None or len(digits) < _LEAST_DIGITS:
            return value
        if found[1] in ("+", "\uff0b"):
            return f"+{digits}"
        if digits.startswith(abroad):
            return f"+{digits.removeprefix(abroad)}"
        # In North America 1 begins national numbers, and is the country's code: both ways come to the same.
        return f"+{code}{digits.removeprefix(trunk)}"

    return normalised


def mask(value: str, keep: int) -> str:
    """Returns the value with `*` for each letter and digit, except its last `keep` digits, if it has twice as many."""
    count = sum(map(str.isdecimal, value))
    shown = keep if count >= 2 * keep else 0
    characters: list[str] = []
    for character in value:
        is_digit = character.isdecimal()
        characters.append("*" if character.isalnum() and not (is_digit and count <= shown) else character)
        count -= is_digit
    return "".join(characters)


def without_query(value: str) -> str:
    """Returns an address without what follows its path."""
    return _QUERY.sub("", value)


def rounded(value: int, to: int) -> int:
    """Returns the multiple of `to` that is nearest; the greater one if two are."""
    return (value + to // 2) // to * to
