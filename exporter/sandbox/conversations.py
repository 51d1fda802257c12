"""Makes up conversations of a call centre: the same for the same seed, made when they are first looked at.

A row keeps two times and a number; everything else follows from these, the seed and the row's own random generator. So
a million rows fit in memory, and transcripts cost nothing until they are served.
"""

import random
from collections.abc import Mapping
from typing import Final, NamedTuple

from exporter.contract import DAY, END_OF_TIME, MINUTE, SECOND, Instant, format_instant
from exporter.errors import UsageError
from exporter.sandbox.density import DENSITIES, Density, spread
from exporter.sandbox.names import CITIES, FIRST_NAMES, LAST_NAMES, PRODUCTS
from exporter.sandbox.phrases import TOPICS
from exporter.sandbox.rows import Row
from exporter.sandbox.transcripts import MAX_USER_TURNS, make_transcript
from exporter.settings import check_range

ORGANIZATION: Final = "org_sandbox"
RECORDINGS_HOST: Final = "https://recordings.sandbox.invalid"

_CHANNELS, _CHANNEL_WEIGHTS = ("telephone", "webrtc", "text", "email"), (62, 24, 9, 5)
_STATUSES = (
    "completed",
    "transferred",
    "failed",
    "cancelled",
    "in_progress",
    "unanswered",
    "ringing",
    "triggered",
    "token_created",
)
_STATUS_WEIGHTS = {
    "inbound": (80, 11, 4, 3, 1, 0, 1, 0, 0),
    "outbound": (55, 4, 5, 3, 1, 27, 2, 3, 0),
    "webrtc": (66, 3, 4, 5, 1, 0, 0, 1, 20),
    "written": (92, 2, 3, 1, 2, 0, 0, 0, 0),
}
_NEVER_STARTED = frozenset(("unanswered", "ringing", "triggered", "token_created"))
_AGENT_WEIGHTS = (34, 18, 16, 14, 8, 10)
_AGENTS = tuple((f"agt_{0x5EED01 + 7919 * n:08x}", topic) for n, topic in enumerate(TOPICS))
_NUMBERS = tuple(f"+1202555{n:04d}" for n in (101, 117, 123, 142, 158, 163, 177, 190))
_WIDGETS = tuple(f"wgt_{name}" for name in ("pricing", "help_center", "checkout", "account"))
_TRUNKS = tuple(f"trk_{name}" for name in ("us_east", "us_west", "eu_central"))
_TIERS = ("bronze", "silver", "gold", "platinum")


class _Recipe(NamedTuple):
    """Holds what the rows of one collection share."""

    seed: int
    transcripts: bool
    organization: str = ORGANIZATION


class MadeUpRow(Row):
    """Makes its fields when they are asked for. It keeps what the filters look at, but not the transcript."""

    __slots__ = ("_facts", "_number", "_recipe")

    def __init__(self, created_at: Instant, updated_at: Instant, number: int, recipe: _Recipe) -> None:
        super().__init__(created_at, updated_at)
        self._number = number
        self._recipe = recipe
        self._facts: Mapping[str, object] | None = None

    def _rng(self) -> random.Random:
        return random.Random(self._recipe.seed << 48 | self._number)

    def _call(self, rng: random.Random) -> "_Call":
        return _make_call(rng, self.created_at, self.updated_at, self._recipe.organization)

    def facts(self) -> Mapping[str, object]:
        if self._facts is None:
            self._facts = self._call(self._rng()).fields
        return self._facts

    def brief(self, created_at: str, updated_at: str) -> dict[str, object]:
        fields = self._facts or self._call(self._rng()).fields
        return {**fields, "created_at": created_at, "updated_at": updated_at}

    def document(self, created_at: str, updated_at: str) -> dict[str, object]:
        rng = self._rng()
        call = self._call(rng)
        transcript = call.transcript(rng, self.created_at) if self._recipe.transcripts else None
        return {**call.fields, "created_at": created_at, "updated_at": updated_at, "conversation": transcript}


def make_conversations(
    count: int,
    since: Instant,
    until: Instant,
    *,
    seed: int = 0,
    density: Density = "office",
    transcripts: bool = True,
    organization: str = ORGANIZATION,
) -> list[Row]:
    """Makes `count` rows, `created_at` in `[since, until)`, newest first; `conversation` is null without `transcripts`.

    Raises `UsageError` for a negative count or seed, an empty range or an unknown density.
    """
    if count < 0 or seed < 0:
        raise UsageError("the number of conversations and the seed must be 0 or more")
    if density not in DENSITIES:
        raise UsageError(f"density {density!r}: must be one of {', '.join(DENSITIES)}")
    check_range(since, until)
    rng = random.Random(seed)
    recipe = _Recipe(seed, transcripts, organization)
    return [
        MadeUpRow(created_at, _updated_at(rng, created_at, until), number, recipe)
        for number, created_at in enumerate(spread(count, since, until, density, rng))
    ]


def make_another(number: int, created_at: Instant, *, seed: int = 0, organization: str = ORGANIZATION) -> Row:
    """Makes one more conversation, as it is in the end. `make_conversations` has used the numbers below its count."""
    rng = random.Random(f"{seed} {number}")
    recipe = _Recipe(seed, True, organization)
    return MadeUpRow(created_at, _updated_at(rng, created_at, END_OF_TIME), number, recipe)


def _updated_at(rng: random.Random, created_at: Instant, until: Instant) -> Instant:
    """Returns when a row changed last: mostly when the call ends, sometimes days later, never in the future."""
    lasted = int(rng.lognormvariate(4.4, 0.85) * SECOND)
    if rng.random() < 0.03:
        lasted += int(rng.random() * 5 * DAY)
    return max(created_at, min(created_at + lasted, until))


