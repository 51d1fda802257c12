"""What is read is plain data: another process can be sent it, with the settings to read it by."""

import pickle
from pathlib import Path

from exporter.contract import DAY, HIDDEN_STATUS
from exporter.model import Interval, PageRequest
from exporter.pipeline.scan import Scan
from exporter.route import Proxy
from exporter.settings import RunSettings

RANGE = Interval(0, 3 * DAY)


def test_a_scan_and_its_settings_survive_the_way_to_another_process() -> None:
    scan = Scan(range=RANGE, windows=(Interval(0, DAY),), hidden_status=HIDDEN_STATUS, updated_since=5)
    settings = RunSettings(ca_file=Path("ca.pem"), proxy=Proxy("proxy:3128", "HTTPS_PROXY", "Basic eDp5"), max_rps=2.5)
    assert pickle.loads(pickle.dumps((scan, settings))) == (scan, settings)


def test_only_filtered_requests_are_narrowed_and_never_widened() -> None:
    scan = Scan(range=RANGE, updated_since=DAY)
    assert scan.narrowed(PageRequest(10)).updated_after == DAY
    assert scan.narrowed(PageRequest(10, updated_after=2 * DAY)).updated_after == 2 * DAY
    assert scan.narrowed(PageRequest(10, updated_after=1)).updated_after == DAY
    plain = PageRequest(10, filtered=False)
    assert scan.narrowed(plain) is plain
    assert Scan(range=RANGE).narrowed(PageRequest(10)) == PageRequest(10)
