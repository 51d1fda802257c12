"""Names of time zones are known, whatever their case, and a slip is answered with the name that was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import UsageError
from exporter.zones import check_zone, known_zones, load_zone


@given(st.sampled_from(sorted(known_zones())))
def test_every_known_zone_can_be_loaded_by_its_checked_name(name: str) -> None:
    for typed in (name, name.lower(), f" {name} ", name.replace("_", " ")):
        found = check_zone(typed, "--timezone")
        assert found == name or found == "UTC"
        assert load_zone(found).key == found


@pytest.mark.parametrize("name", ["UTC", "utc", "Etc/UTC", "Zulu", "etc/universal"])
def test_utc_has_one_name(name: str) -> None:
    assert check_zone(name, "--timezone") == "UTC"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Berlin", "Europe/Berlin"),
        ("Europe/Berln", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("Kolkatta", "Asia/Kolkata"),
    ],
)
def test_a_slip_is_answered_with_the_name_that_was_meant(typed: str, meant: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_zone(typed, "--timezone")
    assert str(raised.value) == f"--timezone {typed!r}: no such time zone. Did you mean {meant}?"


@pytest.mark.parametrize("typed", ["", "+01:00", "PST", "localtime", "Factory", "right/Europe/Berlin", "../passwd"])
def test_what_names_no_place_is_refused(typed: str) -> None:
    with pytest.raises(UsageError, match=r"no such time zone\. (Write its IANA name|Did you mean)"):
        check_zone(typed, "--timezone")


def test_a_zone_that_a_machine_lacks_is_named() -> None:
    with pytest.raises(UsageError, match="the time zone Mars/Olympus is not known to this machine"):
        load_zone("Mars/Olympus")
