import json
import os
import subprocess
import sys
import time
from functools import partial
from importlib.util import cache_from_source
from pathlib import Path
from urllib.request import Request, urlopen

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks import (
    convert,
    cost,
    encryption,
    flight,
    growth,
    reading,
    recordings,
    report,
    scale_out,
    simulated,
    start,
    tasks,
)
from benchmarks.__main__ import main
from benchmarks.exports import check, environment
from benchmarks.measurement import Cost, ratios, run, spread
from benchmarks.media import serving_media
from benchmarks.results import Results, load, save
from benchmarks.rows import SINCE, UNTIL, repeat_conversations
from benchmarks.server import serving
from benchmarks.stage_clocks import Counts
from benchmarks.targets import Target, table, targets
from exporter.contract import CONVERSATIONS_PATH
from exporter.sandbox import TOKEN, Behaviour, Row, make_conversations
from exporter.sandbox.render import View, render


def test_one_command_says_keeps_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--size", "tiny", "--only", "stages", "--output", str(tmp_path)])
    kept = load(tmp_path / "results.json", "tiny")
    assert kept.stages is not None and kept.simulated is None
    (seconds,) = kept.stages.seconds
    assert set(seconds) == {"start", "fetch", "steer", "decode", "encode", "write", "rest"}
    assert min(seconds.values()) >= 0 and seconds["decode"] > 0 and seconds["write"] > 0
    assert "makespan ÷ ideal" not in capsys.readouterr().out

    # What is measured starts from bytecode, as an installation does.
    bytecode = Path(cache_from_source(simulated.__file__))
    bytecode.unlink(missing_ok=True)
    main(["--size", "tiny", "--only", "simulated", "--output", str(tmp_path)])
    assert bytecode.exists()
    both = load(tmp_path / "results.json", "tiny")
    assert both.simulated is not None and both.stages == kept.stages
    assert set(both.sessions) == {"stages", "simulated"}
    assert min(min(case.overheads) for case in both.simulated.cases) >= 1
    said = capsys.readouterr().out
    assert "CPU by stage" in said and "makespan ÷ ideal" in said
    picture = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg") and "decode (JSON)" in picture and "adversarial" in picture


def test_two_processes_are_compared_with_a_plain_run() -> None:
    def runs(*seconds: float) -> list[scale_out.Run]:
        return [scale_out.Run(each, 1.0, 111, 1) for each in seconds]

    flat = scale_out.Case(
        "flat", 100, {"half": runs(20, 22), "plain": runs(10, 11), "one": runs(22, 24), "two": runs(11, 12)}
    )
    burst = scale_out.Case("one-burst", 100, {"plain": runs(10), "two": runs(9)})
    result = scale_out.Result([flat, burst], 0.3, 60_000, {"plain": [(5.0, 9.0)], "two": [(6.0, 10.2)]})
    found = {target.what.partition(",")[0]: target for target in targets(Results("full", scale_out=result))}
    assert len(targets(Results("full", scale_out=result))) == 7
    assert found["time of 2 processes ÷ half of plain's with half as many"].values == pytest.approx([1.1, 12 / 11])
    assert found["time of 1 process ÷ 2 processes"].values == [2, 2]
    assert found["CPU a row of 2 processes ÷ plain"].values == pytest.approx([1.05])
    assert flat.slowdowns == pytest.approx([1.1, 12 / 11])
    assert burst.allowances == [1.0]
    assert all(target.is_met for target in found.values())


def test_simulated_tasks(tmp_path: Path) -> None:
    main(["--size", "tiny", "--only", "tasks", "--output", str(tmp_path)])
    kept = load(tmp_path / "results.json", "tiny").tasks
    assert kept is not None and [case.density for case in kept.cases] == list(tasks.DENSITIES)
    assert all(1 <= ratio < 1.5 for case in kept.cases for ratio in (*case.slowdowns, *case.overheads))
    assert len(targets(Results("tiny", tasks=kept))) == 5


