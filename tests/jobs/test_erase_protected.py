"""An erasure finds somebody under a policy: by what was served, in what is stored, and in rows that are withheld."""

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from exporter.cli.erase_report import describe_erased
from exporter.contract import HOUR
from exporter.encode.protect.patterns import BUILT_IN
from exporter.errors import ProtectionError, UsageError
from exporter.keys import Keys
from exporter.log.commits import load_state
from exporter.privacy import Policy, Rule
from exporter.store.local.store import LocalStore
from tests.jobs.erasing import ids, names
from tests.jobs.moving import Source, fill, moving_source
from tests.jobs.protected import HASH, OTHER_KEYS, REDACT, fingerprints, policy
from tests.jobs.test_erase import ANN, EMAIL, TURNS, erased, put_ann, says, synced, verified

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("hasty")]
OTHER: Final = "other@example.com"
#: `lower` and `trim` make one value of several.
LOWER: Final = Rule(action="hash", domain="person", normalise=("trim", "lower"))
HASHED: Final = policy(
    {
        "user_id": LOWER,
        "custom_metadata.email": HASH,
        "agent_number": Rule(action="mask", keep=2),
        "summary": Rule(action="drop"),
        "conversation.items[*].content": REDACT,
    },
    patterns={name: BUILT_IN[name] for name in REDACT.patterns},
)


async def filled(root: Path, source: Source, rules: Policy = HASHED, **more: Any) -> list[str]:
    """Exports Ann's conversations, the last of which fits no column, among others under a policy."""
    fill(source, 20, user_id="somebody", custom_metadata={"email": OTHER}, conversation=says("hello"))
    hers = put_ann(source, 2)
    hers += put_ann(source, 1, duration=0.5)
    source.insert(source.now - HOUR, user_id="somebody", duration=0.5, custom_metadata={"email": OTHER})
    result = await synced(root, source, tables=TURNS, policy=rules, **more)
    assert result.summary.quarantined_rows == 2
    return hers


@pytest.mark.parametrize(
    ("by", "value"), [("user_id", ANN), ("custom_metadata.email", EMAIL), ("user_id", f" {ANN.upper()} ")]
)
async def test_whoever_is_hashed_is_found_and_does_not_come_back(tmp_path: Path, by: str, value: str) -> None:
    async with moving_source(21) as source:
        hers = await filled(tmp_path, source)
        before = ids(tmp_path)
        planned = await erased(tmp_path, by=by, values=[value], dry_run=True)
        done = await erased(tmp_path, by=by, values=[value], future=True, mentions=True)
        assert planned.erased.conversations == done.erased.conversations == 3
        assert (done.exit_status, done.left, len(done.finished), done.mentions) == (0, (), 1, ())
        assert (done.erased.turns, done.erased.quarantine_lines) == (2, 1)
        assert ids(tmp_path) == ids(tmp_path, "turns") == before - {*hers}
        for identity in hers:
            source.update(identity, channel="changed")
        put_ann(source, 1)
        put_ann(source, 1, duration=0.5)
        result = await synced(tmp_path, source)
        assert (result.summary.erased, result.summary.quarantined_rows) == (5, 1)
        assert ids(tmp_path) == before - {*hers}
        assert (await verified(tmp_path)).problems == ()
    assert not names(tmp_path, [ANN, EMAIL, *(f'"{identity}"' for identity in hers)])


async def test_a_path_that_no_rule_hashes_keeps_out_what_comes_later(tmp_path: Path) -> None:
    async with moving_source(22) as source:
        fill(source, 10, user_id="somebody")
        known = {"user_id": "x", "initial_context": {"customers": [{"id": "u7"}]}}
        source.insert(source.now - HOUR, **known)
        source.insert(source.now - HOUR, duration=0.5, **known)
        await synced(tmp_path, source, policy=HASHED)
        for by in ("initial_context.customers[0].id", "initial_context.**.id"):
            done = await erased(tmp_path, by=by, values=["u7"], future=True)
            assert done.exit_status == 0
        source.insert(source.now - HOUR, **known)
        result = await synced(tmp_path, source)
        assert (result.summary.erased, len(ids(tmp_path)), result.summary.quarantined_rows) == (1, 10, 0)


@pytest.mark.parametrize(
    ("wish", "says_so"),
    [
        ({"by": "agent_number"}, "keeps 2 digits of it.*--id"),
        ({"by": "summary"}, "the policy drops it.*--id"),
        ({"by": "conversation.items[*].content"}, r"changes what is stored of it \(redact\).*--id"),
        ({"by": "extra.phone"}, "drops what no column holds"),
        ({"by": "user_id", "digits": True}, "leave --digits out"),
        ({"by": "custom_metadata.*"}, "hashes values there.*without"),
        ({"by": "custom_metadata"}, "hashes values there.*without"),
    ],
)
async def test_what_would_find_others_is_refused(tmp_path: Path, wish: dict[str, Any], says_so: str) -> None:
    async with moving_source(23) as source:
        await filled(tmp_path, source)
        before = fingerprints(tmp_path)
        with pytest.raises(UsageError, match=says_so) as refused:
            await erased(tmp_path, **{"values": ["4155550100"], **wish})
    assert "4155550100" not in str(refused.value)
    assert fingerprints(tmp_path) == before


async def test_a_key_that_is_wrong_or_missing_touches_nothing(tmp_path: Path) -> None:
    async with moving_source(24) as source:
        hers = await filled(tmp_path, source)
        before = fingerprints(tmp_path)
        for keys in (Keys(), OTHER_KEYS):
            for wish in ({"by": "user_id", "values": [ANN]}, {"ids": hers}, {"by": "channel", "values": ["x"]}):
                with pytest.raises(ProtectionError) as refused:
                    await erased(tmp_path, keys=keys, **wish)
                assert refused.value.exit_status == 2
    assert fingerprints(tmp_path) == before


async def test_a_withheld_row_that_does_not_tell_whose_it_is_is_named(tmp_path: Path) -> None:
    async with moving_source(25) as source:
        fill(source, 10, user_id="somebody")
        put_ann(source, 1)
        odd = source.insert(source.now - HOUR, user_id=ANN, duration=0.5, custom_metadata=[*range(300)])
        await synced(tmp_path, source, policy=HASHED)
        done = await erased(tmp_path, by="user_id", values=[ANN])
        assert (done.exit_status, done.erased.conversations) == (3, 1)
        (left,) = done.left
        assert "1 row withheld in a form that does not tell whose" in left and "--id" in left
        # What is left keeps nobody from finishing the erasure of those who were found.
        assert done.finished == (done.certificate,)
        assert not [line for line in describe_erased(done, tmp_path) if "not finished" in line]
        state = await load_state(LocalStore(tmp_path))
        (erasure,) = state.privacy.erasures
        told = msgspec.json.decode((tmp_path / erasure.certificate).read_bytes())
        assert "1 row withheld" in told["remaining"][-1]
        again = await erased(tmp_path, ids=[odd])
        assert (again.exit_status, again.erased.quarantine_lines) == (0, 1)
