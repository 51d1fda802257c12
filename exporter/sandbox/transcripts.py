"""Makes up transcripts, of exactly the form that source.md documents ("The transcript")."""

import random
from typing import Final, TypeAlias

from exporter.sandbox.phrases import SMALL_TALK, Exchange, Tool, Topic

ItemJson: TypeAlias = dict[str, object]

#: One exchange takes about 900 bytes of JSON, so that no transcript grows beyond 30 kB (source.md).
MAX_USER_TURNS: Final = 28

_TOOL_ERROR = "the service did not answer within 5 s"


def make_transcript(
    rng: random.Random, topic: Topic, facts: dict[str, str], *, user_turns: int, started_at: float, spoken: bool
) -> dict[str, list[ItemJson]]:
    """Returns `{"items": [...]}` with `user_turns` messages of the caller. `started_at` is in epoch seconds."""
    return {"items": _Script(rng, facts, started_at, spoken).play(topic, user_turns)}


class _Script:
    """Writes one transcript, item by item, and keeps the time in it. If it is `spoken`, items have speech metrics."""

    __slots__ = ("facts", "items", "now", "random", "rng", "spoken")

    def __init__(self, rng: random.Random, facts: dict[str, str], started_at: float, spoken: bool) -> None:
        self.rng, self.random = rng, rng.random
        self.facts = facts
        self.now = started_at
        self.spoken = spoken
        self.items: list[ItemJson] = []

    def play(self, topic: Topic, user_turns: int) -> list[ItemJson]:
        role = "system" if self.random() < 0.9 else "developer"
        self.items.append(self._message(role, topic.instructions))
        self._assistant(topic.greeting)
        for turn in range(user_turns):
            self._exchange(self._choose(topic, turn))
            if turn == 3 and self.random() < 0.06:
                self._hand_over()
        return self.items

    def _choose(self, topic: Topic, turn: int) -> Exchange:
        if turn < len(topic.exchanges) and self.random() < 0.85:
            return topic.exchanges[turn]
        chatter = SMALL_TALK if self.random() < 0.7 else topic.exchanges
        return chatter[int(self.random() * len(chatter))]

    def _exchange(self, exchange: Exchange) -> None:
        self._user(exchange.user)
        if exchange.tool is not None:
            self._call(exchange.tool)
        self._assistant(exchange.assistant)

    def _message(self, role: str, template: str) -> ItemJson:
        return {
            "id": f"item_{self.rng.getrandbits(48):012x}",
            "type": "message",
            "role": role,
            "content": [template.format_map(self.facts)],
            "interrupted": False,
            "created_at": self.now,
        }

    def _user(self, template: str) -> None:
        random = self.random
        speaking = 0.8 + 6 * random()
        item = self._message("user", template)
        if self.spoken:
            item["transcript_confidence"] = round(1 - 0.35 * random() ** 3, 4)
            item["metrics"] = {
                "started_speaking_at": self.now,
                "stopped_speaking_at": round(self.now + speaking, 3),
                "transcription_delay": round(0.1 + 0.4 * random(), 4),
                "end_of_turn_delay": round(0.3 + 0.7 * random(), 4),
                "on_user_turn_completed_delay": round(0.01 * random(), 5),
            }
        elif random() < 0.02:
            item["content"] = [*_contents(item), {"type": "image_content", "image": "attachment:1", "detail": "auto"}]
        self.items.append(item)
        self._advance(speaking + 0.5)

    def _assistant(self, template: str) -> None:
        random = self.random
        speaking = 1.5 + 7 * random()
        item = self._message("assistant", template)
        first_token = round(0.2 + 0.9 * random() ** 2, 4)
        if self.spoken:
            item["interrupted"] = random() < 0.08
            first_byte = round(0.08 + 0.3 * random(), 4)
            item["metrics"] = {
                "started_speaking_at": self.now,
                "stopped_speaking_at": round(self.now + speaking, 3),
                "llm_node_ttft": first_token,
                "tts_node_ttfb": first_byte,
                "e2e_latency": round(first_token + first_byte + 0.4, 4),
            }
        else:
            item["metrics"] = {"llm_node_ttft": first_token}
            if random() < 0.02:
                item["content"] = _contents(item)[0]
        self.items.append(item)
        self._advance(speaking + 0.4)

    def _call(self, tool: Tool) -> None:
        call_id = f"call_{self.rng.getrandbits(64):016x}"
        self.items.append(
            {
                "id": f"item_{self.rng.getrandbits(48):012x}",
                "type": "function_call",
                "call_id": call_id,
                "name": tool.name,
                "arguments": tool.arguments.format_map(self.facts),
                "created_at": self.now,
            }
        )
        self._advance(0.2 + 1.5 * self.random())
        failed = self.random() < 0.05
        self.items.append(
            {
                "id": f"item_{self.rng.getrandbits(48):012x}",
                "type": "function_call_output",
                "call_id": call_id,
                "name": tool.name,
                "output": _TOOL_ERROR if failed else tool.output.format_map(self.facts),
                "is_error": failed,
                "created_at": self.now,
            }
        )

    def _hand_over(self) -> None:
        self.items.append(
            {
                "id": f"item_{self.rng.getrandbits(48):012x}",
                "type": "agent_handoff",
                "old_agent_id": "front_desk",
                "new_agent_id": "specialist",
                "created_at": self.now,
            }
        )

    def _advance(self, seconds: float) -> None:
        self.now = round(self.now + seconds, 3)


def _contents(item: ItemJson) -> list[object]:
    content = item["content"]
    assert isinstance(content, list)  # noqa: S101 - what `_message` has just made
    return content