def test_encryption(tmp_path: Path) -> None:
    main(["--size", "tiny", "--only", "encryption", "--output", str(tmp_path)])
    kept = load(tmp_path / "results.json", "tiny").encryption
    assert kept is not None
    (found,) = kept.rounds
    assert found["plain"]["bytes"] < found["uniform"]["bytes"] < found["columns"]["bytes"]
    assert {target.unit for target in targets(Results("tiny", encryption=kept))} == {" %"}
    assert len(encryption.describe(kept)) == 5


@pytest.mark.thorough
def test_conversions_are_measured_beside_duckdb(tmp_path: Path) -> None:
    main(["--size", "tiny", "--only", "convert", "--output", str(tmp_path)])
    kept = load(tmp_path / "results.json", "tiny").convert
    assert kept is not None
    assert [(case.table, case.format) for case in kept.cases] == [
        (table, form) for table in ("conversations", "turns") for form in ("csv", "jsonl")
    ]
    assert all(case.rows > 0 and len(case.ours) == len(case.theirs) == 1 for case in kept.cases)
    assert len(convert.describe(kept)) == 5


@pytest.mark.thorough
def test_a_report(tmp_path: Path) -> None:
    main(["--size", "tiny", "--only", "report", "--output", str(tmp_path)])
    kept = load(tmp_path / "results.json", "tiny").report
    assert kept is not None
    assert (kept.rows, len(kept.costs)) == (300, 1)
    assert kept.turns > kept.rows
    assert kept.page_bytes > 10_000
    assert len(report.describe(kept)) == 2


@pytest.mark.thorough
def test_growth(tmp_path: Path) -> None:
    main(["--size", "tiny", "--only", "growth", "--output", str(tmp_path)])
    kept = load(tmp_path / "results.json", "tiny").growth
    assert kept is not None
    assert all(len(costs[command]) == 1 for costs in (kept.young, kept.aged) for command in growth.COMMANDS)
    assert all(young > 0 and aged > 0 for young, aged in kept.requests.values())
    assert 0 < kept.weight.manifest_share < 0.02
    assert len(targets(Results("tiny", growth=kept))) == 9


def test_results_of_another_size_are_not_mixed(tmp_path: Path) -> None:
    save(tmp_path / "results.json", Results("quick", start=None, sessions={}))
    assert load(tmp_path / "results.json", "quick").size == "quick"
    assert load(tmp_path / "results.json", "full") == Results("full")
    (tmp_path / "results.json").write_text('{"size": "full", "memory": {"cases": [{"rows": 1}]}}')
    with pytest.raises(ValueError, match=r"results.json is not of this code .*in_flight.*: delete it"):
        load(tmp_path / "results.json", "full")


