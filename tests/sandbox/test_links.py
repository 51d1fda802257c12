import base64
from typing import Any, get_args
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import SECOND, parse_timestamp
from exporter.sandbox.links import Signer
from exporter.sandbox.media import Dialect

NOW = parse_timestamp("2026-02-10T05:00:00.700000Z")
BEGINS = NOW // SECOND
DIALECTS = pytest.mark.parametrize("dialect", get_args(Dialect))


def query_of(dialect: Any, path: str = "a/b", *, signer: Signer | None = None) -> dict[str, str]:
    signature = (signer or Signer(b"key")).sign(path, NOW, 60, dialect)
    return {"t": signature} if dialect == "path" else dict(parse_qsl(signature))


@DIALECTS
def test_a_link_lives_as_long_as_it_says_and_no_longer(dialect: Any) -> None:
    query = query_of(dialect)
    ends = (BEGINS + 60) * SECOND
    assert [Signer(b"key").check("a/b", query, at) for at in (NOW, ends - 1, ends)] == ["alive", "alive", "expired"]


@DIALECTS
def test_only_the_path_and_the_key_that_it_was_signed_for_take_it(dialect: Any) -> None:
    query = query_of(dialect)
    assert Signer(b"key").check("a/c", query, NOW) == Signer(b"other").check("a/b", query, NOW) == "forged"


@DIALECTS
@given(st.data())
def test_a_link_that_was_changed_anywhere_is_forged(dialect: Any, data: st.DataObject) -> None:
    query = query_of(dialect)
    # Nothing is derived from the name of the algorithm.
    name = data.draw(st.sampled_from(sorted(query.keys() - {"X-Amz-Algorithm"})))
    value = data.draw(
        st.text("0123456789abcdefTZ=", max_size=len(query[name])).filter(lambda text: text != query[name])
    )
    assert Signer(b"key").check("a/b", query | {name: value}, NOW) == "forged"
    assert Signer(b"key").check("a/b", {key: query[key] for key in query if key != name}, NOW) == "forged"


@DIALECTS
def test_no_two_links_are_the_same(dialect: Any) -> None:
    signer = Signer(b"key")
    assert query_of(dialect, signer=signer) != query_of(dialect, signer=signer)


def test_dialects_name_the_end_or_leave_it_out() -> None:
    assert query_of("expires")["Expires"] == str(BEGINS + 60)
    amazon = query_of("amazon")
    assert (amazon["X-Amz-Date"], amazon["X-Amz-Expires"]) == ("20260210T050000Z", "60")
    for dialect in ("opaque", "path", "details"):
        assert not any(word in urlencode(query_of(dialect)).lower() for word in ("expires", "date", str(BEGINS + 60)))


def test_what_is_no_query_of_this_host_is_forged() -> None:
    for text in (b"\xff\xfe 1 2", b"soon 1 2", b"1 2"):
        assert Signer(b"key").check("a/b", {"t": base64.urlsafe_b64encode(text).decode()}, NOW) == "forged"
    assert Signer(b"key").check("a/b", {}, NOW) == "forged"
