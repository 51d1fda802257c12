import json
import re
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any, Final, Literal

import pyarrow as pa
import pytest

from exporter.encode.protect.patterns import BUILT_IN
from exporter.encode.protect.protector import Protector
from exporter.encode.schema import arrow_schema
from exporter.keys import Key
from exporter.privacy import KeyReference, Pattern, Policy, Rule
from tests.encode.protect.naive import GONE, Naive, Number, Pairs, parse, protected

KEY: Final = Key("k1", b"k" * 32)
MEMBER: Final = Pattern(regex=r"M-?\d{4}", to="[MEMBER]")
REDACT: Final = Rule(action="redact", patterns=("member",))
TEXTS: Final = ["M-1234", "x M1234 y", "é M-1234", "", "https://h/x?M-1234", "M-12\n34", "+1 415 555 0100", "\\", "[x"]
NUMBERS: Final = ["1", "0", "-3.50", "1e5", "4155550100", "12345678901234567890123", "NaN", "Infinity"]
NAMES: Final = ["a", "b", "items", "content", "arguments", "M-1234", "", 'q"', "é"]
PATHS: Final = [
    "",
    ".a",
    ".a.b",
    ".b",
    ".**.a",
    ".**",
    ".items[*].content",
    ".items[*].arguments",
    ".a[*]",
    ".items[*]",
]
ACTIONS: Final = [
    REDACT,
    Rule(action="redact", patterns=("member",), everywhere=True),
    Rule(action="redact", patterns=("member",), inside="json"),
    Rule(action="redact", patterns=("member",), inside="json", everywhere=True),
    Rule(action="mask", keep=2),
    Rule(action="no-query"),
    Rule(action="drop"),
    Rule(action="keep"),
]


def _naive_act(rule: Rule, text: str) -> str:
    match rule.action:
        case "redact":
            return re.sub(r"M-?[0-9]{4}", "[MEMBER]", text)
        case "mask":
            count = sum(character.isdecimal() for character in text)
            shown = rule.keep if count >= 2 * rule.keep else 0
            made = ""
            for character in reversed(text):
                if character.isdecimal() and shown:
                    shown -= 1
                    made = character + made
                else:
                    made = ("*" if character.isalnum() else character) + made
            return made
        case "no-query":
            return text.split("?")[0].split("#")[0]
    return text


def _policy(rules: dict[str, Rule]) -> Policy:
    return Policy(rules=rules, patterns={"member": MEMBER}, key=KeyReference(name="k1"))


def _column(rules: dict[str, Rule], texts: Sequence[str]) -> list[str | None]:
    schema = pa.schema([arrow_schema(None).field("custom_metadata")])
    batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.string())], schema=schema)
    column: list[str | None] = Protector(_policy(rules), KEY).protect(batch).column(0).to_pylist()
    return column


