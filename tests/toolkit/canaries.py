"""Makes conversations in which every field, path and key, and much that is odd, carries a value of its own.

Such a value is a *canary*: wherever `tests.toolkit.canary_search` finds it, it says which one, and whose it is.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final, TypeAlias

from exporter.contract import SECOND, Instant, format_instant
from exporter.sandbox import RECORDINGS_HOST, Row

#: What a policy's own pattern must find to redact the canaries that are plain words.
WORD_PATTERN: Final = r"(?i)kanari\d{6}q"
#: Fields that no rule of a policy may change, so that their canaries stay.
UNRULED: Final = ("id", "organization_id", "status", "created_at", "updated_at")

_DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_APART: Final = rb"[^0-9]{0,2}"
_WORDS_APART: Final = rb"\W{1,3}"
_NAMES_OF_DIGITS: Final = b"(?:" + b"|".join(name.encode() for name in _DIGITS) + b")"

_WIDE: Final = {ord("0") + digit: chr(0xFF10 + digit) for digit in range(10)}
_AT: Final = "\\u0040"

#: A value in a notation that does not matter, as the digits or the word that are left of it.
Core: TypeAlias = str
ReadCore: TypeAlias = Callable[[bytes], Core]


def _digits(found: bytes) -> Core:
    return re.sub(rb"[^0-9]", b"", found).decode()


def _spoken(found: bytes) -> Core:
    return "spoken " + "".join(str(_DIGITS.index(name)) for name in re.findall(r"[a-z]+", found.decode().lower()))


#: Every shape of a canary, whatever stands between its digits, and what makes a core of it.
SHAPES: Final[tuple[tuple[re.Pattern[bytes], ReadCore], ...]] = (
    (re.compile(rb"(?i)kanari\d{6}q"), lambda found: found.decode().lower()),
    (re.compile(_APART.join((b"9", b"0", b"7", *[rb"\d"] * 7))), _digits),
    (re.compile(_APART.join((b"4", b"5", b"3", b"9", *[rb"\d"] * 12))), _digits),
    (re.compile(_APART.join((b"3", b"7", b"0", b"4", b"0", b"0", *[rb"\d"] * 12))), _digits),
    (re.compile(rb"(?i)" + _WORDS_APART.join((b"nine", b"zero", b"seven", *[_NAMES_OF_DIGITS] * 7))), _spoken),
    (re.compile(rb"(?<![0-9a-f])" + _APART.join((b"2", b"1", b"2", *[rb"\d"] * 6))), _digits),
    (re.compile(rb"198\.\d{1,3}\.\d{1,3}\.\d{1,3}"), bytes.decode),
    # A hash or a larger number is none of these, except by chance.
    (re.compile(rb"(?<![0-9a-f])77\d{7}"), _digits),
)


@dataclass(frozen=True, slots=True)
class Canary:
    """Is a value that is nowhere else. `where` says in which place of which conversation it was served.

    `stays` says that no policy takes it away; it must only leave with its conversation.
    """

    where: str
    text: str
    stays: bool = False


@dataclass
class Canaries:
    """Makes canaries, and knows each that it has made by its core."""

    known: dict[Core, Canary] = field(default_factory=dict)

    @cached_property
    def organization(self) -> str:
        """Returns the id that all conversations share, because an export is of one organization."""
        return self.word("everybody:organization_id", stays=True)

    def word(self, where: str, *, stays: bool = False) -> str:
        text = f"Kanari{len(self.known):06d}q"
        return self._note(text.lower(), where, text, stays=stays)

    def email(self, where: str) -> str:
        text = f"Kanari{len(self.known):06d}q@example.net"
        return self._note(text.partition("@")[0].lower(), where, text)

    def phone(self, where: str, form: str = "+1{}{}{}") -> str:
        """Returns a number in North America. `form` has places for its three parts."""
        digits = f"907{2_000_000 + len(self.known)}"
        return self._note(digits, where, form.format(digits[:3], digits[3:6], digits[6:]))

    def spoken(self, where: str) -> str:
        """Returns a phone number as a caller says it."""
        digits = f"907{2_000_000 + len(self.known)}"
        return self._note(f"spoken {digits}", where, " ".join(_DIGITS[int(digit)] for digit in digits))

    def card(self, where: str) -> str:
        """Returns the number of a payment card, whose last digit checks it."""
        digits = f"4539{len(self.known):011d}"
        doubled = [int(digit) * (2 - number % 2) for number, digit in enumerate(digits)]
        digits += str(-sum(number - 9 * (number > 9) for number in doubled) % 10)
        return self._note(digits, where, " ".join(digits[at : at + 4] for at in range(0, 16, 4)))

    def iban(self, where: str) -> str:
        """Returns an account in Germany, whose check digits are right."""
        account = f"370400{len(self.known):012d}"
        check = 98 - int(f"{account}131400") % 97
        return self._note(account, where, f"DE{check:02d}{account}")

    def ssn(self, where: str) -> str:
        """Returns a number of social security."""
        digits = f"212{10_000 + len(self.known):06d}"
        return self._note(digits, where, f"{digits[:3]}-{digits[3:5]}-{digits[5:]}")

    def ip(self, where: str) -> str:
        upper, lower = divmod(len(self.known), 256)
        text = "198.{}.{}.{}".format(*divmod(upper, 256), lower)
        return self._note(text, where, text)

    def number(self, where: str) -> int:
        """Returns an odd number, which no rounded one is."""
        return int(self._note(text := f"{770_000_001 + 2 * len(self.known)}", where, text))

    def of(self, *owners: str) -> list[Canary]:
        """Returns the canaries of these conversations and people."""
        return [canary for canary in self.known.values() if canary.where.partition(":")[0] in owners]

    def _note(self, core: Core, where: str, text: str, *, stays: bool = False) -> str:
        self.known[core] = Canary(where, text, stays)
        return text


@dataclass(frozen=True)
class Person:
    """Is somebody who has conversations. `name` is that of the person in the test; the rest are canaries."""

    name: str
    user_id: str
    number: str
    email: str


def make_person(canaries: Canaries, name: str) -> Person:
    return Person(
        name, canaries.word(f"{name}:user_id"), canaries.phone(f"{name}:number"), canaries.email(f"{name}:email")
    )


def make_conversation(
    canaries: Canaries,
    name: str,
    person: Person,
    created_at: Instant,
    updated_at: Instant | None = None,
    identity: str | None = None,
) -> Row:
    """Makes a conversation that fits its columns. Everything in it that a policy can name is a canary, and so is its id
    unless it is given."""
    word, where = canaries.word, partial("{}:{}".format, name)
    agent_id = word(where("agent_id"))
    fields = {
        "id": identity or word(where("id"), stays=True),
        "organization_id": canaries.organization,
        "status": word(where("status"), stays=True),
        "user_id": person.user_id,
        "agent_id": agent_id,
        "agent_version_id": word(where("agent_version_id")),
        "direction": word(where("direction")),
        "channel": word(where("channel")),
        "agent_number": canaries.phone(where("agent_number")),
        "web_widget_id": word(where("web_widget_id")),
        "trunk_id": word(where("trunk_id")),
        "duration": canaries.number(where("duration")),
        "user_turn_count": canaries.number(where("user_turn_count")),
        "agent": {"id": agent_id, "name": word(where("agent.name")), "voice": word(where("agent.voice"))},
        "summary": f"{_prose(canaries, where('summary'))} Call {person.number}, or write to {person.email}.",
        "initial_context": _context(canaries, where("initial_context")),
        "custom_metadata": _metadata(canaries, where("custom_metadata"), person),
        "conversation": _transcript(canaries, where("conversation"), person, created_at),
        "recording_details": _recording(canaries, where("recording_details")),
        # The API's reference does not know these.
        "sentiment": {"label": word(where("sentiment.label")), word(where("key in sentiment")): 1},
        "wrap_up": word(where("wrap_up")),
    }
    return Row(created_at, created_at + SECOND if updated_at is None else updated_at, fields)


def _prose(canaries: Canaries, where: str) -> str:
    """Returns a text with something for each of the patterns that every policy knows."""
    return (
        f"{canaries.word(f'{where} (word)')} paid with {canaries.card(f'{where} (card)')}, or from "
        f"{canaries.iban(f'{where} (iban)')}; called from {canaries.phone(f'{where} (phone)', '({}) {}-{}')}, "
        f"{canaries.phone(f'{where} (phone with dots)', '{}.{}.{}')} and {canaries.spoken(f'{where} (spoken)')}, "
        f"wrote from {canaries.email(f'{where} (email)')} at {canaries.ip(f'{where} (ip)')}, and is "
        f"{canaries.ssn(f'{where} (ssn)')}."
    )


def _context(canaries: Canaries, where: str) -> dict[str, object]:
    word = canaries.word
    return {
        "name": word(f"{where}.name"),
        word(f"key in {where}"): {"nested": [[{"deep": word(f"{where}.*.nested.deep")}]]},
        "note": _prose(canaries, f"{where}.note"),
        "inside": json.dumps({"text": word(f"{where}.inside"), word(f"key in {where}.inside"): None}),
    }


def _metadata(canaries: Canaries, where: str, person: Person) -> dict[str, object]:
    word, phone = canaries.word, canaries.phone
    return {
        "email": person.email,
        "crm": {"account": word(f"{where}.crm.account"), "owner": {"phone": phone(f"{where}.crm.owner.phone")}},
        "contacts": [{"phone": phone(f"{where}.contacts[0].phone")}, {"phone": phone(f"{where}.contacts[1].phone")}],
        "phone": int(phone(f"{where}.phone", "{}{}{}")),
        "tags": [word(f"{where}.tags[0]"), [word(f"{where}.tags[1][0]")]],
        word(f"key in {where}"): word(f"{where}.*"),
    }


def _transcript(canaries: Canaries, where: str, person: Person, created_at: Instant) -> dict[str, object]:
    word, prose = canaries.word, partial(_prose, canaries)
    at = created_at / SECOND
    call_id, tool = word(f"{where}.call_id"), word(f"{where}.tool name")
    arguments = {"name": word(f"{where}.arguments.name"), word(f"key in {where}.arguments"): person.email}
    output = [{"note": prose(f"{where}.output"), "again": json.dumps({"deep": word(f"{where}.output in output")})}]
    message = {"type": "message", "id": word(f"{where}.item id"), "role": "user", "created_at": at}
    items = [
        {**message, "content": [prose(f"{where}.content"), f"It is {person.number}"], "metrics": {"e2e_latency": 0.5}},
        {**message, "content": word(f"{where}.content as text"), "role": word(f"{where}.role")},
        {**message, "content": [{"image": word(f"{where}.content as object")}], "more": word(f"{where}.unknown")},
        {"type": "function_call", "call_id": call_id, "name": tool, "arguments": json.dumps(arguments)},
        {"type": "function_call_output", "call_id": call_id, "name": tool, "output": json.dumps(output)},
        {"type": "function_call_output", "call_id": call_id, "output": f"failed for {word(f'{where}.output as text')}"},
        {"type": "agent_handoff", "to": word(f"{where}.handoff"), word(f"key in {where}.items"): {"x": 1}},
        {"type": word(f"{where}.type"), "metrics": {"other": word(f"{where}.metrics.other")}},
        word(f"{where}.items as text"),
    ]
    return {"items": items, "title": word(f"{where}.title"), word(f"key in {where}"): [1]}


def _recording(canaries: Canaries, where: str) -> dict[str, object]:
    word = canaries.word
    signed = f"?caller={word(f'{where}.recording_url query')}&expires=1"
    return {
        "recording_url": f"{RECORDINGS_HOST}/{word(f'{where}.recording_url path')}.mp3{signed}",
        "speaker": word(f"{where}.speaker"),
        "duration": 30,
    }


def make_odd_rows(
    canaries: Canaries, name: str, person: Person, created_at: Instant, updated_at: Instant | None = None
) -> list[Row]:
    """Makes what no column or no parser takes: values of another type, escapes, doubled keys, and no object at all."""
    word, where = canaries.word, partial("{}:{}".format, name)
    changed = created_at if updated_at is None else updated_at
    at, changed_at = format_instant(created_at), format_instant(changed)

    def raw(label: str, members: str) -> Row:
        identity = word(where(f"id ({label})"), stays=True)
        head = f'"id":"{identity}","created_at":"{at}","updated_at":"{changed_at}","status":"completed"'
        whose = "" if '"user_id"' in members else f'"user_id":"{person.user_id}",'
        return Row(created_at, changed, raw=f"{{{head},{whose}{members}}}")

    def escaped(label: str) -> str:
        return "".join(f"\\u{ord(one):04x}" for one in word(where(label)))

    def doubled(name: str) -> str:
        return f'"{name}":"{word(where(f"first {name}"))}","{name}":"{word(where(f"second {name}"))}"'

    spoken = f'[{{"type":"message","content":"{escaped("escaped content")}"}}]'
    broken = f'{{\\"name\\": \\"{word(where("arguments cut short"))}'
    members = {
        "another type": f'"user_id":{{"name":"{word(where("user_id as object"))}"}},"agent_number":["{person.number}"]',
        "text for a number": f'"duration":"{word(where("duration as text"))}"',
        "number for a text": f'"summary":{canaries.number(where("summary as number"))}',
        "fraction": f'"duration":{canaries.number(where("duration as fraction"))}.5',
        "huge number": f'"user_turn_count":{canaries.number(where("huge user_turn_count"))}{"0" * 20}',
        "agent as text": f'"agent":"{word(where("agent as text"))}"',
        "transcript as text": f'"conversation":"{word(where("conversation as text"))}"',
        "transcript as list": f'"conversation":["{word(where("conversation as list"))}"]',
        "items as object": f'"conversation":{{"items":{{"a":"{word(where("items as object"))}"}}}}',
        "context as text": f'"initial_context":"{_prose(canaries, where("initial_context as text"))}"',
        "context in text": f'"initial_context":{json.dumps(json.dumps({"a": word(where("context in text"))}))}',
        "metadata as list": f'"custom_metadata":["{word(where("metadata as list"))}",{{"email":"{person.email}"}}]',
        "metadata with NaN": f'"custom_metadata":{{"email":NaN,"name":"{word(where("beside NaN"))}"}}',
        "lone surrogate": f'"custom_metadata":{{"email":"\\ud800 {word(where("after a surrogate"))}"}}',
        "surrogate in a text": f'"summary":"\\udfff {word(where("summary after a surrogate"))}"',
        "escaped text": f'"summary":"{escaped("escaped summary")}"',
        "escaped key": f'"custom_metadata":{{"\\u0065mail":"{escaped("escaped value")}","{escaped("escaped key")}":1}}',
        "escaped content": f'"conversation":{{"items":{spoken}}}',
        "number after a line": f'"summary":"\\n{canaries.phone(where("phone after a line"), "{}-{}-{}")}"',
        "number in wide digits": f'"summary":"{canaries.phone(where("wide digits")).translate(_WIDE)}"',
        "address escaped": f'"summary":"{canaries.email(where("escaped address")).replace("@", _AT)}"',
        "doubled key": doubled("summary"),
        "doubled path": f'"custom_metadata":{{{doubled("email")}}}',
        "broken arguments": f'"conversation":{{"items":[{{"type":"function_call","arguments":"{broken}"}}]}}',
        "deep": f'"custom_metadata":{"[" * 200}"{word(where("200 lists deep"))}"{"]" * 200}',
        "unknown member": f'"{word(where("unknown key"))}":"{word(where("unknown value"))}"',
    }
    rows = [raw(label, text) for label, text in members.items()]
    return [
        *rows,
        Row(created_at, changed, raw=f'"{word(where("element that is a text"))}"'),
        Row(created_at, changed, raw=f'{{"created_at":"{at}","summary":"{word(where("summary without an id"))}"}}'),
    ]
