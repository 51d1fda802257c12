"""Tests the request: its lists, and its stored form."""

from pathlib import Path

import msgspec
import pytest

from exporter.errors import DestinationError
from exporter.log.state import State
from exporter.run.reconcile import changing_filters, settle_request
from exporter.settings import Filters, Request, Selection

SEVERAL: Filters = {"agent_id": ("a", "b"), "channel": "email", "status": ("completed", "failed", "in_progress")}


def test_the_lists_are_the_combinations_in_the_order_of_the_statuses() -> None:
    request = Request(filters=SEVERAL)
    assert request.common_filters == {"channel": "email"}
    assert [dict(values) for values in request.lists] == [
        {"status": status, "agent_id": agent}
        for status in ("in_progress", "completed", "failed")
        for agent in ("a", "b")
    ]
    assert Request(filters={"channel": "email"}).lists == ((),)
    assert not Request(filters={"channel": "email"}).has_several_values


def test_what_is_stored_is_what_was_asked_for() -> None:
    request = Request(filters=SEVERAL)
    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request
    assert changing_filters(request) == ["status"]


def test_the_difference_is_shown_value_by_value() -> None:
    state = State(request=Request(filters=SEVERAL))
    asked = Selection(filters={"status": ("completed", "failed")})
    with pytest.raises(
        DestinationError,
        match="agent_id=a,b channel=email status=completed,failed,in_progress stored, status=completed,failed asked",
    ):
        settle_request(state, asked, Path("out"))
