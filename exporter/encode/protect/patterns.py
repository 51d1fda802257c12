"""Defines the patterns that every policy may name: what each finds, and what takes its place.

The expressions are in RE2's syntax. RE2's `\\d`, `\\b` and `\\s` know ASCII alone, so digits are `\\p{Nd}` and nothing
is said about the edges of words. A pattern with a check uses, beyond ASCII, only `\\p{Nd}` and characters as they are:
with `\\d` in place of `\\p{Nd}`, Python's `re` reads it in the same way.
"""

from itertools import groupby
from typing import Final

from exporter.privacy import Pattern

#: Spaces and hyphens as people and word processors write them, for a class of characters.
_SPACE: Final = " \u00a0\u2009\u202f"
_HYPHEN: Final = "\u2010-\u2015\u2212\\-"
_GAP: Final = f"[{_SPACE}{_HYPHEN}]"
#: Every digit that Unicode has.
_ANY_DIGIT: Final = r"\p{Nd}"
#: The digits of Latin, Arabic, Persian, Devanagari and full width. One expression of all patterns must fit into RE2's
#: memory: with `_ANY_DIGIT` in the long ones it would not, and take a hundredfold time.
_DIGIT: Final = "[0-9٠-٩۰-۹०-९０-９]"

_LABEL: Final = r"[\p{L}\p{M}\p{N}_-]+"
_EMAIL: Final = rf"[\p{{L}}\p{{M}}\p{{N}}.!#$%'*+^_{{|}}~-]+[@＠](?:{_LABEL}\.)+[\p{{L}}\p{{M}}]{_LABEL}"

# No count from above: a card that were cut to a number's length would keep its last digit. The check counts.
_BETWEEN: Final = f"[{_SPACE}{_HYPHEN}./()]{{0,3}}"
_PHONE: Final = (
    rf"\([+＋]?{_ANY_DIGIT}{{1,5}}\)(?:{_BETWEEN}{_ANY_DIGIT}){{2,}}"  # (0207) 946-0000
    rf"|[+＋]?{_ANY_DIGIT}(?:{_BETWEEN}{_ANY_DIGIT}){{6,}}"
)

# The usual groups come first, so that what follows a card, as its code does, is no part of it.
_CARD: Final = (
    f"{_DIGIT}{{13,19}}"
    f"|{_DIGIT}{{4}}(?:{_GAP}{_DIGIT}{{4}}){{3}}"
    f"|{_DIGIT}{{4}}{_GAP}{_DIGIT}{{6}}{_GAP}{_DIGIT}{{4,5}}"
    f"|{_DIGIT}(?:{_GAP}?{_DIGIT}){{12,18}}"
)

#: The number of characters of an IBAN, by country. Without it, words that follow would be taken for its end.
IBAN_LENGTHS: Final[dict[str, int]] = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FK", "FO", "GL", "NL", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK"), 20),
    **dict.fromkeys(("CH", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "CR", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "OM", "SO", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HN", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}
_IBAN: Final = "(?i)" + "|".join(
    f"(?:{'|'.join(countries)})[ -]?[0-9]{{2}}(?:[ -]?[A-Z0-9]){{{length - 4}}}"
    for length, countries in groupby(IBAN_LENGTHS, IBAN_LENGTHS.__getitem__)
)

_SSN: Final = "|".join(
    rf"{_DIGIT}{{3}}{gap}{_DIGIT}{{2}}{gap}{_DIGIT}{{4}}" for gap in (f"[{_HYPHEN}]", f"[{_SPACE}]", r"\.")
)

_BYTE: Final = rf"(?:25[0-5]|2[0-4]{_DIGIT}|1{_DIGIT}{{2}}|[1-9]?{_DIGIT})"
_HEX: Final = "[0-9A-Fa-f]"
# One short group before the :: is not enough, because programs write such names.
_IP: Final = (
    rf"(?:{_BYTE}\.){{3}}{_BYTE}"
    rf"|(?:{_HEX}{{1,4}}:){{7}}{_HEX}{{1,4}}"
    rf"|(?:{_HEX}{{1,4}}:){{2,6}}(?::{_HEX}{{1,4}}){{1,5}}"
    rf"|{_HEX}{{3,4}}:(?::{_HEX}{{1,4}}){{1,6}}"
    rf"|(?:{_HEX}{{1,4}}:){{2,7}}:"
)

_SPOKEN: Final = (
    "(?:zero|oh|o|nought|one|two|three|fou?r|five|six|seven|eight|niner?|ten|eleven|twelve"
    "|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    rf"|hundred|thousand|double|triple|{_DIGIT})"
)
_SPOKEN_DIGITS: Final = rf"(?i){_SPOKEN}(?:[{_SPACE}{_HYPHEN},.]{{1,3}}(?:and )?{_SPOKEN}){{6,}}"

#: The patterns by name, in the order in which `all` applies them: `phone` comes before `card`, because a number from
#: abroad may have the check digit of a card, and after those that have a shape of their own.
BUILT_IN: Final[dict[str, Pattern]] = {
    "email": Pattern(regex=_EMAIL, to="[EMAIL]"),
    "iban": Pattern(regex=_IBAN, to="[IBAN]", check="iban"),
    "ip": Pattern(regex=_IP, to="[IP]"),
    "ssn": Pattern(regex=_SSN, to="[SSN]"),
    "phone": Pattern(regex=_PHONE, to="[PHONE]", check="phone"),
    "card": Pattern(regex=_CARD, to="[CARD]", check="luhn"),
    "spoken-digits": Pattern(regex=_SPOKEN_DIGITS, to="[DIGITS]"),
}
