"""The command line erases somebody, and says of them nothing that anybody else could read."""

import json
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from exporter.contract import DAY, format_instant
from exporter.keys import PRIVACY_VARIABLE
from exporter.sandbox import make_conversations
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.records import SINCE, conversation
from tests.jobs.erasing import SECRET, ids, names

RANGE = ("--since", format_instant(SINCE), "--until", format_instant(SINCE + 3 * DAY))
ANN = "ann+canary@example.com"


def test_erasing_somebody(serving: Serving, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hers = [
        conversation(SINCE + number * DAY, SINCE + number * DAY, f"hers-{number}", user_id=ANN) for number in (0, 2)
    ]
    server = serving([*make_conversations(40, SINCE + DAY, SINCE + 2 * DAY), *hers])
    root, values, log = tmp_path / "out", tmp_path / "values", tmp_path / "log"
    values.write_text(f"\n  {ANN}\n")
    assert command("export", str(root), *RANGE, server=server).status == 0
    erase = ("erase", str(root), "--by", "user_id", "--values-from", str(values))
    said = [refused := command(*erase)]
    assert (refused.status, "EXPORTER_PRIVACY_KEY" in refused.err) == (2, True)
    monkeypatch.setenv(PRIVACY_VARIABLE, SECRET)
    said.append(planned := command(*erase, "--dry-run"))
    assert (planned.status, planned.out.splitlines()[0]) == (0, "would erase 2 conversations")
    said.append(done := command(*erase, "--reference", "DSR-7", "--json", "-v", "--log-file", str(log)))
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert (told["erased"]["conversations"], told["left"], len(told["finished"])) == (2, [], 1)
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(ANN.encode())))
    said.append(again := command(*erase[:-1], "-", "--mentions"))
    assert (again.status, again.out.splitlines()[0]) == (0, "nothing held this value")
    said.append(shown := command("status", str(root), "--check"))
    assert (shown.status, "2 conversations, by 1 erasure" in shown.out) == (0, True)
    assert len(ids(root)) == 40
    # It is read again, and not taken.
    later = ("--since", format_instant(SINCE - DAY))
    said.append(more := command("export", str(root), *later, "--json", server=server))
    assert (more.status, json.loads(more.out)["rows"]) == (0, 40)
    said.append(synced := command("reread", str(root), "--json", server=server))
    assert (synced.status, json.loads(synced.out)["erased"]) == (0, 2)
    assert len(ids(root)) == 40
    assert not names(root, [ANN, '"hers-0"', '"hers-2"'])
    everything = "".join(part for one in said for part in (one.out, one.err)) + log.read_text()
    assert not any(word in everything for word in (ANN, "canary", "hers-", SECRET))


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xff\xfe\xfd"])
def test_files_without_values(command: Command, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "values").write_bytes(content)
    done = command("erase", str(tmp_path / "out"), "--by", "user_id", "--values-from", str(tmp_path / "values"))
    assert (done.status, done.err.count("--values-from")) == (2, 1)


def test_no_value_is_taken_from_the_command_line(command: Command, tmp_path: Path) -> None:
    done = command("erase", str(tmp_path / "out"), "--by", "user_id", ANN)
    assert done.status == 2
    assert command("erase", str(tmp_path / "out"), "--by", "user_id", "--values-from", "/no/such").status == 2
