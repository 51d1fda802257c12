"""Policy files: what they resolve to, and what is refused, with its place."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.encode.protect.paths import Segment, Step
from exporter.encode.protect.patterns import BUILT_IN
from exporter.encode.protect.values import REGIONS
from exporter.errors import UsageError
from exporter.options.policy import PolicyFile, check_policy, dropped_columns, load_policy
from exporter.options.policy_rules import may_meet
from exporter.privacy import Encryption, Entities, KeyReference, Pattern, Policy, Rule
from tests.toolkit.policies import EVERYTHING

HEAD = 'version = 1\nkey = { env = "K", name = "k1" }\n'
RULES = HEAD + "[conversations]\n"


@pytest.fixture(name="path")
def policy_path(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def load(path: Path, text: str) -> PolicyFile:
    path.write_text(text)
    return load_policy(path)


def test_a_policy_carries_its_whole_meaning(path: Path) -> None:
    loaded = load(
        path,
        """\
version = 1
key = { file = "/etc/exporter/privacy.key", name = "k1" }

[defaults]
extra = "keep"
quarantine = "keep"
odd = "drop"

[conversations]
user_id = { hash = "person", normalise = ["phone:US", "lower"] }
agent_number = { mask = "phone", keep = 2 }
"agent.name" = "drop"
duration = { round = 60 }
summary = { redact = ["phone", "member"] }
initial_context = { redact = "all", everywhere = true }
"custom_metadata.**.phone" = { mask = "phone" }
"conversation.items[*].arguments" = { redact = "email", inside = "json" }
"recording_details.recording_url" = "no-query"

[turns]
tool_name = "keep"
call_id.hash = "call"

[patterns.member]
regex = 'M-\\d{6}'
to = "[MEMBER]"

[entities]
engine = "presidio"
language = "en"
model = "en_core_web_lg"
types = ["PERSON"]

