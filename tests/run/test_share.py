"""Tests what a share tells a worker of the settings of a run."""

from pathlib import Path

from exporter.keys import Keys
from exporter.run.share import KeyPlaces, ReadSettings
from exporter.settings import RunSettings

#: A worker finds its own proxy; the range and the clock are settled, signals are the driver's, and so are recordings.
NOT_TOLD = {"proxy", "lag_seconds", "trust_clock", "heeds_signals", "recordings"}


def test_a_worker_has_each_setting_of_the_run_that_it_reads_by() -> None:
    given = RunSettings(
        base_url="http://127.0.0.1:8080",
        ca_file=Path("/etc/ours.pem"),
        concurrency=3,
        max_rps=9.0,
        wait_seconds=7.0,
        page_size=50,
        target_part_bytes=1 << 20,
        memory_bytes=1 << 29,
        hydrate="never",
    )
    used = ReadSettings.of(given, 4.5).used_in({"HTTPS_PROXY": "http://proxy:3128"})
    told = {*RunSettings.__struct_fields__} - NOT_TOLD
    assert all(getattr(given, name) != getattr(RunSettings(), name) for name in told)
    assert {name: getattr(used, name) for name in told} == {name: getattr(given, name) for name in told} | {
        "max_rps": 4.5
    }
    assert not used.heeds_signals


def test_a_file_is_named_in_full() -> None:
    places = KeyPlaces.of(Keys(privacy_file=Path("privacy.key")))
    assert places == KeyPlaces(privacy_file=str(Path.cwd() / "privacy.key"))
    assert places.found_in({"A": "b"}) == Keys({"A": "b"}, Path.cwd() / "privacy.key")
