"""Tests answers of a gateway: one that it gives once, such as at its start, ends no run; one that it repeats does."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from exporter.contract import DAY, format_instant
from exporter.fetch.pace.retry import RetryPolicy
from exporter.pipeline import attempts
from exporter.sandbox import Row, make_conversations
from tests.end_to_end.conftest import Command, Serving
from tests.end_to_end.export_directory import ExportDirectory
from tests.end_to_end.records import SINCE, records
from tests.toolkit.meddler import Answer, Meddle, meddling
from tests.toolkit.sizes import combinations, some_of

UNTIL = SINCE + 2 * DAY
OPTIONS = ("--since", format_instant(SINCE), "--until", format_instant(UNTIL), "--page-size", "10")
#: The numbers of two requests: the first question, and one of many pages.
FIRST, LATER = 1, 20
HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}


def said(status: int, text: str = "no") -> Answer:
    return Answer(status, json.dumps({"detail": text}).encode(), JSON)


#: Each comes with the exit status of a run that gets no other answer from some request on.
ANSWERS: dict[str, tuple[Answer, int]] = {
    "token-service": (said(401, "Token is missing, invalid or expired."), 4),
    "firewall": (Answer(403, b"<html>Request blocked</html>", HTML), 4),
    "throttle": (Answer(403, b"<html>Slow down</html>", {"Retry-After": "0"}), 1),
    "quota": (Answer(403, b"", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0"}), 1),
    "no-backend": (Answer(404, b"default backend - 404"), 1),
    "gone": (said(410), 1),
    "proxy": (Answer(407, b"", HTML), 1),
    "conflict": (said(409), 1),
    "misdirected": (Answer(421, b""), 1),
    "locked": (said(423), 1),
    "legal": (Answer(451, b"<html>", HTML), 1),
    "timeout": (Answer(408, b""), 1),
    "too-early": (Answer(425, b""), 1),
    "overloaded": (said(529), 1),
    "bandwidth": (Answer(509, b""), 1),
    **{f"cloudflare-{status}": (Answer(status, b"<html>", HTML), 1) for status in (520, 525)},
    "login": (Answer(302, b"", {"Location": "/login"}), 1),
    "login-page": (Answer(200, b"<!doctype html><title>Sign in</title>", HTML), 1),
    "error-in-an-object": (Answer(200, b'{"error": "try again"}', JSON), 1),
    "null": (Answer(200, b"null", JSON), 1),
    "nothing": (Answer(204, b""), 1),
    "part": (Answer(206, b'[{"id": "x"}]', JSON), 1),
}
#: Answers that are believed, because they come from an API that has looked at the first question.
WRONG: dict[str, tuple[Answer, int]] = {
    "bad-request": (Answer(400, b"<html>", HTML), 1),
    "unprocessable": (said(422), 1),
}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_conversations(200, SINCE, UNTIL, seed=23, density="flat", transcripts=False)


Before = Callable[[str, Meddle], str]


@pytest.fixture
def before() -> Iterator[Before]:
    """Puts a gateway before the server at an address, and returns the address of the gateway."""
    with start_blocking_portal() as portal, ExitStack() as stack:

        def start(url: str, meddle: Meddle) -> str:
            return stack.enter_context(portal.wrap_async_context_manager(meddling(url, meddle)))

        yield start


@pytest.fixture(autouse=True)
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a run ask as often as usual, without the pauses."""
    policy = RetryPolicy()
    shorter = {
        name: type(patience)(patience.attempts, 0.0, 0.0)
        for name in ("known", "unknown", "absent", "doubted", "doubted_at_first")
        if (patience := getattr(policy, name))
    }
    monkeypatch.setattr(attempts, "RetryPolicy", partial(RetryPolicy, **shorter, base_seconds=0.01))


#: Each day, an answer is given once or for good; the other half is tried at length.
CASES = [*combinations([*ANSWERS], [FIRST, LATER], one_in=4), *((name, LATER) for name in WRONG)]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_what_is_said_once_is_asked_again(
    name: str, number: int, rows: list[Row], serving: Serving, before: Before, command: Command, tmp_path: Path
) -> None:
    answer, _ = (ANSWERS | WRONG)[name]
    url = before(serving(rows).url, lambda now, given: answer if now == number else given)
    done = command("export", tmp_path / "out", *OPTIONS, url=url)
    assert done.status == 0, done.err
    exported = ExportDirectory(tmp_path / "out")
    exported.check(records(rows))
    assert exported.manifest["totals"]["retries"] == 1


#: Answers that slow a run down; it waits for a quarter of an hour.
TOO_FAST = {"throttle", "quota", "overloaded", "bandwidth"}


FOR_GOOD = [name for name in ANSWERS | WRONG if name not in TOO_FAST]


@pytest.mark.parametrize(
    "name", some_of(FOR_GOOD, *(name for name in FOR_GOOD if name not in dict(CASES) or name in WRONG))
)
def test_what_is_said_from_then_on_ends_the_run_by_its_kind(
    name: str, rows: list[Row], serving: Serving, before: Before, command: Command, tmp_path: Path
) -> None:
    answer, status = (ANSWERS | WRONG)[name]
    url = before(serving(rows).url, lambda now, given: answer if now >= LATER else given)
    done = command("export", tmp_path / "out", *OPTIONS, url=url)
    assert (done.status, done.out) == (status, "")
    what, what_now = done.complaint
    assert str(answer.status) in what
    assert what_now.startswith("What was read is committed; ")
    ExportDirectory(tmp_path / "out").check_sound()
    assert ExportDirectory(tmp_path / "out").state == "incomplete"