class _Call(NamedTuple):
    """Holds a row without its transcript, and what the transcript needs."""

    fields: dict[str, object]
    facts: dict[str, str]
    agent: int
    user_turns: int
    spoken: bool

    def transcript(self, rng: random.Random, created_at: Instant) -> dict[str, list[dict[str, object]]] | None:
        if not self.user_turns:
            return None
        return make_transcript(
            rng,
            TOPICS[self.agent],
            self.facts,
            user_turns=self.user_turns,
            started_at=created_at // 1000 / 1000,
            spoken=self.spoken,
        )


def _make_call(rng: random.Random, created_at: Instant, updated_at: Instant, organization: str) -> _Call:
    identity = f"{rng.getrandbits(128):032x}"
    channel = rng.choices(_CHANNELS, _CHANNEL_WEIGHTS)[0]
    agent = rng.choices(range(len(_AGENTS)), _AGENT_WEIGHTS)[0]
    outbound = channel != "webrtc" and (agent == 5 or rng.random() < 0.2)
    spoken = channel in ("telephone", "webrtc")
    kind = channel if channel == "webrtc" else "written" if not spoken else "outbound" if outbound else "inbound"
    status = rng.choices(_STATUSES, _STATUS_WEIGHTS[kind])[0]
    facts = _make_facts(rng, created_at, TOPICS[agent].agent)

    started = status not in _NEVER_STARTED
    seconds = min(updated_at - created_at, 40 * MINUTE) // SECOND
    user_turns = min(max(1, round(seconds / 24)), MAX_USER_TURNS) if started else 0
    duration = seconds if started and spoken and status != "in_progress" else None
    agent_id, topic = _AGENTS[agent]
    numbered = channel in ("telephone", "text")
    fields: dict[str, object] = {
        "id": f"{identity[:8]}-{identity[8:12]}-4{identity[13:16]}-a{identity[17:20]}-{identity[20:]}",
        "organization_id": organization,
        "user_id": f"usr_{int(rng.random() ** 2 * 90_000):05d}",
        "agent_id": agent_id,
        "agent_version_id": f"{agent_id.replace('agt', 'ver')}_{created_at // (45 * DAY) % 1000}",
        "direction": "outbound" if outbound else "inbound",
        "channel": channel,
        "status": status,
        "agent_number": rng.choice(_NUMBERS) if numbered else None,
        "web_widget_id": rng.choice(_WIDGETS) if channel == "webrtc" else None,
        "trunk_id": rng.choice(_TRUNKS) if channel == "telephone" else None,
        "duration": duration,
        "user_turn_count": user_turns if started else None,
        "agent": {"id": agent_id, "name": topic.agent},
        "summary": rng.choice(topic.summaries).format_map(facts) if user_turns and rng.random() < 0.93 else None,
        "initial_context": _initial_context(rng, facts),
        "custom_metadata": _custom_metadata(rng, facts, topic.key),
        "recording_details": _recording(rng, identity, created_at, duration) if duration else None,
    }
    return _Call(fields, facts, agent, user_turns, spoken)


def _make_facts(rng: random.Random, created_at: Instant, agent: str) -> dict[str, str]:
    random = rng.random
    return {
        "agent": agent.partition(" ")[0],
        "first": FIRST_NAMES[int(random() * len(FIRST_NAMES))],
        "last": LAST_NAMES[int(random() * len(LAST_NAMES))],
        "city": CITIES[int(random() * len(CITIES))],
        "product": PRODUCTS[int(random() * len(PRODUCTS))],
        "order": f"{int(random() * 900_000) + 100_000}",
        "amount": f"{random() * 400 + 10:.2f}",
        "time": f"{int(random() * 10) + 8}:{int(random() * 4) * 15:02d}",
        "date": format_instant(created_at // SECOND * SECOND + int(random() * 14 + 1) * DAY)[:10],
    }


def _initial_context(rng: random.Random, facts: dict[str, str]) -> object:
    shape = rng.random()
    if shape < 0.45:
        return None
    if shape < 0.65:
        return "Returning caller {first} {last}, {city}. Last order: {product}.".format_map(facts)
    if shape < 0.7:
        return ""
    return {
        "customer": {"name": f"{facts['first']} {facts['last']}", "city": facts["city"]},
        "open_orders": [facts["order"]] if shape < 0.9 else [],
        "vip": shape > 0.97,
    }


def _custom_metadata(rng: random.Random, facts: dict[str, str], topic: str) -> dict[str, object]:
    shape = rng.random()
    if shape < 0.2:
        return {}
    if shape < 0.55:
        return {"order_id": facts["order"], "topic": topic}
    if shape < 0.8:
        tags = ["priority"] if shape > 0.75 else []
        return {"crm": {"account": f"A-{facts['order']}", "tier": rng.choice(_TIERS)}, "tags": [topic, *tags]}
    if shape < 0.95:
        return {"campaign": f"spring-{rng.randrange(1, 9)}", "attempt": rng.randrange(1, 4), "consent": shape < 0.9}
    return {"order_id": facts["order"], "amount": float(facts["amount"]), "coupon": None, "näme": facts["first"]}


def _recording(rng: random.Random, identity: str, created_at: Instant, duration: int) -> dict[str, object]:
    expires_at = created_at // SECOND + 3600
    return {
        "recording_url": f"{RECORDINGS_HOST}/{identity}.mp3?expires={expires_at}&signature={rng.getrandbits(160):040x}",
        "format": "mp3",
        "duration": duration,
        "expires_at": format_instant(expires_at * SECOND),
    }
