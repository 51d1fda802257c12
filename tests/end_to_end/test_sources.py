"""Tests what the API may do to an export: withhold fields, serve odd rows, fail, change, or revoke the token."""

import random
from pathlib import Path
from typing import Final, Literal

import pytest

from exporter.contract import ALWAYS_FIELDS, FIELD_NAMES, FIELDS, SECOND, format_instant
from exporter.sandbox import TOKEN_NOSENSITIVE, Behaviour, Fault, Row, ServedRequest, make_conversations
from tests.end_to_end.conftest import Command, Serving, behave_from
from tests.end_to_end.export_directory import ExportDirectory, assert_same, parse_interval, snapshot, texts
from tests.end_to_end.records import (
    NARROW_FIELDS,
    SINCE,
    UNTIL,
    conversation,
    microseconds,
    records,
    whole_rows_served,
)
from tests.toolkit.sizes import some_of

pytestmark = pytest.mark.usefixtures("hasty")

RANGE = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL))
SENSITIVE = [field.name for field in FIELDS if field.sensitive]


@pytest.fixture
def rows() -> list[Row]:
    return make_conversations(300, SINCE, UNTIL, seed=41)


class TestFields:
    def test_a_token_without_the_sensitive_scope(
        self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server = serving(rows)
        assert command("export", tmp_path / "all", *RANGE, server=server).status == 0
        done = command("export", tmp_path / "out", *RANGE, server=server, token=TOKEN_NOSENSITIVE)
        assert done.status == 0
        assert "not shown to this token (scope conversations:read_sensitive): agent, summary, " in done.out
        exported = ExportDirectory(tmp_path / "out")
        exported.check(records(rows, sensitive=False))
        assert exported.manifest["fields"] == {"withheld": SENSITIVE, "partly_withheld": [], "absent": {}}
        tables = [ExportDirectory(tmp_path / name).manifest["tables"]["conversations"] for name in ("all", "out")]
        assert tables[0]["schema"] == tables[1]["schema"]
        assert not any(TOKEN_NOSENSITIVE.encode() in text for text in texts(tmp_path))

    def test_a_role_that_changes_half_way(
        self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server = serving(rows, Behaviour(role_changed_after=8))
        done = command("export", tmp_path / "out", *RANGE, "--page-size", "30", server=server)
        assert done.status == 3
        exported = ExportDirectory(tmp_path / "out")
        exported.check_sound()
        assert exported.state == "unproven"
        found, whole, bare = exported.records(), records(rows), records(rows, sensitive=False)
        assert_same(found, {id_: whole[id_] if record["agent"] else bare[id_] for id_, record in found.items()})
        without = sum(record["agent"] is None for record in found.values())
        assert 0 < without < len(rows) == len(found)
        fields = exported.manifest["fields"]
        assert (fields["withheld"], fields["absent"]) == ([], dict.fromkeys(sorted(SENSITIVE), without))
        windows = [parse_interval(window) for window in fields["partly_withheld"]]
        for record in found.values():
            inside = any(start <= microseconds(record["created_at"]) < end for start, end in windows)
            assert inside or record["agent"] is not None

    @pytest.mark.parametrize(
        ("option", "names", "kept"),
        [
            ("--fields", "duration,conversation", {"duration", "conversation", *ALWAYS_FIELDS}),
            ("--fields", "id", set(ALWAYS_FIELDS)),
            ("--exclude-fields", "conversation, agent", {*FIELD_NAMES} - {"conversation", "agent"}),
        ],
    )
    def test_chosen_ones_narrow_the_question_and_the_columns(
        self,
        option: str,
        names: str,
        kept: set[str],
        rows: list[Row],
        serving: Serving,
        command: Command,
        tmp_path: Path,
    ) -> None:
        server = serving(rows)
        assert command("export", tmp_path / "out", *RANGE, option, names, server=server).status == 0
        fields = [name for name in FIELD_NAMES if name in kept]
        exported = ExportDirectory(tmp_path / "out")
        exported.check(records(rows, fields=fields))
        columns = [column["name"] for column in exported.manifest["tables"]["conversations"]["schema"]]
        assert columns == [*fields, "extra"]
        assert exported.manifest["request"]["fields"] == fields
        asked = {seen.query["fields"] for seen in server.requests}
        assert asked == {",".join(fields), *NARROW_FIELDS}

    def test_all_of_them_are_asked_for_by_asking_for_none(
        self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server = serving(rows, Behaviour(extra_fields=True))
        assert command("export", tmp_path / "out", *RANGE, server=server).status == 0
        ExportDirectory(tmp_path / "out").check(records(rows, server.behaviour))
        assert {seen.query.get("fields") for seen in server.requests} == {None, *NARROW_FIELDS}


def test_filters_go_along_with_every_page(rows: list[Row], serving: Serving, command: Command, tmp_path: Path) -> None:
    server = serving(rows)
    options = ("--direction", "inbound", "--duration-above", "60", "--updated-before", "2024-02-15")
    assert command("export", tmp_path / "out", *RANGE, *options, server=server).status == 0
    expected = {
        identity: record
        for identity, record in records(rows).items()
        if record["direction"] == "inbound"
        and (record["duration"] or 0) >= 60
        and record["updated_at"].isoformat() <= "2024-02-15T00:00:00+00:00"
    }
    assert 0 < len(expected) < len(rows)
    exported = ExportDirectory(tmp_path / "out")
    exported.check(expected)
    filters = {"direction": "inbound", "duration_above": "60", "updated_before": "2024-02-15T00:00:00Z"}
    assert exported.manifest["request"]["filters"] == filters
    # Lists of ids may be asked for without a filter, to find out when the API applies it.
    asked = [seen.query for seen in server.requests if seen.query["limit"] != "1" and "fields" not in seen.query]
    assert asked
    assert all(filters.items() <= query.items() for query in asked)


def odd(number: int, text: str) -> Row:
    """Makes a row that is served as `text`, which holds `AT` in the place of its time."""
    instant = SINCE + (number * 97_003 + 500) * SECOND
    return Row(instant, instant, raw=text.replace("AT", format_instant(instant)))


ODD_ROWS = {
    "summary holds a lone surrogate": odd(1, '{"id":"o1","created_at":"AT","summary":"half a \\ud83d face"}'),
    "duration is beyond 64 bits": odd(2, f'{{"id":"o2","created_at":"AT","duration":{"9" * 40}}}'),
    "duration is not a number": odd(3, '{"id":"o3","created_at":"AT","duration":NaN}'),
    "id is missing": odd(4, '{"created_at":"AT","status":"completed"}'),
    "status is not a string": odd(5, '{"id":"o5","created_at":"AT","status":{"now":"completed"}}'),
    "created_at is missing": odd(6, '{"id":"o6","status":"completed"}'),
    "duration appears twice, with different values": odd(7, '{"id":"o7","created_at":"AT","duration":1,"duration":2}'),
}
ODD_BUT_FITTING = [
    odd(11, '{"id":"f1","created_at":"AT","custom_metadata":{"n":NaN,"big":' + "9" * 40 + ',"s":"\\ud800"}}'),
    odd(12, '{"id":"f2","created_at":"AT","duration":55.0,"agent":{"id":"a","name":"n","team":"x"},"":[1,  2]}'),
    odd(
        13,
        '{ "id" : "f3", "created_at" : "AT", "summary" : "nul \\u0000 inside", "conversation" : '
        + "[" * 900
        + "]" * 900
        + "}",
    ),
]


def test_odd_rows_cost_nothing_but_themselves(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving([*rows, *ODD_ROWS.values(), *ODD_BUT_FITTING])
    done = command("export", tmp_path / "out", *RANGE, "--page-size", "20", server=server)
    assert done.status == 3
    assert "kept as served, because they do not fit the columns: 7 rows" in done.out
    exported = ExportDirectory(tmp_path / "out")
    exported.check_sound()
    assert (exported.state, exported.manifest["quarantine"]["rows"]) == ("unproven", 7)
    assert {line["reason"]: line["row"].encode() for line in exported.quarantined()} == {
        reason: row.raw for reason, row in ODD_ROWS.items()
    }
    found = exported.records()
    odd_ones = [found.pop(f"f{number}") for number in (1, 2, 3)]
    assert_same(found, records(rows))
    assert odd_ones[0]["custom_metadata"] == '{"n":NaN,"big":' + "9" * 40 + ',"s":"\\ud800"}'
    assert (odd_ones[1]["duration"], odd_ones[1]["agent"]) == (55, {"id": "a", "name": "n"})
    assert odd_ones[1]["extra"] == '{"":[1,  2],"agent":{"team":"x"}}'
    assert odd_ones[2]["summary"] == "nul \0 inside"
    assert odd_ones[2]["conversation"] == "[" * 900 + "]" * 900
    before = snapshot(tmp_path / "out")
    assert command("export", tmp_path / "out", server=server).status == 3
    assert snapshot(tmp_path / "out") == before


def element(number: int, text: str) -> Row:
    """Makes an element of the list that is no conversation."""
    instant = SINCE + (number * 97_003 + 500) * SECOND
    return Row(instant, instant, raw=text)


def test_elements_that_are_no_conversations_cost_nothing_but_themselves(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    texts = ["null", "0", '"text"', "[1, 2]", "{}", "NaN", "null"]
    server = serving([*rows, *(element(number, text) for number, text in enumerate(texts, 1))])
    done = command("export", tmp_path / "out", *RANGE, "--page-size", "20", server=server)
    assert done.status == 3, done.err
    exported = ExportDirectory(tmp_path / "out")
    exported.check(records(rows))
    assert exported.state == "unproven"
    assert sorted(line["row"] for line in exported.quarantined()) == sorted(texts)
    assert {line["reason"] for line in exported.quarantined()} == {"is not an object", "id is missing"}
    before = snapshot(tmp_path / "out")
    assert command("export", tmp_path / "out", server=server).status == 3
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize("page_size", some_of(["1", "2", "1000"], "2", "1000"))
def test_null_at_either_end_of_the_list_ends_nothing_early(
    page_size: str, serving: Serving, command: Command, tmp_path: Path
) -> None:
    few = make_conversations(40, SINCE, UNTIL, seed=43, transcripts=False)
    times = sorted(row.created_at for row in few)
    ends = [times[0] - SECOND, times[-1] + SECOND]
    server = serving([*few, *(Row(instant, instant, raw="null") for instant in ends)])
    done = command(
        "export", tmp_path / "out", "--until", format_instant(UNTIL), "--page-size", page_size, server=server
    )
    assert done.status in (0, 3), done.err
    ExportDirectory(tmp_path / "out").check(records(few))
    assert done.status == 3 or "null in place of conversations" in done.err


def test_nothing_but_null_is_no_empty_list(serving: Serving, command: Command, tmp_path: Path) -> None:
    server = serving([Row(SINCE + number * SECOND, SINCE, raw="null") for number in range(3)])
    done = command("export", tmp_path / "out", *RANGE, server=server)
    assert done.status == 3, done.err
    (doubt,) = ExportDirectory(tmp_path / "out").manifest["unproven"]
    assert "null" in doubt["reason"]
    assert not (tmp_path / "out/_SUCCESS").exists()


def test_an_element_that_has_become_a_conversation_leaves_the_quarantine(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving([*rows, element(7, "null")])
    assert command("export", tmp_path / "out", *RANGE, server=server).status == 3
    whole = serving(rows)
    done = command("reread", tmp_path / "out", "--since", RANGE[1], "--until", RANGE[3], server=whole)
    assert done.status == 0, done.err
    ExportDirectory(tmp_path / "out").check(records(rows))
    assert not ExportDirectory(tmp_path / "out").quarantined()


class TestGroups:
    """Tests rows of one created_at, more than a page holds."""

    AT = SINCE + 1_234_567 * SECOND

    def group(self, count: int, step: int) -> list[Row]:
        return [
            conversation(self.AT, self.AT + number * step, f"g{number:03d}", duration=number) for number in range(count)
        ]

    def test_are_told_apart_by_when_they_changed(
        self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        group = self.group(350, 1)
        server = serving([*rows, *group], Behaviour(page_cap=100, equals="shuffled"))
        assert command("export", tmp_path / "out", *RANGE, server=server).status == 0
        ExportDirectory(tmp_path / "out").check(records([*rows, *group]))

    def test_are_named_where_nothing_tells_them_apart(
        self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        group = self.group(350, 0)
        server = serving([*rows, *group], Behaviour(page_cap=100))
        done = command("export", tmp_path / "out", *RANGE, server=server)
        assert done.status == 3
        assert "1 interval (3 days, 100 rows read) may have more rows than the API would show" in done.out
        assert f"  exporter reread {tmp_path / 'out'}\n" in done.out
        exported = ExportDirectory(tmp_path / "out")
        exported.check_sound()
        (doubt,) = exported.manifest["unproven"]
        assert doubt["created_at"] == format_instant(self.AT)
        assert "all with the same updated_at" in doubt["reason"]
        found = exported.records()
        assert doubt["rows"] == len(found) - len(rows) >= 100
        assert_same(found, {id_: record for id_, record in records([*rows, *group]).items() if id_ in found})
        assert records(rows).keys() <= found.keys()
        assert exported.state == "unproven"


FAULTS: Final[tuple[Fault, ...]] = (
    "500",
    "502",
    "503",
    "504",
    "reset",
    "reset-mid-body",
    "short-body",
    "half-json",
    "html",
)


class TestFailures:
    @pytest.mark.parametrize("seed", some_of([1, 2], 2))
    def test_one_request_in_five_meets_one(
        self, seed: int, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server = serving(rows, Behaviour(fault_rate=0.2, faults=FAULTS, latency=0.002, retry_after="absent", seed=seed))
        done = command("export", tmp_path / "out", *RANGE, "--page-size", "10", server=server)
        assert done.status == 0, done.err
        exported = ExportDirectory(tmp_path / "out")
        exported.check(records(rows))
        totals = exported.manifest["totals"]
        assert totals["requests"] == len(server.requests) == totals["pages"] + totals["retries"]
        assert totals["retries"] > 5

    def test_each_of_them_in_turn(self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path) -> None:
        faults: tuple[Fault, ...] = (*FAULTS, "gzip", "wrong-type", "trickle")
        script: list[Fault | Literal["ok"]] = []
        for fault in faults:
            script += ("ok", fault)
        server = serving(rows, Behaviour(script=tuple(script), trickle_rate=1_000_000))
        options = (*RANGE, "--page-size", "10", "--concurrency", "2")
        assert command("export", tmp_path / "out", *options, server=server).status == 0
        ExportDirectory(tmp_path / "out").check(records(rows))

    def test_too_fast(self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path) -> None:
        server = serving(rows, Behaviour(rate=60, burst=3, retry_after="absent"))
        assert command("export", tmp_path / "out", *RANGE, "--page-size", "10", server=server).status == 0
        exported = ExportDirectory(tmp_path / "out")
        exported.check(records(rows))
        assert exported.manifest["totals"]["throttled"] > 0

    def test_a_token_revoked_half_way(
        self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server = serving(rows, Behaviour(revoked_after=12))
        options = (*RANGE, "--page-size", "10", "--concurrency", "1")
        done = command("export", tmp_path / "out", *options, server=server)
        assert (done.status, done.out) == (4, "")
        assert "401" in done.err
        assert "What was read is committed; run again with a token that is let in to resume" in done.err
        assert server.token not in done.err
        exported = ExportDirectory(tmp_path / "out")
        exported.check_sound()
        assert exported.state == "incomplete"
        kept = exported.records()
        served = {row.facts()["id"] for row in whole_rows_served(rows, server.requests[:12], Behaviour())}
        # The last row waits for an older one, which shows that no other row shares its time.
        assert (kept.keys() <= served, len(served) - len(kept)) == (True, 1)
        server.behaviour = Behaviour()
        first = len(server.requests)
        assert command("export", tmp_path / "out", *options, server=server).status == 0
        ExportDirectory(tmp_path / "out").check(records(rows))
        again = {row.facts()["id"] for row in whole_rows_served(rows, server.requests[first:], Behaviour())}
        assert len(again & kept.keys()) <= 1

    def test_a_server_that_is_gone_half_way(
        self, rows: list[Row], serving: Serving, command: Command, tmp_path: Path
    ) -> None:
        server = serving(rows)
        behave_from(server, 12, Behaviour(faults=("redirect",), fault_rate=1.0))
        options = (*RANGE, "--page-size", "10", "--concurrency", "1")
        done = command("export", tmp_path / "out", *options, server=server)
        assert done.status == 1
        assert "fix that, then run again to resume" in done.err
        exported = ExportDirectory(tmp_path / "out")
        exported.check_sound()
        assert len(exported.records()) > 50
        server.on_request, server.behaviour = None, Behaviour()
        assert command("export", tmp_path / "out", *options, server=server).status == 0
        ExportDirectory(tmp_path / "out").check(records(rows))


def test_rows_that_change_come_and_go_while_they_are_read(
    rows: list[Row], serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(rows)
    rng = random.Random(5)
    steady = {str(row.facts()["id"]) for row in rows[::2]}
    restless = [str(row.facts()["id"]) for row in rows[1::2]]
    rng.shuffle(restless)
    versions = {identity: [record] for identity, record in records(rows).items()}

    def stir(seen: ServedRequest) -> None:
        changed = rng.choice(restless)
        server.update(changed, UNTIL + seen.number * SECOND, status="failed", duration=seen.number)
        (record,) = (records([row])[changed] for row in server.rows if row.facts()["id"] == changed)
        versions[changed].append(record)
        server.delete(restless.pop())
        new = conversation(UNTIL - seen.number, UNTIL, f"new-{seen.number}", status="ringing")
        server.insert(new)
        versions.update({identity: [record] for identity, record in records([new]).items()})

    server.on_request = stir
    assert command("export", tmp_path / "out", *RANGE, "--page-size", "10", server=server).status == 0
    exported = ExportDirectory(tmp_path / "out")
    exported.check_sound()
    found = exported.records()
    assert all(record in versions[identity] for identity, record in found.items())
    assert steady | {*restless} <= found.keys()
    assert (exported.state, len(versions)) == ("complete", len(rows) + len(server.requests))
