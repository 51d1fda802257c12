"""Rows of those who were erased are dropped, and no other; without the key, no row can be taken."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from exporter.encode.rows import Misfit, exact_row_class
from exporter.errors import ProtectionError
from exporter.keys import Key, Keys
from exporter.log.privacy import Privacy
from exporter.model import Rows
from exporter.pipeline.admission import Admission, subject_columns, subject_of, tombstone_of
from exporter.privacy import Erasure, KeyReference

KEY = Key("k1", bytes(range(32)))
ROW: Any = exact_row_class(["id", "created_at", "user_id", "custom_metadata"])


def privacy(*, ids: tuple[str, ...] = (), subjects: tuple[str, ...] = ()) -> Privacy:
    erasure = Erasure(
        certificate="x",
        sha256="",
        tombstones=tuple(tombstone_of(KEY, one) for one in ids),
        subjects=subjects,
        key=KeyReference(name="k1", check=KEY.check),
    )
    return Privacy(erasures=(erasure,))


def rows(*made: Any) -> Rows[Any]:
    return Rows(list(made), [9] * len(made), [None] * len(made))


@given(st.text(), st.text())
def test_a_tagger_makes_the_same_tags(purpose: str, value: str) -> None:
    assert KEY.tagger(purpose)(value) == KEY.tag(purpose, value)


def test_ids() -> None:
    admission = Admission(privacy(ids=("b", "m2")), KEY)
    misfits = [Misfit("m1", 9, "why", b"{}"), Misfit("m2", 9, "why", b"{}")]
    made = rows(ROW(id="a", created_at=""), ROW(id="b", created_at=""), *misfits)
    assert [row.id for row in admission.admit(made).rows] == ["a", "m1"]
    assert [row.id for row in admission.admit(made).rows] == ["a", "m1"]
    assert admission.kept_out == 2, "a row that is served twice is one"


def test_values() -> None:
    subjects = (
        subject_of(KEY, "user_id", "ann"),
        subject_of(KEY, "custom_metadata.n", "12075550100", digits=True),
    )
    found = privacy(subjects=subjects)
    assert subject_columns(found) == ("custom_metadata", "user_id")
    admission = Admission(found, KEY)
    made = rows(
        ROW(id="a", created_at="", user_id="ann"),
        ROW(id="b", created_at="", user_id="Ann"),
        ROW(id="c", created_at="", custom_metadata=Raw(b'{"n":"+1 207 555 0100"}')),
        Misfit("d", 9, "why", b'{"user_id":"ann","duration":0.5}'),
        Misfit("e", 9, "why", b"base64:..."),
    )
    assert [row.id for row in admission.admit(made).rows] == ["b", "e"]
    hashed = Admission(privacy(subjects=(subject_of(KEY, "user_id", "ANN"),)), KEY, lambda _by, value: value.upper())
    assert [row.id for row in hashed.admit(rows(ROW(id="a", created_at="", user_id="ann"))).rows] == []


def test_the_key_is_needed_only_where_somebody_was_erased() -> None:
    nobody = Admission.of(Privacy(), Keys())
    made = rows(ROW(id="a", created_at=""))
    assert nobody.admit(made) is made
    with pytest.raises(ProtectionError):
        Admission.of(privacy(ids=("a",)), Keys())


def test_a_value_that_was_erased_before_a_policy_hashed_it_is_still_known() -> None:
    admission = Admission(
        privacy(subjects=(subject_of(KEY, "user_id", "ann"),)), KEY, lambda _, value: f"k1.hash of {value}"
    )
    made = rows(ROW(id="a", created_at="", user_id="ann"), ROW(id="b", created_at="", user_id="ben"))
    assert [row.id for row in admission.admit(made).rows] == ["b"]
