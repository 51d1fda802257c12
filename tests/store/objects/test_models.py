"""Tests that botocore's descriptions are the same however they are loaded."""

import json
from pathlib import Path

import botocore.session
import pytest
from botocore.exceptions import UnknownServiceError

from exporter.store.objects.models import hasten


def test_what_is_loaded_faster_is_the_same() -> None:
    slow = botocore.session.Session().get_component("data_loader")
    session = botocore.session.Session()
    hasten(session)
    fast = session.get_component("data_loader")
    for service, kind in (("s3", "service-2"), ("s3", "endpoint-rule-set-1"), ("sts", "service-2")):
        assert fast.load_service_model(service, kind) == slow.load_service_model(service, kind)
    for name in ("endpoints", "partitions", "sdk-default-configuration"):
        assert fast.load_data(name) == slow.load_data(name)
    assert {*slow.list_available_services("service-2")} <= {*fast.list_available_services("service-2")}
    with pytest.raises(UnknownServiceError):
        fast.load_service_model("no-such-service", "service-2")


def test_models_of_the_user_come_first_and_damaged_ones_are_botocores_to_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    (tmp_path / "endpoints.json").write_text('{"a": 1}')
    (tmp_path / "partitions.json").write_text('{"a": NaN, "a": Infinity}')
    (tmp_path / "sdk-default-configuration.json").write_text("{")
    session = botocore.session.Session()
    hasten(session)
    loader = session.get_component("data_loader")
    assert loader.load_data("endpoints") == {"a": 1}
    assert loader.load_data("partitions") == {"a": float("inf")}
    with pytest.raises(json.JSONDecodeError):
        loader.load_data("sdk-default-configuration")