[encryption]
mode = "columns"
key = { env = "EXPORTER_DATA_KEY", name = "d1" }
plain_columns = ["id", "created_at", "item_index"]
recordings = "plain"
""".replace("call_id.hash", "call_id = { hash").replace('"call"', '"call" }'),
    )
    every = ("member", *BUILT_IN, "entities")
    assert loaded.policy == Policy(
        rules={
            "user_id": Rule(action="hash", domain="person", normalise=("phone:US", "lower")),
            "agent_number": Rule(action="mask", keep=2),
            "agent.name": Rule(action="drop"),
            "duration": Rule(action="round", to=60),
            "summary": Rule(action="redact", patterns=("phone", "member")),
            "initial_context": Rule(action="redact", patterns=every, everywhere=True),
            "custom_metadata.**.phone": Rule(action="mask", keep=4),
            "conversation.items[*].arguments": Rule(action="redact", patterns=("email",), inside="json"),
            "recording_details.recording_url": Rule(action="no-query"),
        },
        turns={"tool_name": Rule(action="keep"), "call_id": Rule(action="hash", domain="call")},
        patterns={"member": Pattern(regex=r"M-\d{6}", to="[MEMBER]"), **BUILT_IN},
        extra="keep",
        quarantine="keep",
        entities=Entities(engine="presidio", language="en", model="en_core_web_lg", types=("PERSON",)),
        key=KeyReference(name="k1", file="/etc/exporter/privacy.key"),
        recordings="plain",
    )
    assert loaded.encryption == Encryption(
        mode="columns",
        key=KeyReference(name="d1", env="EXPORTER_DATA_KEY"),
        plain_columns=("id", "created_at", "item_index"),
        recordings="plain",
    )
    stored = msgspec.json.decode(msgspec.json.encode(loaded.policy), type=Policy)
    assert stored == loaded.policy
    assert stored.fingerprint == loaded.policy.fingerprint


def test_only_patterns_that_a_rule_names_are_part_of_the_policy(path: Path) -> None:
    text = RULES + 'summary = { redact = ["email"] }\n[patterns.unused]\nregex = "x"\nto = "y"\n'
    assert load(path, text).policy.patterns == {"email": BUILT_IN["email"]}
    assert load(path, text).encryption is None


def test_phones_are_found_before_cards_and_own_patterns_before_both(path: Path) -> None:
    text = RULES + 'summary = { redact = "all" }\n[patterns.own]\nregex = "x"\nto = "y"\n'
    names = load(path, text).policy.rules["summary"].patterns
    assert names[0] == "own"
    assert names.index("phone") < names.index("card")
    assert "entities" not in names


def test_spelling_does_not_change_the_fingerprint_and_meaning_does(path: Path) -> None:
    one = load(path, RULES + 'summary = { redact = ["email"] }\nuser_id = "keep"').policy
    same = load(path, RULES + '"user_id" = "keep"\n[conversations.summary]\nredact = "email"').policy
    other = load(path, RULES + 'summary = { redact = ["ip"] }\nuser_id = "keep"').policy
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("above", "inside", "said", "encrypts"),
    [
        ("", "", None, "encrypted"),
        ("plain", "", "plain", "plain"),
        ("plain", "plain", "plain", "plain"),
        ("", "plain", "plain", "plain"),
        ("", "encrypted", "encrypted", "encrypted"),
    ],
)
def test_recordings_mean_one_thing_wherever_they_are_said(
    above: str, inside: str, said: str | None, encrypts: str, path: Path
) -> None:
    lines = [f'recordings = "{each}"' if each else "" for each in (above, inside)]
    loaded = load(path, f'{HEAD}{lines[0]}\n[encryption]\nkey = {{ env = "D", name = "d1" }}\n{lines[1]}')
    assert loaded.policy.recordings == said
    assert loaded.encryption is not None
    assert loaded.encryption.recordings == encrypts
    if above:
        alone = load(path, HEAD + lines[0])
        assert (alone.policy.recordings, alone.encryption) == ("plain", None)


BAD = [
    # The file
    ("", "1:1: must begin with version = 1"),
    ("version = 2", "1:1: version: must be 1; a newer exporter may know others"),
    ("version = true", "1:1: version: must be 1; a newer exporter may know others"),
    ("version = 1\nkeys = 1", "2:1: keys: there is no such key. Did you mean key?"),
    ("version = 1\n[conversation]", "2:2: conversation: there is no such key. Did you mean conversations?"),
    ("version = 1\nconversations = 1", "2:1: conversations: must be a table, and is a number"),
    (
        HEAD + 'recordings = "encrypted"',
        '3:1: recordings: above all tables, this can only be "plain". What encrypts audio is [encryption]',
    ),
    (HEAD + 'recordings = "keep"', '3:1: recordings: must be "plain"'),
    (
        HEAD + '[encryption]\nkey = { env = "D", name = "d1" }\nrecordings = "keep"',
        '5:1: encryption.recordings: must be "encrypted" or "plain"',
    ),
    (
        HEAD + 'recordings = "plain"\n[encryption]\nkey = { env = "D", name = "d1" }\nrecordings = "encrypted"',
        '3:1: recordings: [encryption] says "encrypted" of the same recordings. Leave one of the two out',
    ),
    # Keys
    (
        'version = 1\nkey = "c2VjcmV0"',
        '2:1: key: a key never stands in a policy. Say where it lies: { env = "VARIABLE", name = "k1" }',
    ),
    ('version = 1\nkey = { env = "K" }', "2:1: key: name is missing here"),
    (
        'version = 1\nkey = { name = "k1" }',
        "2:1: key: must have one of env (a variable) and file (the path of a file of mode 0600)",
    ),
    (
        'version = 1\nkey = { env = "K", file = "/k", name = "k1" }',
        "2:1: key: must have one of env (a variable) and file (the path of a file of mode 0600)",
    ),
    (
        'version = 1\nkey = { env = "c2VjcmV0=", name = "k1" }',
        "2:9: key.env: not the name of a variable. Give its name alone, never the key itself",
    ),
    (
        'version = 1\nkey = { file = "k", name = "k1" }',
        "2:9: key.file: must be a whole path, because later runs may start in another directory",
    ),
    (
        'version = 1\nkey = { env = "K", name = "k.1" }',
        "2:20: key.name: the name of a key has up to 16 letters, digits, - and _",
    ),
    (
        'version = 1\n[conversations]\nsummary = "drop"\nuser_id = { hash = "person" }',
        "4:1: conversations.user_id: hash needs a key: "
        'write key = { env = "EXPORTER_PRIVACY_KEY", name = "k1" } at the top of the file',
    ),
    (
        "version = 1\n[defaults]\n",
        "2:2: defaults: rows that fit no column are withheld, and named by a keyed hash, which needs a key. "
        'Write quarantine = "keep" in [defaults] to have them as served, or '
        'write key = { env = "EXPORTER_PRIVACY_KEY", name = "k1" } at the top of the file',
    ),
    # Defaults
    (HEAD + '[defaults]\nextra = "keeep"', '4:1: defaults.extra: must be "drop" or "keep". Did you mean keep?'),
    (HEAD + '[defaults]\nodd = "keep"', '4:1: defaults.odd: must be "drop"'),
    (
        HEAD + '[defaults]\nquarantine = "encrypt"',
        "4:1: defaults.quarantine: rows that fit no column are encrypted with all others, if [encryption] is there. "
        'Write "withhold", or "keep" to have them as served',
    ),
    # Columns and paths
    (RULES + 'user_idd = "drop"', "4:1: conversations.user_idd: there is no such column. Did you mean user_id?"),
    (
        RULES + 'extra = "drop"',
        "4:1: conversations.extra: fields that the API adds are kept or dropped together: "
        'write extra = "drop" in [defaults]',
    ),
    *(
        (
            f'{RULES}{column} = "keep"',
            f"4:1: conversations.{column}: id, created_at, updated_at, status, organization_id take no rule: "
            "what is read, merged and proven rests on them",
        )
        for column in ("id", "created_at", "updated_at", "status", "organization_id")
    ),
    (
        RULES + '"user_id.name" = "drop"',
        '4:1: conversations."user_id.name": user_id is neither JSON nor a struct, so it has no paths. '
        "Give it a rule as a whole",
    ),
    (RULES + '"agent.email" = "drop"', '4:1: conversations."agent.email": agent has only agent.id or agent.name'),
    *(
        (
            f'{RULES}"{path}" = "drop"',
            f'4:1: conversations."{path}": no path: '
            'write column, column.member, column."a.b", column.**.member or column.items[*].member',
        )
        for path in ("custom_metadata.", "custom_metadata.a[0]", "custom_metadata.*", "a..b", "[*]", "**.a")
    ),
    (
        RULES + 'custom_metadata.email = { hash = "e" }',
        '4:1: conversations.custom_metadata: a path is written in quotes: "custom_metadata.email" = …',
    ),
    (
        RULES + 'custom_metadata.hash = "drop"',
        '4:1: conversations.custom_metadata: a path is written in quotes: "custom_metadata.hash" = …',
    ),
    (
        HEAD + '[conversations.agent.name]\nhash = "x"',
        '3:16: conversations.agent: a path is written in quotes: "agent.name" = …',
    ),
    (
        RULES + '"custom_metadata.**.phone" = "drop"\n"custom_metadata.phone.**" = "keep"',
        '5:1: conversations."custom_metadata.phone.**": may be the same value as custom_metadata.**.phone, '
        "which would have two rules. Leave one of them out",
    ),
    (
        RULES + '"custom_metadata.names" = "drop"\n"custom_metadata.names[*]" = "keep"',
        '5:1: conversations."custom_metadata.names[*]": may be the same value as custom_metadata.names, '
        "which would have two rules. Leave one of them out",
    ),
    (
        RULES + '"agent.name" = "drop"\nagent = "drop"',
        "5:1: conversations.agent: agent is dropped whole, so a rule for agent.name has nothing to do. Leave it out",
    ),
    (RULES + 'user_id = "drop"\n"user_id" = "keep"', "5:19: not TOML: cannot overwrite a value"),
    # Actions
    (
        RULES + "user_id = 1",
        '4:1: conversations.user_id: must be a rule: "drop", "keep", "no-query", or a table such as '
        '{ hash = "person" }, and is a number',
    ),
    (
        RULES + 'user_id = "dorp"',
        '4:1: conversations.user_id: must be "keep", "drop", "no-query", "hash", "mask", "redact" or "round". '
        "Did you mean drop?",
    ),
    (
        RULES + 'user_id = "hash"',
        '4:1: conversations.user_id: hash needs its details: write { hash = "person" }',
    ),
    (
        RULES + "user_id = {}",
        "4:1: conversations.user_id: must have one action of hash, mask, redact or round, and has none",
    ),
    (
        RULES + 'user_id = { hash = "x", mask = "phone" }',
        "4:1: conversations.user_id: must have one action of hash, mask, redact or round, and has hash, mask",
    ),
    (
        RULES + 'user_id = { hsah = "x" }',
        "4:13: conversations.user_id.hsah: there is no such key. Did you mean hash?",
    ),
    (
        RULES + 'user_id = { hash = "x", keep = 4 }',
        "4:25: conversations.user_id.keep: there is no such key. The keys here are hash, normalise",
    ),
    (
        RULES + 'user_id = { hash = "x", normalise = ["lower", "phone"] }',
        f"4:47: conversations.user_id.normalise[1]: write phone:REGION, with one of {', '.join(sorted(REGIONS))}",
    ),
    (
        RULES + 'user_id = { hash = "x", normalise = ["Lower"] }',
        "4:38: conversations.user_id.normalise[0]: there is lower, trim, digits and phone:REGION, such as phone:US. "
        "Did you mean lower?",
    ),
    (
        RULES + 'user_id = { hash = "a b" }',
        "4:13: conversations.user_id.hash: a domain has up to 32 letters, digits, - and _",
    ),
    (RULES + 'agent_number = { mask = "card" }', '4:18: conversations.agent_number.mask: must be "phone"'),
    *(
        (
            f'{RULES}agent_number = {{ mask = "phone", keep = {keep} }}',
            "4:34: conversations.agent_number.keep: must be a whole number from 0 to 12",
        )
        for keep in ("-1", "13", '"4"', "4.0", "true")
    ),
    (
        RULES + 'duration = { mask = "phone" }',
        "4:1: conversations.duration: mask does not suit an integer. Here a rule is keep, drop or round",
    ),
    (
        RULES + 'custom_metadata = { mask = "phone" }',
        "4:1: conversations.custom_metadata: mask does not suit a whole JSON value. "
        "Here a rule is keep, drop or redact",
    ),
    (
        RULES + "summary = { round = 60 }",
        "4:1: conversations.summary: round does not suit a text. Here a rule is keep, drop, hash, mask or redact",
    ),
    (
        RULES + "duration = { round = 1 }",
        "4:14: conversations.duration.round: must be a whole number from 2 to 2147483647",
    ),
    (
        RULES + '"custom_metadata.link" = "no-query"',
        '4:1: conversations."custom_metadata.link": no-query does not suit a member that is no link to a recording. '
        "Here a rule is keep, drop, hash, mask, redact or round",
    ),
    (
        RULES + 'custom_metadata = { redact = "all" }',
        "4:21: conversations.custom_metadata.redact: the column is JSON: add everywhere = true, or name paths in it",
    ),
    (
        RULES + 'summary = { redact = "all", everywhere = true }',
        "4:29: conversations.summary.everywhere: this is a text, and no JSON value with texts in it. Leave it out",
    ),
    (
        RULES + 'custom_metadata = { redact = "all", everywhere = "yes" }',
        "4:37: conversations.custom_metadata.everywhere: must be true or false, and is a text",
    ),
    (
        RULES + 'summary = { redact = ["email", "phnoe"] }',
        "4:32: conversations.summary.redact[1]: there is no such pattern. Did you mean phone?",
    ),
    (
        RULES + 'summary = { redact = ["entities"] }',
        "4:23: conversations.summary.redact[0]: needs the table [entities], which says how they are found",
    ),
    (
        RULES + 'summary = { redact = ["all"] }',
        '4:23: conversations.summary.redact[0]: "all" stands alone: write redact = "all"',
    ),
    (RULES + "summary = { redact = [] }", '4:13: conversations.summary.redact: must name a pattern, or be "all"'),
    (RULES + "summary = { redact = 7 }", "4:13: conversations.summary.redact: must be a list, and is a number"),
    (
        RULES + 'summary = { redact = ["ip", "ip"] }',
        "4:13: conversations.summary.redact: names a pattern twice",
    ),
    # Turns
    (
        HEAD + '[turns]\nconversation_id = "keep"',
        "4:1: turns.conversation_id: conversation_id, conversation_created_at, item_index take no rule: "
        "a turn is found by them",
    ),
    (HEAD + '[turns]\ntoolname = "drop"', "4:1: turns.toolname: turns has no such column. Did you mean tool_name?"),
    (
        HEAD + '[turns]\n"arguments.x" = "drop"',
        '4:1: turns."arguments.x": turns has no such column. '
        "Rules for what is in a transcript belong in [conversations]",
    ),
    (
        HEAD + '[turns]\nis_error = { hash = "x" }',
        "4:1: turns.is_error: hash does not suit a value that is neither a text nor an integer. "
        "Here a rule is keep or drop",
    ),
    # Patterns
    (
        HEAD + '[patterns]\nemail = { regex = "x", to = "y" }',
        "4:1: patterns.email: this pattern is built in. Give yours another name",
    ),
    (
        HEAD + '[patterns."My pattern"]\nregex = "x"\nto = "y"',
        '3:11: patterns."My pattern": the name of a pattern has up to 32 small letters, digits and -, a letter first',
    ),
    (HEAD + '[patterns.x]\nregex = "x"', "3:11: patterns.x: to is missing here"),
    (
        HEAD + "[patterns.x]\nregex = '(?=x)'\nto = \"y\"",
        "4:1: patterns.x.regex: RE2 does not take it: invalid perl operator: (?=. It knows no look-around and no "
        "back-references, and \\d is ASCII alone (\\p{Nd} is every digit)",
    ),
    *(
        (
            f"{HEAD}[patterns.x]\nregex = '{regex}'\nto = \"y\"",
            "4:1: patterns.x.regex: matches an empty text, so it would be found everywhere. Let it need a character",
        )
        for regex in ("a*", "", r"\b", "x|$", "(?i)(?:b)?", r"\B", "^")
        if regex
    ),
    (
        HEAD + "[patterns.x]\nregex = 'x'\nto = '\\1'",
        "5:1: patterns.x.to: must have no backslash: the text is written as it is",
    ),
    (
        HEAD + "[patterns.x]\nregex = 'x'\nto = ''",
        "5:1: patterns.x.to: must not be empty",
    ),
    (
        HEAD + "[patterns.x]\nregex = 'x'\nto = 'y'\ncheck = 'luhm'",
        '6:1: patterns.x.check: must be "none", "luhn", "iban" or "phone". Did you mean luhn?',
    ),
    # Entities
    (
        HEAD + '[entities]\nengine = "spacy"\nlanguage = "en"\nmodel = "m"\ntypes = ["PERSON"]',
        '4:1: entities.engine: must be "presidio"',
    ),
    (
        HEAD + '[entities]\nengine = "presidio"\nlanguage = "en"\nmodel = "m"\ntypes = ["person"]',
        '7:10: entities.types[0]: a type is written in capital letters, such as "PERSON" or "LOCATION"',
    ),
    # Encryption
    (HEAD + "[encryption]\nmode = 'uniform'", "3:2: encryption: key is missing here"),
    (
        HEAD + "[encryption]\nmode = 'columns'\nkey = { env = 'D', name = 'd1' }",
        "3:2: encryption: plain_columns is missing here: columns that can be read without the key, the others cannot",
    ),
    (
        HEAD + "[encryption]\nkey = { env = 'D', name = 'd1' }\nplain_columns = []",
        '5:1: encryption.plain_columns: belongs to mode = "columns": uniform encrypts everything',
    ),
    (
        HEAD + "[encryption]\nmode = 'columns'\nkey = { env = 'D', name = 'd1' }\nplain_columns = ['id', 'satus']",
        "6:24: encryption.plain_columns[1]: there is no such column. Did you mean status?",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[message[:60] for _, message in BAD])
def test_a_bad_policy_is_refused_with_line_column_and_place(path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(path, text)
    assert str(refused.value) == f"{path}:{message}"
    assert "c2VjcmV0" not in str(refused.value)


def test_a_policy_without_hashes_that_keeps_the_quarantine_needs_no_key(path: Path) -> None:
    text = 'version = 1\n[defaults]\nquarantine = "keep"\n[conversations]\nsummary = "drop"\n'
    assert load(path, text).policy.key is None


def test_only_columns_that_are_dropped_whole_are_not_asked_for(path: Path) -> None:
    text = RULES + 'summary = "drop"\n"agent.name" = "drop"\nuser_id = "keep"\n'
    assert dropped_columns(load(path, text).policy) == {"summary"}


@pytest.mark.parametrize("place", ["conversation", "conversation.items", "conversation.items[*]"])
def test_turns_need_the_transcript(place: str) -> None:
    policy = Policy(rules={place: Rule(action="drop")})
    with pytest.raises(UsageError, match="its rows would vanish"):
        check_policy(policy, ("conversations", "turns"), None)
    check_policy(policy, ("conversations",), None)
    check_policy(policy, None, None)
    check_policy(policy, ("conversations", "turns"), ("id", "summary"))
    check_policy(Policy(rules={place: Rule(action="keep")}), ("conversations", "turns"), None)
    check_policy(Policy(rules={f"{place}.x": Rule(action="drop")}), ("conversations", "turns"), None)


STEPS: st.SearchStrategy[list[Segment]] = st.lists(st.sampled_from(["a", "b", *Step]), max_size=4)


@given(STEPS, STEPS, st.data())
def test_two_paths_meet_if_one_value_lies_on_both(
    one: list[Segment], other: list[Segment], data: st.DataObject
) -> None:
    def value_on(path: list[Segment]) -> list[Segment]:
        spread: st.SearchStrategy[list[Segment]] = st.lists(st.sampled_from(["a", "b", Step.ELEMENT]), max_size=2)
        return [step for each in path for step in (data.draw(spread) if each is Step.DEPTH else [each])]

    assert may_meet(one, value_on(one))
    assert may_meet(one, other) == may_meet(other, one)
    if may_meet(value_on(one), other):
        assert may_meet(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("custom_metadata.**.phone", "custom_metadata.a.phone"),
        ("custom_metadata.crm", "custom_metadata.crm.phone"),
        ("custom_metadata", "custom_metadata.crm"),
        ("custom_metadata.**", "custom_metadata.crm"),
        ("custom_metadata.crm", "initial_context.crm"),
    ],
)
def test_where_two_rules_meet_the_one_with_more_names_counts(path: Path, one: str, other: str) -> None:
    text = f'{RULES}"{one}" = {{ redact = "all", everywhere = true }}\n"{other}" = "keep"'
    assert list(load(path, text).policy.rules) == [one, other]


PIECES = st.sampled_from(
    [*"=.,[]{}\"'\\#\n *1a", "true", "[[", '"""', "1.5", "[patterns.x]\n", "regex = '(*'\n", "\x00"]
)


@given(st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 30), PIECES), min_size=1, max_size=4))
def test_any_change_to_a_policy_gives_another_policy_or_one_line_that_says_where(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int, str]]
) -> None:
    text = EVERYTHING
    for at, removed, added in changes:
        at %= len(text)
        text = text[:at] + added + text[at + removed :]
    path = tmp_path_factory.getbasetemp() / "changed.toml"
    path.write_bytes(text.encode())
    try:
        load_policy(path)
    except UsageError as refusal:
        place, _, what = str(refusal).removeprefix(f"{path}:").partition(": ")
        line, column = map(int, place.split(":"))
        assert 1 <= line <= text.count("\n") + 1
        assert 1 <= column <= max(map(len, text.split("\n"))) + 1
        assert what
        assert "\n" not in str(refusal)
