"""The table of how long a reading takes agrees with what a page takes."""

import re

from tests.toolkit.manual import PAGES

ROWS = 10**9
PAGE_ROWS = 1000
#: Of a core, for a page of conversations of 5 kB.
PAGE_SECONDS = 0.06
PAGE_BYTES = 5_000_000


def test_the_table_of_cores_and_requests() -> None:
    page = PAGES["scale-out"]
    assert f"Reading needs {PAGE_SECONDS} of a core for each request a second" in " ".join(page.text.split())
    columns = [1, 2, 8, 16, 64]
    rows = page.table_headed("requests a second allowed")
    assert len(rows) == 6
    for allowed, busy, network, *hours, _ in rows:
        rate = int(allowed)
        cores = [float(number) for number in re.findall(r"[\d.]+", busy)]
        assert cores == [round(rate * PAGE_SECONDS, 2), round(2 * rate * PAGE_SECONDS, 2)]
        number, unit = network.split(" ")
        assert float(number) * {"MB/s": 1e6, "GB/s": 1e9}[unit] == rate * PAGE_BYTES
        for count, text in zip(columns, hours, strict=True):
            pages_a_second = min(rate, count / PAGE_SECONDS)
            expected = ROWS / PAGE_ROWS / pages_a_second / 3600
            assert text == (f"{expected:.0f} h" if expected > 100 else f"{expected:.1f} h")
