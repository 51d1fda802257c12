"""Tests that an export is exact, or refused aloud, whatever the server turns out to be."""

import random
from pathlib import Path

import pytest

from exporter.contract import DAY, SECOND, Instant, format_instant, parse_timestamp
from exporter.sandbox import Behaviour, Row, make_conversations
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, conversation, microseconds, records
from tests.toolkit.sizes import combinations, some_of

DAYS = 3
END = SINCE + DAYS * DAY
#: The range of the export; rows exist on both sides of it.
FROM, TO = SINCE + DAY // 2, END - DAY // 2 + 123


def dense_rows(seed: int) -> list[Row]:
    """Makes rows whose times are equal, or equal once cut or rounded, also at the ends of the range."""
    rng = random.Random(seed)
    rows = make_conversations(160, SINCE, END, seed=seed, density="bulk", transcripts=False)
    instants: list[Instant] = []
    for centre in (FROM, TO, rng.randrange(SINCE, END), rng.randrange(SINCE, END)):
        instants += [centre + round(rng.gauss(0, 1.5) * SECOND) for _ in range(8)]
        instants += [centre + round(rng.gauss(0, 1500)) for _ in range(8)]
        instants += [centre + near for near in (-1, 0, 0, 0, 1, 499_999, 500_000, 500_001, 999_999, -500_000)]
    for number, instant in enumerate(instants):
        updated_at = instant + rng.randrange(100_000) * SECOND // 7
        rows.append(conversation(instant, updated_at, f"near-{number:03d}", duration=number))
    return rows


def random_behaviour(seed: int) -> Behaviour:
    rng = random.Random(seed)
    ignores = rng.choice(((), (), ("cursor",), ("created_before",), ("created_after",), ("fields",)))
    return Behaviour(
        cursor=rng.choice(("strict", "inclusive")),
        precision=rng.choice(("us", "ms", "s")),
        rounding=rng.choice(("cut", "half-even", "half-up")),
        fraction=rng.choice(("fixed", "python", "trimmed")),
        offset=rng.choice(("Z", "+00:00", "none")),
        compares=rng.choice(("stored", "served")),
        page_cap=rng.choice((None, 100, 30)),
        page_bytes=rng.choice((None, None, 20_000)),
        equals=rng.choice(("fixed", "shuffled")),
        extra_fields=rng.random() < 0.3,
        hides_token_created=rng.random() < 0.3,
        ignores=ignores,
        latency=rng.choice((0.0, 0.001)),
        seed=seed,
    )


ONE_SWITCH = {
    "well-meaning": Behaviour(),
    "inclusive": Behaviour(cursor="inclusive"),
    "milliseconds": Behaviour(precision="ms"),
    "seconds": Behaviour(precision="s"),
    "rounded-seconds": Behaviour(precision="s", rounding="half-up"),
    "rounded-and-inclusive": Behaviour(precision="s", rounding="half-even", cursor="inclusive"),
    "compares-what-it-serves": Behaviour(precision="s", compares="served"),
    "python-fractions": Behaviour(fraction="python", offset="+00:00"),
    "no-offset": Behaviour(offset="none", fraction="trimmed"),
    "page-cap": Behaviour(page_cap=100),
    "page-bytes": Behaviour(page_bytes=30_000),
    "hides-token-created": Behaviour(hides_token_created=True),
    "shuffled-equals": Behaviour(equals="shuffled"),
    "ignores-cursor": Behaviour(ignores=("cursor",)),
    "ignores-created-before": Behaviour(ignores=("created_before",)),
    "ignores-created-after": Behaviour(ignores=("created_after",)),
    "ignores-fields": Behaviour(ignores=("fields",)),
}


def arguments(destination: Path, page_size: int, concurrency: int) -> tuple[str | Path, ...]:
    range_ = ("--since", format_instant(FROM), "--until", format_instant(TO))
    return ("export", destination, *range_, "--page-size", str(page_size), "--concurrency", str(concurrency))


@pytest.mark.parametrize(("name", "page_size"), combinations([*ONE_SWITCH], [7, 1000], one_in=2))
def test_one_switch_at_a_time(name: str, page_size: int, serving: Serving, command: Command, tmp_path: Path) -> None:
    rows, behaviour = dense_rows(1), ONE_SWITCH[name]
    done = command(*arguments(tmp_path / "out", page_size, 3), server=serving(rows, behaviour))
    assert done.status == 0, done.err
    ExportDirectory(tmp_path / "out").check(records(rows, behaviour, since=FROM, until=TO))


@pytest.mark.parametrize("seed", some_of(range(100, 116), *range(101, 106)))
def test_many_switches_at_once(seed: int, serving: Serving, command: Command, tmp_path: Path) -> None:
    rng = random.Random(seed)
    page_size, concurrency = rng.choice((1, 7, 40, 1000)), rng.choice((1, 2, 8, 32))
    rows, behaviour = dense_rows(seed), random_behaviour(seed)
    done = command(*arguments(tmp_path / "out", page_size, concurrency), server=serving(rows, behaviour))
    expected = records(rows, behaviour, since=FROM, until=TO)
    exported = ExportDirectory(tmp_path / "out")
    if done.status == 3:
        # A list of whole rows in place of ids proves little if pages are short, or limited by bytes.
        assert behaviour.ignores == ("fields",), (behaviour, exported.manifest["unproven"])
        doubtful = {parse_timestamp(one["created_at"]) for one in exported.manifest["unproven"]}
        found = exported.records()
        expected = {
            identity: record
            for identity, record in expected.items()
            if microseconds(record["created_at"]) not in doubtful or identity in found
        }
    else:
        assert done.status == 0, done.err
    exported.check(expected)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (Behaviour(ignores=("cursor", "created_before")), "ignores"),
        (Behaviour(order="oldest"), "newest first"),
        (Behaviour(order="shuffled"), "newest first"),
        (Behaviour(ignores=("limit",)), "limit="),
    ],
    ids=["no-paging", "oldest-first", "shuffled", "no-limit"],
)
def test_what_cannot_be_paged_is_refused_aloud(
    behaviour: Behaviour, said: str, serving: Serving, command: Command, tmp_path: Path
) -> None:
    server = serving(dense_rows(5), behaviour)
    done = command(*arguments(tmp_path / "out", 7, 3), server=server)
    assert done.status == 1
    assert said in done.err
    assert "run the same command again" not in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert len(server.requests) < 200
