"""Makes the export that tests look at in a browser, out of conversations that the stand-in server serves."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from exporter.contract import DAY, HOUR, SECOND, parse_timestamp
from exporter.jobs.export import export
from exporter.jobs.recordings import recordings
from exporter.options.recordings import RETRIED_BY_DEFAULT
from exporter.progress import Quiet
from exporter.run.context import RunContext
from exporter.sandbox import ORGANIZATION, RECORDINGS_HOST, TOKEN, MediaBehaviour, Row, make_conversations, serve
from exporter.settings import Credentials, RecordingSettings, RunSettings, Selection
from tests.toolkit.recordings import outcomes

SINCE: Final = parse_timestamp("2026-02-09")
UNTIL: Final = SINCE + 3 * DAY
MADE_UP: Final = 120
#: Only their calls have recordings that are kept: a minute of notes each.
RECORDED_AGENT: Final = "agt_recorded"
_MINUTE_OF_AUDIO: Final = 44 + 60 * 8000 * 4

#: Each would run a script, load something or leave the page wherever it is not a text.
HOSTILE: Final = (
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg onload=window.hacked=1>",
    "<svg><script>window.hacked=1</script></svg>",
    '"><script>window.hacked=1</script>',
    "' onmouseover='window.hacked=1' autofocus onfocus='window.hacked=1",
    "javascript:window.hacked=1",
    "</title></textarea></style><script>window.hacked=1</script>",
    "<!--<script>window.hacked=1</script>-->",
    "<![CDATA[<script>window.hacked=1</script>]]>",
    '<iframe srcdoc="<script>parent.hacked=1</script>"></iframe>',
    "<iframe src=javascript:parent.hacked=1></iframe>",
    "<details open ontoggle=window.hacked=1>",
    "<body onload=window.hacked=1>",
    "<video><source onerror=window.hacked=1></video>",
    "<math><a xlink:href=javascript:window.hacked=1>x</a></math>",
    '<noscript><p title="</noscript><img src=x onerror=window.hacked=1>">',
    "<template><script>window.hacked=1</script></template>",
    "<object data=javascript:window.hacked=1></object><embed src=//evil.invalid/x>",
    "<style>@import '//evil.invalid/x.css'; *{background:url(//evil.invalid/x.png)}</style>",
    "<link rel=stylesheet href=//evil.invalid/x.css><base href=//evil.invalid/>",
    '<meta http-equiv=refresh content="0;url=//evil.invalid">',
    "<form action=//evil.invalid><button autofocus>x</button></form>",
    "&lt;script&gt;window.hacked=1&lt;/script&gt;",
    "\\u003cscript\\u003ewindow.hacked=1\\u003c/script\\u003e",
    "%3Cscript%3Ewindow.hacked=1%3C/script%3E",
    "{{constructor.constructor('window.hacked=1')()}} ${window.hacked=1}",
    '<a href="javascript:window.hacked=1">click</a>',
    "\u202e<script>window.hacked=1</script>\u202c \u0000\u0007\ufffd",
)
HOSTILE_ID: Final = '../..%2f"><img src=x onerror=window.hacked=1>?id=#&item=7'
_ALL_HOSTILE: Final = " ".join(HOSTILE)
ARABIC: Final = "مرحبا، أريد تغيير موعدي من فضلك."
LONG_WORD: Final = "x" * 3000


def message(role: str, text: str, at: float, **more: object) -> dict[str, object]:
    return {"type": "message", "role": role, "content": [text], "created_at": at, **more}


def conversation(identity: str, created_at: int, items: list[dict[str, object]], **fields: object) -> Row:
    known = {
        "id": identity, "organization_id": ORGANIZATION, "channel": "telephone", "status": "completed", "duration": 60,
        "user_turn_count": len(items), "agent_id": RECORDED_AGENT, "agent": {"id": RECORDED_AGENT, "name": "Recorded"},
        "recording_details": None,
    }  # fmt: skip
    return Row(created_at, fields={**known, "conversation": {"items": items}, **fields})


def spoken(created_at: int) -> list[dict[str, object]]:
    """Returns what is said in a call: something every five seconds, with a tool that works and one that fails."""
    start = created_at / SECOND
    items: list[dict[str, object]] = [message("system", "You are a careful agent.", start)]
    for number in range(11):
        at = start + 2 + 5 * number
        role = "user" if number % 2 else "assistant"
        metrics = {"started_speaking_at": at, "stopped_speaking_at": at + 3.5}
        more: dict[str, object] = {"metrics": {**metrics, "e2e_latency": (7 + number) / 10, "llm_node_ttft": 0.3}}
        if role == "user":
            more = {"metrics": metrics, "transcript_confidence": 0.91}
        items.append(message(role, f"Sentence {number} of the call", at, interrupted=number == 4, **more))
        if number in (3, 5):
            called = {"call_id": f"call{number}", "name": "find_order", "created_at": at + 1}
            answer = {"output": '{"state":"sent","id":12345678901234567890}', "is_error": False}
            failed = {"output": "no answer within 5 s", "is_error": True}
            items.append({"type": "function_call", "arguments": '{"order":7,"tags":["a","b"]}', **called})
            items.append(
                {"type": "function_call_output", **called, **(answer if number == 3 else failed), "created_at": at + 2}
            )
    return items


def recorded(identity: str, created_at: int, **fields: object) -> Row:
    details = {"recording_url": f"{RECORDINGS_HOST}/{identity}.wav", "duration": 60}
    return conversation(identity, created_at, spoken(created_at), recording_details=details, **fields)


def rows() -> list[Row]:
    hostile = message("user", HOSTILE[0], SINCE / SECOND)
    call = {"call_id": _ALL_HOSTILE, "name": _ALL_HOSTILE}
    return [
        *make_conversations(MADE_UP, SINCE, UNTIL, density="flat"),
        recorded("played", UNTIL - HOUR, custom_metadata={"order": 12345678901234567890, "tier": "gold"}),
        recorded("lost", UNTIL - 2 * HOUR),
        conversation(
            HOSTILE_ID,
            UNTIL - 3 * HOUR,
            [
                *(message("user", text, SINCE / SECOND + at) for at, text in enumerate(HOSTILE)),
                {"type": "function_call", "arguments": _ALL_HOSTILE, **call},
                {"type": "function_call_output", "output": f'{{"{HOSTILE[2]}": 1}}', "is_error": True, **call},
                {**hostile, "type": _ALL_HOSTILE, "role": _ALL_HOSTILE, "odd": _ALL_HOSTILE},
            ],
            user_id=_ALL_HOSTILE,
            channel=HOSTILE[2],
            agent={"id": RECORDED_AGENT, "name": _ALL_HOSTILE},
            agent_id="agt_hostile",
            summary=_ALL_HOSTILE,
            custom_metadata={text: {text: [text]} for text in HOSTILE},
            initial_context=_ALL_HOSTILE,
            unknown_to_us=_ALL_HOSTILE,
        ),
        conversation(
            "arabic",
            UNTIL - 4 * HOUR,
            [message("user", ARABIC, SINCE / SECOND), message("assistant", f"{LONG_WORD} {ARABIC}", SINCE / SECOND)],
            agent={"id": RECORDED_AGENT, "name": "وكيل الدعم"},
            summary=LONG_WORD,
        ),
        conversation("silent", UNTIL - 5 * HOUR, [], conversation=None, channel="email", duration=None),
    ]  # fmt: skip


async def make_export(root: Path) -> None:
    """Exports all rows with their turns, and the recordings of one agent, one of which is then lost from the disk."""
    await export_rows(root, rows(), {"agent_id": RECORDED_AGENT})
    (root / outcomes(root)["lost"]["path"]).unlink()


async def export_rows(root: Path, served: list[Row], recorded: Mapping[str, str]) -> None:
    """Exports rows of these three days, and a minute of notes for each call that these filters find."""
    async with serve(served, media=MediaBehaviour(bytes_each=_MINUTE_OF_AUDIO)) as sandbox:
        kept = RecordingSettings(filters=recorded, networks=(ip_network("127.0.0.0/8"),), wait_seconds=0)
        settings = RunSettings(base_url=sandbox.url, lag_seconds=0, recordings=kept)
        context = RunContext(settings, Credentials(TOKEN), Quiet())
        await export(root, Selection(tables=("conversations", "turns"), since=SINCE, until=UNTIL), context)
        await recordings(root, Selection(), context, retried=RETRIED_BY_DEFAULT, oldest_first=False)


@contextmanager
def viewer(root: Path, *options: str) -> Iterator[str]:
    """Runs `exporter view`, and yields the address that it prints."""
    command = [sys.executable, "-m", "exporter", "view", str(root), "--no-browser", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), process.stderr.read()
            yield address
        finally:
            process.terminate()
            process.communicate(timeout=60)
