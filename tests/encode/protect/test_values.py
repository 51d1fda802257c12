import hmac
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.encode.protect.values import REGIONS, Hasher, hash_purpose, mask, normaliser, rounded, without_query
from exporter.errors import UsageError
from exporter.keys import Key


@given(st.binary(min_size=32, max_size=32), st.text(max_size=8), st.lists(st.text(), max_size=4))
def test_a_hash_is_the_keyed_hash_of_its_domain_and_value(secret: bytes, domain: str, values: list[str]) -> None:
    key = Key("k1", secret)
    made = Hasher(key, domain).all(values)
    assert made == [f"k1.{key.tag(hash_purpose(domain), value)}" if value else "" for value in values]
    for value, hashed in zip(values, made, strict=True):
        text = f"hash:{domain}\0{value}".encode()
        assert not value or hashed == "k1." + hmac.digest(secret, text, sha256).hex()[:32]


def test_equal_values_have_equal_hashes_only_in_one_domain_and_with_one_key() -> None:
    key = Key("k1", b"1" * 32)
    assert Hasher(key, "person")("a") == Hasher(key, "person")("a")
    assert (
        len({Hasher(key, "person")("a"), Hasher(key, "other")("a"), Hasher(Key("k1", b"2" * 32), "person")("a")}) == 3
    )


def test_values_are_normalised_in_the_order_of_the_rule() -> None:
    hasher = Hasher(Key("k1", b"1" * 32), "person", ("trim", "phone:US", "lower"))
    ways = (
        "+1 (415) 555-0100",
        "415.555.0100",
        "14155550100",
        " 001 14155550100".replace("001 1", "0111"),
        "４１５ ５５５ ０１００",
    )
    assert len(set(hasher.all(ways))) == 1
    assert hasher(" Ann@Example.org") == hasher("ann@example.org")
    assert hasher("   ") == ""


@pytest.mark.parametrize(
    ("name", "value", "normalised"),
    [
        ("lower", "ÄB", "äb"),
        ("trim", " a ", "a"),
        ("digits", "a1-٢", "12"),
        ("phone:DE", "030 901820", "+4930901820"),
        ("phone:DE", "0049 30 901820", "+4930901820"),
        ("phone:DE", "+49 30 901820", "+4930901820"),
        ("phone:GB", "(020) 7946-0000", "+442079460000"),
        ("phone:IT", "06 6982", "06 6982"),
        ("phone:IT", "06 698 1234", "+39066981234"),
        ("phone:US", "room 4155550100", "room 4155550100"),
    ],
)
def test_a_normaliser(name: str, value: str, normalised: str) -> None:
    assert normaliser(name)(value) == normalised


@pytest.mark.parametrize("name", ["upper", "phone", "phone:XX", "lower:US"])
def test_an_unknown_normaliser_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(UsageError, match="phone:REGION"):
        normaliser(name)
    assert "US" in REGIONS


@pytest.mark.parametrize(
    ("value", "keep", "masked"),
    [
        ("+1 (415) 555-0100", 4, "+* (***) ***-0100"),
        ("12345678", 4, "****5678"),
        ("1234567", 4, "*******"),
        ("٠١٢٣٤٥٦٧", 2, "******٦٧"),
        ("sip:ann@example.org", 2, "***:***@*******.***"),
        ("123", 0, "***"),
        ("", 4, ""),
    ],
)
def test_a_mask(value: str, keep: int, masked: str) -> None:
    assert mask(value, keep) == masked


@given(st.text(), st.integers(0, 6))
def test_a_mask_shows_at_most_half_of_the_digits_and_no_letter(value: str, keep: int) -> None:
    masked = mask(value, keep)
    shown = sum(map(str.isdecimal, masked))
    assert shown in (0, keep) and 2 * shown <= sum(map(str.isdecimal, value))
    assert not any(character.isalpha() for character in masked)
    assert len(masked) == len(value)


def test_an_address_loses_its_query() -> None:
    assert without_query("https://h/a.wav?sig=1&x=?#y") == "https://h/a.wav"
    assert without_query("https://h/a.wav#t=\n1") == "https://h/a.wav"


@given(st.integers(-(10**6), 10**6), st.integers(1, 100))
def test_rounding_is_to_the_nearest_multiple(value: int, to: int) -> None:
    assert rounded(value, to) % to == 0
    assert 2 * abs(rounded(value, to) - value) <= to
