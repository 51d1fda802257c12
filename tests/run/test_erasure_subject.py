"""A value is looked for as it is stored; where what is stored would find others as well, it is refused."""

import pytest

from exporter.errors import ProtectionError, UsageError
from exporter.keys import Key, Keys
from exporter.log.privacy import Privacy
from exporter.privacy import KeyReference, Policy, Rule
from exporter.run.erasure_subject import ruling, stored_form, subject_of_values
from exporter.settings import Request
from tests.jobs.erasing import KEYS

CHECK = KEYS.privacy(KeyReference(name="k1")).check
HASH = Rule(action="hash", domain="person", normalise=("lower",))


def privacy(**rules: Rule) -> Privacy:
    key = KeyReference(name="k1", check=CHECK)
    return Privacy(policy=Policy(rules={path.replace("__", "."): rule for path, rule in rules.items()}, key=key))


def test_a_hashed_column_is_looked_for_by_the_hash() -> None:
    protected = privacy(user_id=HASH)
    subject = subject_of_values(Request(), protected, KEYS, "user_id", ["Ann"], digits=False)
    (value,) = subject.values
    assert value.startswith("k1.")
    assert stored_form(protected, KEYS)("user_id", "ANN") == value
    assert stored_form(protected, KEYS)("agent_number", "ANN") == "ANN"
    with pytest.raises(UsageError, match="leave --digits out"):
        subject_of_values(Request(), protected, KEYS, "user_id", ["1234567"], digits=True)
    with pytest.raises(ProtectionError):
        subject_of_values(Request(), protected, Keys(), "user_id", ["Ann"], digits=False)
    assert isinstance(KEYS.privacy(KeyReference(name="k1")), Key)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule(action="mask", keep=4), "keeps 4 digits of it: they would erase others"),
        (Rule(action="drop"), "drops it"),
        (Rule(action="redact", patterns=("email",)), "changes what is stored"),
    ],
)
def test_what_would_find_others_is_refused(rule: Rule, why: str) -> None:
    with pytest.raises(UsageError, match=f"{why}.*--id") as refused:
        subject_of_values(Request(), privacy(agent_number=rule), KEYS, "agent_number", ["SECRET"], digits=False)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "by", "is_ruled"),
    [
        ("custom_metadata", "custom_metadata.email", True),
        ("custom_metadata.email", "custom_metadata", True),
        ("custom_metadata.email", "custom_metadata.phone", False),
        ("custom_metadata.**.phone", "custom_metadata.phone", True),
        ("custom_metadata.**.phone", "custom_metadata.a.phone", True),
        ("conversation.items[*].content", "conversation.items[0].content", True),
        ("user_id", "agent_number", False),
    ],
)
def test_which_rule_is_about_a_place(path: str, by: str, is_ruled: bool) -> None:
    policy = Policy(rules={path: Rule(action="mask"), "agent.id": Rule(action="keep")})
    assert (ruling(policy, by) is not None) == is_ruled
