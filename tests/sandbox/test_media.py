import pytest

from exporter.errors import UsageError
from exporter.sandbox import MEDIA_FAULTS, MediaBehaviour, media_from_options


def test_switches_and_faults_share_one_option() -> None:
    assert media_from_options([]) == MediaBehaviour()
    assert media_from_options(
        ["lifetime-seconds=60", "cut=0.5", "redirect_http=0.1", "dialect=amazon", "cut=0.05", "redirect_host=a.example"]
    ) == MediaBehaviour(
        lifetime_seconds=60, dialect="amazon", redirect_host="a.example", faults={"cut": 0.05, "redirect-http": 0.1}
    )


def test_every_fault_is_a_switch_and_all_of_them_may_be_set() -> None:
    share = 1 / len(MEDIA_FAULTS)
    chosen = media_from_options([f"{fault}={share}" for fault in MEDIA_FAULTS])
    assert chosen.faults == dict.fromkeys(MEDIA_FAULTS, share)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["cut"], "cut: must have a value, as in cut=VALUE"),
        (["cutt=0.1"], "cutt=0.1: there is no such switch. Did you mean cut?"),
        (["redirect_htp=1"], "redirect_htp=1: there is no such switch. Did you mean redirect-http?"),
        (["mood=bad"], "mood=bad: there is no such switch. exporter sandbox --help lists the switches"),
        (["faults=cut"], "faults=cut: there is no such switch. exporter sandbox --help lists the switches"),
        (["cut=2"], "cut=2: must be a number from 0 to 1"),
        (["cut=often"], "cut=often: must be a number from 0 to 1"),
        (["cut=0.6", "416=0.5"], "cut, 416: the shares are 1.1 together, more than 1"),
        (["lifetime_seconds=0"], "lifetime_seconds=0: must be a whole number of seconds, at least 1"),
        (["late_seconds=-1"], "late_seconds=-1: must be a number of seconds, at least 0"),
        (["bytes_each=99"], "bytes_each=99: must be a whole number, at least 100"),
        (["deleted=403"], "deleted=403: must be 404 or 410. Did you mean 404?"),
        (["dialect=amazn"], "dialect=amazn: must be expires, amazon, opaque, path or details. Did you mean amazon?"),
    ],
)
def test_says_what_is_wrong_in_one_line(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        media_from_options(texts)
    assert str(raised.value) == f"--media {said}"
