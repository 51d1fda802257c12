"""A host that fails again and again is given up; what one recording does says nothing of its host."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.schedule.outages import Outages

BAD = ("attempts", "short", "slow", "certificate", "redirects", "address", "status 502", "status 429", "type text/html")
FINE = (None, "empty", "too large", "encoding", "status 403", "status 404", "no conversation", "link")
HOSTS = ("a.example.com", "b.example.com")


#: Stretches of one result each: single ones would hardly ever make a row that is long enough.
RUNS = st.lists(st.tuples(st.sampled_from(HOSTS), st.sampled_from((*BAD, *FINE)), st.integers(1, 40)), max_size=12).map(
    lambda stretches: [(host, reason) for host, reason, times in stretches for _ in range(times)]
)


@given(RUNS, st.integers(1, 20))
def test_a_host_is_given_up_after_so_many_failures_in_a_row(
    notes: list[tuple[str, str | None]], concurrency: int
) -> None:
    outages, in_a_row, given_up = Outages(concurrency), dict[str, int](), dict[str, str | None]()
    for host, reason in notes:
        outages.note(host, reason)
        in_a_row[host] = in_a_row.get(host, 0) + 1 if reason in BAD else 0
        if in_a_row[host] >= max(24, 3 * concurrency):
            given_up.setdefault(host, reason)
    assert {*outages.hosts} == given_up.keys() == {host for host in HOSTS if outages.is_given_up(host)}
    assert outages.are_all == (bool(in_a_row) and given_up.keys() == in_a_row.keys())
    assert outages.are_failing == any(in_a_row.values())
    assert outages.has_any_answered == any(reason != "address" for _, reason in notes)
    for host in HOSTS:
        assert outages.has_answered(host) == any(reason != "address" for one, reason in notes if one == host)
    assert {host: outages.reason(host) for host in given_up} == given_up
