"""Decides whether what a pattern has hit is what it looks like: a card, a bank account, or a telephone number."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

from exporter.privacy import PatternCheck

_LEAST_PHONE: Final = 7
_MOST_PHONE: Final = 15
_CARD_LENGTHS: Final = range(13, 20)
_DATE: Final = re.compile(r"(?:19|20)\d\d([-./ ]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?!\d)")
#: What Luhn's sum adds for a digit that is doubled.
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def ascii_digits(text: str) -> str:
    """Returns the digits of a text, of any script, as those of ASCII."""
    if text.isascii():
        return "".join(filter(str.isdigit, text))
    return "".join(str(unicodedata.decimal(character)) for character in text if character.isdecimal())


def is_card(hit: str) -> bool:
    """Returns whether the digits have a card's number and check digit."""
    digits = list(map(int, ascii_digits(hit)))
    total = sum(digits[-1::-2]) + sum(_DOUBLED[digit] for digit in digits[-2::-2])
    return len(digits) in _CARD_LENGTHS and total % 10 == 0


def is_iban(hit: str) -> bool:
    """Returns whether the check digits of an IBAN are right."""
    plain = "".join(filter(str.isalnum, hit)).upper()
    try:
        return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1
    except ValueError:
        return False


def is_phone(hit: str) -> bool:
    """Returns whether a run of digits may be a telephone number: it has 7 to 15 digits and is no date. More than that
    are several numbers in a row, except for a card."""
    plain = hit if hit.isascii() else _with_ascii_digits(hit)
    dated = _DATE.match(plain)
    count = len(ascii_digits(plain[dated.end() :] if dated else plain))
    return count >= _LEAST_PHONE and (count <= _MOST_PHONE or not is_card(plain))


def _with_ascii_digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(character)) if character.isdecimal() else character for character in text)


#: What must hold for a hit to count, by the name of the check.
CHECKS: Final[Mapping[PatternCheck, Callable[[str], bool]]] = {"luhn": is_card, "iban": is_iban, "phone": is_phone}
