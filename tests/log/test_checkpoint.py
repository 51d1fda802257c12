"""A checkpoint holds exactly what its commits fold to, whatever they are."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from exporter.log.checkpoint import Head, decode_checkpoint, encode_checkpoint
from exporter.log.fold import fold
from exporter.log.state import Commit
from tests.toolkit.commit_logs import commit_logs


def head_of(commits: list[Commit]) -> Head:
    return Head().after(commits, [msgspec.json.encode(one) for one in commits])


@given(commit_logs(), st.data())
def test_what_is_taken_up_is_what_was_folded(commits: list[Commit], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(commits)))
    head = head_of(commits[:cut])
    text = encode_checkpoint(head)
    found = decode_checkpoint(text, cut)
    assert found is not None
    assert found.state == head.state == fold(commits[:cut])
    assert [*found.state.files] == [*head.state.files]
    assert [*found.state.quarantine] == [*head.state.quarantine]
    assert [*found.state.changes] == [*head.state.changes]
    assert encode_checkpoint(found) == text
    rest = commits[cut:]
    after = found.after(rest, [msgspec.json.encode(one) for one in rest])
    assert after.state == fold(commits)
    assert after.commits_sha256 == head_of(commits).commits_sha256