def test_a_process_and_what_it_took() -> None:
    taken = run([sys.executable, "-c", "import time; time.sleep(0.2); sum(range(10**7))"])
    assert taken.wall_seconds > 0.2 + taken.cpu_seconds / 2 > 0.2
    with pytest.raises(RuntimeError, match=r"ended with 3: no such thing"):
        run([sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"])


def test_the_peak_of_a_process_that_is_larger_than_what_measures_it() -> None:
    block = 128 * 1024 * 1024
    held = f"held = b'x' * {block}"
    program = (
        f"import sys; from benchmarks.measurement import run; print(run([sys.executable, '-c', {held!r}]).peak_bytes)"
    )
    # The process of the tests is larger, and would be measured itself.
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert block < int(done.stdout) < 2 * block


def test_an_export_that_is_not_whole_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "_manifest.json").write_text(json.dumps({"state": "complete", "totals": {"rows": 9}}))
    check(tmp_path, 9)
    with pytest.raises(RuntimeError, match="complete, 9 rows of 10"):
        check(tmp_path, 10)


def test_ratios_are_of_neighbours_and_medians_have_a_spread() -> None:
    assert ratios([1.0, 4.0], [2.0, 2.0]) == [0.5, 2.0]
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"
    assert spread([1234.5], 0) == "1,234"


def test_who_cannot_take_part_has_no_ratio() -> None:
    costs = {cost.OURS: [Cost(0, 3.0, 2.0, 1)], cost.GIVEN: [Cost(0, 2.0, 4.0, 1)]}
    case = cost.Case(rows=1, transcripts=True, json_bytes=1, costs=costs)
    assert case.ratios(cost.OURS, cost.GIVEN, "cpu_seconds") == [0.5]
    assert case.ratios("dlt", cost.GIVEN, "cpu_seconds") == []


def test_contenders_do_their_work(tmp_path: Path) -> None:
    """Only contenders whose libraries are installed take part; of three pages, one is empty. What DuckDB makes of the
    pages is what the exporter makes of them, which is compared as a measurement does it."""
    pages = tmp_path / "pages"
    pages.mkdir()
    rows = partial(make_conversations, 1500, SINCE, UNTIL)
    with serving(rows) as server:
        size_bytes = cost.save_pages(server.url, pages)
        assert [len(json.loads(page.read_bytes())) for page in sorted(pages.iterdir())] == [1000, 500]
        assert sum(page.stat().st_size for page in pages.iterdir()) == size_bytes
        contenders = cost._contenders(server.url, pages, transcripts=True)
        assert [contender.name for contender in contenders][:3] == [cost.OURS, cost.WITH_TURNS, cost.INFERRED]
        assert len(contenders) + len(cost.missing()) == 7
        for contender in contenders[1:]:
            target = tmp_path / contender.name
            run(contender.command(target), environment(server.url))
            cost._check_rows(contender, target, 1500)
            with pytest.raises(RuntimeError, match="wrote 1500 of 1501 rows"):
                cost._check_rows(contender, target, 1501)
    ours, theirs = tmp_path / cost.WITH_TURNS, tmp_path / cost.BOTH_TABLES
    compare: list[str | Path] = [
        sys.executable,
        cost._PROGRAMS / "duckdb_equal.py",
        ours,
        theirs,
        "conversations",
        "turns",
    ]
    run(compare)
    turns = theirs / "turns/all.parquet"
    rows_of_theirs = pq.read_table(turns)
    for column, values in (("role", rows_of_theirs["type"]), ("item_index", pc.negate(rows_of_theirs["item_index"]))):
        position = rows_of_theirs.schema.get_field_index(column)
        pq.write_table(rows_of_theirs.set_column(position, column, values), turns)
        with pytest.raises(RuntimeError, match=rf"turns: .*{column}.* differ"):
            run(compare)
    pq.write_table(rows_of_theirs.slice(1), turns)
    with pytest.raises(RuntimeError, match=r"turns: \d+ rows, "):
        run(compare)


def test_targets_are_judged_by_their_median() -> None:
    assert Target("least", [0.8, 0.95, 1.3], 0.9, at_least=True).is_met
    assert not Target("least", [0.8, 0.85, 1.3], 0.9, at_least=True).is_met
    assert Target("most", [1.0, 1.05, 9.0], 1.1).is_met
    assert not Target("most", [1.0, 1.2, 1.3], 1.1).is_met
    results = Results("full", cost=cost.Result([cost.Case(5, True, 1, {cost.OURS: [Cost(0, 3, 2, 1)]})]))
    assert len(table(results)) == 2, "without DuckDB there is no ratio"
    results.cost.cases[0].costs.update(  # type: ignore[union-attr]
        {cost.INFERRED: [Cost(0, 1, 1, 1)], cost.GIVEN: [Cost(0, 9, 4, 1)]}
    )
    assert table(results)[2:] == [
        "| CPU ÷ DuckDB's with the same columns, 5 conversations with transcripts | at most 1.20 | 0.50 | met |",
        "| wall time ÷ DuckDB's, 5 conversations with transcripts | at most 1.20 | 3.00 | missed |",
    ]


def test_levels_run_side_by_side_while_they_are_few() -> None:
    assert list(flight._groups((1, 2, 4, 8, 16, 32))) == [[1, 2, 4, 8, 16], [32]]


def test_a_stage_is_not_charged_for_what_it_calls_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("benchmarks.stage_clocks.thread_time", lambda: now)
    counts = Counts()

    def work(seconds: float) -> None:
        nonlocal now
        now += seconds

    inner = counts.count("inner", work)

    def outer() -> None:
        work(1.0)
        inner(10.0)
        inner(10.0)
        work(2.0)

    counts.count("outer", outer)()
    counts.count("outer", work)(100.0)
    assert counts.spent == {"inner": 20.0, "outer": 103.0}
    assert counts.in_main == 123.0


def test_repeated_rows_differ_in_id_and_time() -> None:
    rows = repeat_conversations(500, "flat", transcripts=True, models=20)
    documents = [json.loads(render(row, View.of(Behaviour()))) for row in rows]
    assert len({document["id"] for document in documents}) == 500
    assert all(SINCE <= row.created_at < UNTIL for row in rows)
    times = [document["created_at"] for document in documents]
    assert times == sorted(times, reverse=True)
    transcripts = [json.dumps(document["conversation"]) for document in documents]
    assert transcripts[:20] == transcripts[20:40]
    assert len(set(transcripts)) > 10
    assert {"status", "channel", "custom_metadata"} <= documents[0].keys()
    assert json.loads(render(rows[0], View.of(Behaviour(), frozenset({"id"})))).keys() == {"id"}


def test_the_server_says_what_came_in_and_when() -> None:
    rows = partial(repeat_conversations, 10, "flat", transcripts=False)
    with serving(rows, latency_seconds=0.1) as server:
        assert server.take_traffic().requests == 0
        before = time.monotonic()
        for _ in range(2):
            request = Request(server.url + CONVERSATIONS_PATH, headers={"Authorization": f"Bearer {TOKEN}"})
            with urlopen(request) as answer:
                assert len(json.load(answer)) == 10
        traffic = server.take_traffic()
        assert traffic.requests == 2
        assert before < traffic.began < traffic.ended - 0.2 < time.monotonic() - 0.2
        assert server.take_traffic().requests == 0


def test_a_server_that_cannot_start_is_not_waited_for(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="did not start"), serving(_no_rows):
        pass
    assert "there are none" in capfd.readouterr().err


def _no_rows() -> list[Row]:
    raise ValueError("there are none")


@pytest.mark.thorough
def test_recordings_are_measured_beside_curl(tmp_path: Path) -> None:
    main(["--size", "tiny", "--only", "recordings", "--output", str(tmp_path)])
    kept = load(tmp_path / "results.json", "tiny").recordings
    assert kept is not None
    for case in (kept.large, kept.small):
        assert len(case.runs["exporter"]) == 1
        assert case.requests_per_file[0] > 0
        assert len(case.throughputs) == (1 if "curl" in case.runs else 0)
    assert min(kept.rates) > 0


def test_a_recording_that_is_not_stored_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nothing of 3 recordings"):
        recordings._check(tmp_path, 3)


def test_each_path_has_a_recording_of_its_own() -> None:
    with serving_media(1000) as media:
        bodies = [urlopen(media.link(number)).read() for number in (1, 2)]
        assert [len(body) for body in bodies] == [1000, 1000]
        assert bodies[0] != bodies[1]
        assert bodies[0][64:] == bodies[1][64:]
        assert 0 < media.take_served().seconds < 10


def test_a_shell_waits_for_an_answer_that_names_an_option() -> None:
    """What is timed is a completion: a shell that is told nothing, or something else, ends the measurement."""
    start.check_completion({**os.environ, **start.COMPLETION})
    with pytest.raises(RuntimeError, match="should name --since"):
        start.check_completion({**os.environ, **start.COMPLETION, "COMP_WORDS": "exporter export --u"})


def test_limits_depend_on_the_pages() -> None:
    run_ = reading.Run(reading_seconds=1.0, wall_seconds=1.0, cpu_seconds=1.0, requests=66, windows=3)
    few, many = (reading.Case("office", False, pages, 16, 0.3, [run_]) for pages in (60, 600))
    assert [target.limit for target in targets(Results("full", reading=reading.Result([few])))] == [1.8, 1.2]
    assert [target.limit for target in targets(Results("full", reading=reading.Result([many])))] == [1.1, 1.0]
    assert few.overheads == [1.1] and few.allowances == [66 / (1.05 * 60 + 3)]
    points = [
        (6_000, "flat", 64),
        (600, "one burst", 64),
        (600, "one burst", 32),
        (600, "one hour", 64),
        (60, "flat", 64),
    ]
    cases = [simulated.Case(pages, density, workers, [1.0], [1.0]) for pages, density, workers in points]
    assert [target.limit for target in targets(Results("full", simulated=simulated.Result(cases)))] == [1.3, 1.8]
