"""The stored policy decides; what does not agree with it is refused by name, before anything is read."""

from pathlib import Path

import pytest

from exporter.errors import DestinationError, ProtectionError, UsageError
from exporter.keys import NO_KEYS
from exporter.log.privacy import Privacy
from exporter.log.state import State
from exporter.model import TURNS
from exporter.privacy import Policy, Recordings, Rule
from exporter.run.protection import resolved, settle_policy, settle_stricter, stored_tables, tables_of
from exporter.settings import Request, Selection
from tests.jobs.protected import DROP, HASH, KEYS, OTHER_KEYS, policy

OUT = Path("out")
ONE = resolved(policy(), KEYS)
STORED = State(request=Request(), privacy=Privacy(policy=ONE))


def test_an_export_without_a_policy_has_none() -> None:
    assert settle_policy(State(), Selection(), OUT, NO_KEYS) is None
    assert settle_policy(State(request=Request()), Selection(), OUT, NO_KEYS) is None
    assert tables_of(Request(), None, NO_KEYS).policy == ""


def test_the_first_policy_is_stored_with_what_tells_another_key() -> None:
    settled = settle_policy(State(), Selection(policy=policy()), OUT, KEYS)
    assert settled is not None
    assert settled.key is not None
    assert len(settled.key.check) == 16
    assert settled.fingerprint == ONE.fingerprint != policy().fingerprint


def test_the_stored_one_counts() -> None:
    assert settle_policy(STORED, Selection(), OUT, KEYS) == ONE
    with pytest.raises(ProtectionError, match="not the key k1 that this export was made with"):
        settle_policy(STORED, Selection(), OUT, OTHER_KEYS)
    with pytest.raises(ProtectionError, match="the key k1 is needed"):
        settle_policy(STORED, Selection(policy=policy()), OUT, NO_KEYS)


def test_tables_name_the_policy_and_need_the_key_for_what_they_make() -> None:
    assert tables_of(Request(), ONE, KEYS).policy == ONE.fingerprint
    assert stored_tables(STORED, NO_KEYS).policy == ONE.fingerprint
    with pytest.raises(ProtectionError, match="k1"):
        tables_of(Request(), ONE, NO_KEYS)
    hashed = resolved(policy(turns={"tool_name": HASH}), KEYS)
    with pytest.raises(ProtectionError, match="k1"):
        stored_tables(State(request=Request(), privacy=Privacy(policy=hashed)), NO_KEYS)


def test_a_policy_without_hashes_needs_no_key() -> None:
    plain = Policy(rules={"summary": DROP}, quarantine="keep")
    assert settle_policy(State(), Selection(policy=plain), OUT, NO_KEYS) == plain
    assert tables_of(Request(), plain, NO_KEYS).policy == plain.fingerprint


def test_a_stricter_policy_is_for_what_there_is() -> None:
    with pytest.raises(DestinationError, match="no export here"):
        settle_stricter(State(), policy(), OUT, KEYS)
    with pytest.raises(UsageError, match="--policy FILE"):
        settle_stricter(State(request=Request()), None, OUT, KEYS)
    with pytest.raises(ProtectionError, match="--tables: turns are made of transcripts"):
        settle_stricter(
            State(request=Request(tables=("conversations", TURNS))), policy({"conversation": DROP}), OUT, KEYS
        )
    redacting = policy({"summary": Rule(action="redact")})
    with pytest.raises(ProtectionError, match='recordings = "plain"'):
        settle_stricter(State(request=Request(), has_recordings=True), redacting, OUT, KEYS)
    assert settle_stricter(STORED, None, OUT, KEYS) == ONE


@pytest.mark.parametrize("said", ["plain", "encrypted"])
def test_what_is_said_of_audio_lets_it_lie_beside_redacted_text(said: Recordings) -> None:
    redacting = policy({"summary": Rule(action="redact")}, recordings=said)
    settled = settle_stricter(State(request=Request(), has_recordings=True), redacting, OUT, KEYS)
    assert settled.recordings == said