class Maker:
    """Makes JSON texts of every kind that servers have been seen to write, from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._escapes = False

    def rules(self) -> dict[str, Rule]:
        paths = self._random.sample(PATHS, self._random.randint(1, 4))
        return {f"custom_metadata{path}": self._random.choice(ACTIONS) for path in paths}

    def document(self) -> str:
        self._escapes = self._random.random() < 0.3
        value: Any = self._random.choice([self._transcript, self._object, self._value])(4)
        # The encoder makes null of a null.
        text = self._written(value) if value is not None else "[]"
        if self._random.random() < 0.7:
            return text
        # JSON in a string, as the arguments of a function are.
        return json.dumps({"items": [{"arguments": text, "content": text}], "a": text})

    def transcript(self) -> str:
        self._escapes = False
        return self._written(self._transcript(4))

    def _text(self) -> str:
        if self._random.random() < 0.6:
            return self._random.choice(TEXTS)
        return "".join(self._random.choices('M-1234"\\/{}[]:, é\n\u2028😀', k=self._random.randint(0, 12)))

    def _value(self, depth: int) -> Any:
        kind = self._random.randint(0, 9 if depth else 6)
        if kind < 4:
            return self._text()
        if kind < 6:
            return Number(self._random.choice(NUMBERS))
        if kind == 6:
            return self._random.choice([None, True, False])
        if kind == 7:
            return [self._value(depth - 1) for _ in range(self._random.randint(0, 3))]
        return self._object(depth - 1)

    def _object(self, depth: int) -> Pairs:
        count = self._random.randint(0, 4)
        return Pairs((self._random.choice(NAMES), self._value(depth)) for _ in range(count))

    def _transcript(self, depth: int) -> Pairs:
        contents: list[Any] = [self._text(), [self._text(), self._text()], None, self._value(1)]
        items = [
            Pairs(
                [("content", self._random.choice(contents)), ("arguments", self._text()), ("b", self._value(1))]
                + [("content", self._text())] * (self._random.random() < 0.1)
            )
            for _ in range(self._random.randint(0, 4))
        ]
        return Pairs([("items", items), ("b", "M-1234")])

    def _written(self, value: Any) -> str:
        space = self._random.choice(["", "", " ", "\n\t"])
        if isinstance(value, Pairs):
            members = [f"{space}{self._string(key)}{space}:{self._written(member)}" for key, member in value]
            return "{" + ",".join(members) + space + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(self._written, value)) + space + "]"
        if isinstance(value, Number):
            return space + value.text
        return space + (self._string(value) if isinstance(value, str) else json.dumps(value)) + space

    def _string(self, text: str) -> str:
        match self._random.randint(0 if self._escapes else 1, 6):
            case 0:
                return '"' + "".join(f"\\u{ord(each):04x}" if ord(each) < 0x10000 else each for each in text) + '"'
            case 1:
                return json.dumps(text)
        return json.dumps(text, ensure_ascii=False)


def _expected(rules: dict[str, Rule], text: str) -> Any:
    naive: Naive = {path: (rule, partial(_naive_act, rule)) for path, rule in rules.items()}
    if rules.get("custom_metadata") == Rule(action="drop"):
        return GONE
    return protected(naive, parse(text))


@pytest.mark.parametrize("seed", range(20))
def test_what_it_makes_is_what_the_obvious_way_makes(seed: int) -> None:
    for number in range(seed * 50, seed * 50 + 50):
        made = Maker(number)
        _compare(made.rules(), [made.document() for _ in range(8)])


def test_members_with_the_same_key_are_all_protected() -> None:
    rules = {f"custom_metadata.items[*].{name}": REDACT for name in ("content", "arguments")}
    for number in range(20):
        made = Maker(number)
        _compare(rules, [made.transcript() for _ in range(8)])


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (".a", '{"a":"M-1234","a":"x"}'),
        (".a", '{"\\u0061":"M-1234","a":"x","b":"a"}'),
        (".a", '{"b":{"a":1},"a":"M-1234"}'),
        (".**", "[" * 5000 + '"M-1234"' + "]" * 5000),
        (".a", '{"b":NaN,"a":"M-1234"}'),
        (".a", '{"b":"\\ud800","a":"M-1234"}'),
    ],
)
def test_odd_documents_are_protected_like_others(path: str, document: str) -> None:
    assert "M-1234" in document
    made = _column({f"custom_metadata{path}": REDACT}, [document])[0]
    assert made == document.replace("M-1234", "[MEMBER]")


@pytest.mark.parametrize(
    ("path", "document", "left"),
    [
        (".a", '"M-1234"', None),
        (".a", "1234", None),
        (".a", "true", None),
        (".a", '["M-1234",{"a":"M-1234"}]', None),
        (".a.b", '{"a":"M-1234","b":1}', '{"b":1}'),
        (".items[*].content", '{"items":{"content":"M-1234"},"b":1}', '{"b":1}'),
        (".items[*].content", '{"items":["M-1234",null,{"content":"x"}]}', '{"items":[null,null,{"content":"x"}]}'),
        (".items[*].**.content", '{"items":"M-1234"}', "{}"),
    ],
)
def test_what_is_in_the_way_of_a_path_goes(path: str, document: str, left: str | None) -> None:
    protector = Protector(_policy({f"custom_metadata{path}": REDACT}), KEY)
    schema = pa.schema([arrow_schema(None).field("custom_metadata")])
    batch = pa.RecordBatch.from_arrays([pa.array([document, "{}"])], schema=schema)
    assert protector.protect(batch).column(0).to_pylist() == [left, "{}"]
    assert protector.odd == {f"custom_metadata{path}": 1}


@pytest.mark.parametrize(
    ("rules", "document"),
    [
        ({".a": REDACT}, '{"b":"x"}'),
        ({".a.b": REDACT}, '{"a":null}'),
        ({".a.b": REDACT, ".a[*].b": REDACT}, '{"a":{"b":1}}'),
        ({".a.b": REDACT, ".a[*].b": REDACT}, '{"a":[{"b":1}]}'),
        ({".a": REDACT, "": REDACT}, '"x"'),
        ({".a": REDACT, "": Rule(action="keep")}, '"M-1234"'),
        ({".a": Rule(action="keep")}, '"M-1234"'),
        ({".**.a": REDACT}, '"M-1234"'),
    ],
)
def test_nothing_is_in_the_way_if_it_is_missing_or_another_rule_is_for_it(
    rules: dict[str, Rule], document: str
) -> None:
    assert _column({f"custom_metadata{path}": rule for path, rule in rules.items()}, [document]) == [document]


@pytest.mark.parametrize("inside", ["text", "json"])
def test_a_number_with_a_fraction_is_no_telephone_number(inside: Literal["text", "json"]) -> None:
    document = '{"created_at":1700000000.0,"b":4155550100,"c":[-1.7e9],"d":"{\\"e\\":1700000000.5}"}'
    for everywhere in (True, False):
        rule = Rule(action="redact", patterns=("phone",), everywhere=everywhere, inside=inside)
        policy = Policy(rules={"custom_metadata": rule}, patterns=BUILT_IN, key=KeyReference(name="k1"))
        batch = pa.RecordBatch.from_pydict({"custom_metadata": [document]})
        made = Protector(policy, KEY).protect(batch).column(0).to_pylist()[0]
        expected = document.replace("4155550100", '"[PHONE]"')
        assert made == (expected if inside == "json" else expected.replace("1700000000.5", "[PHONE]"))


def test_a_number_that_is_rounded_is_counted() -> None:
    protector = Protector(_policy({"custom_metadata.a": Rule(action="round", to=10)}), KEY)
    batch = pa.RecordBatch.from_pydict({"custom_metadata": ['{"a":17}', '{"a":20}', '{"a":"x"}']})
    assert protector.protect(batch).column(0).to_pylist() == ['{"a":20}', '{"a":20}', "{}"]
    assert (protector.counts, protector.odd) == ({"custom_metadata.a": 1}, {"custom_metadata.a": 1})
    assert protector.reached == {"custom_metadata.a": 3}


def _compare(rules: dict[str, Rule], documents: list[str]) -> None:
    made = _column(rules, documents)
    assert made == _column(rules, documents[:3]) + _column(rules, documents[3:]), "a row depends on no other"
    for before, after in zip(documents, made, strict=True):
        expected = _expected(rules, before)
        if expected is GONE or expected is None:
            assert after is None or parse(after) is None
        else:
            assert after is not None
            assert _plain(parse(after)) == _plain(expected), (rules, before, after)
            if expected == parse(before):
                assert after == before, "a row without a hit keeps its bytes"


def _plain(value: Any) -> Any:
    """Makes JSON that lies in strings comparable, which may be written with other spaces."""
    if isinstance(value, Pairs):
        return ("object", [(key, _plain(member)) for key, member in value])
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, Number):
        return ("number", value.text)
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
        try:
            return ("json", _plain(parse(value)))
        except ValueError:
            return value
    return value
