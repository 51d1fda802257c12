"""Endpoints and credentials come from where each cloud's own tools take them, and no secret is ever repeated."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.errors import UsageError
from exporter.store.bucket import Bucket
from exporter.store.clouds import azure_config, open_bucket
from exporter.store.location import Scheme, Url
from tests.toolkit.clouds import S3

pytestmark = pytest.mark.usefixtures("no_clouds")


@pytest.fixture
def no_clouds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This machine's own settings are not there."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def set_all(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def asked_with(s3: S3) -> str:
    """What the last request that came was signed with: the id of the key, and the region."""
    credential = s3.gate.asked[-1].authorization.partition("Credential=")[2]
    key, _, region, *_ = credential.split("/")
    return f"{key} {region}"


@pytest.mark.parametrize("profile", ["default", "nightly"])
def test_a_profile_gives_keys_region_and_endpoint(
    profile: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.make_bucket(name := f"profiles-{secrets.token_hex(4)}")
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = one\n"
        "[nightly]\naws_access_key_id = AKIANIGHTLY\naws_secret_access_key = two\n"
    )
    (tmp_path / "config").write_text(
        f"[default]\nregion = eu-west-1\nendpoint_url = {s3.url}\n"
        "[profile nightly]\nregion = eu-central-1\nservices = local\n"
        f"[services local]\ns3 =\n  endpoint_url = {s3.url}\n"
    )
    set_all(monkeypatch, {} if profile == "default" else {"AWS_PROFILE": profile})
    url = Url("s3", name, "x")
    assert Bucket(url, open_bucket(url)).sizes("") == {}
    assert asked_with(s3) == {"default": "AKIADEFAULT eu-west-1", "nightly": "AKIANIGHTLY eu-central-1"}[profile]


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_variables_come_before_profiles(variable: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.make_bucket(name := f"variables-{secrets.token_hex(4)}")
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\nendpoint_url = https://nowhere.test\n")
    set_all(
        monkeypatch,
        {variable: s3.url, "AWS_ACCESS_KEY_ID": "AKIAVAR", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "eu-north-1"},
    )
    url = Url("s3", name, "x")
    assert Bucket(url, open_bucket(url)).sizes("") == {}
    assert asked_with(s3).split()[0] == "AKIAVAR"


KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.mark.parametrize(
    ("scheme", "environment", "says"),
    [
        ("s3", {}, "no credentials for Amazon S3"),
        ("s3", {"AWS_PROFILE": "unheard"}, "profile (unheard) could not be found"),
        ("s3", {"AWS_ACCESS_KEY_ID": "AKIA"}, "PartialCredentialsError"),
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "http://store.test"}, "store.test has no TLS"),
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "http://127.0.0.1.store.test"}, "has no TLS"),
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "https://u:secret@store.test"}, "a user or a password"),
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "store.test"}, "no URL that begins with https://"),
        ("az", {}, "no storage account"),
        ("az", {"AZURE_STORAGE_CONNECTION_STRING": "AccountKey=c2VjcmV0"}, "neither AccountName nor BlobEndpoint"),
        ("az", {"AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=http://store.test/a"}, "store.test has no TLS"),
        ("az", {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": "secret!"}, "are not usable"),
        ("gs", {"GOOGLE_BASE_URL": "http://store.test"}, "store.test has no TLS"),
        ("gs", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/secret.json"}, "are not usable"),
    ],
)
def test_what_the_environment_lacks_is_said(
    scheme: Scheme, environment: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, environment)
    with pytest.raises(UsageError) as raised:
        open_bucket(Url(scheme, "bucket"))
    assert says in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("scheme", "environment"),
    [
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "http://store.test", "AWS_ALLOW_HTTP": "true"}),
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "https://store.test"}),
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "http://store.test", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}),
        ("az", {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": "c2VjcmV0"}),
        ("az", {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0"}),
        ("az", {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_SAS_TOKEN": "sv=2021-08-06&sig=x"}),
        ("gs", {"STORAGE_EMULATOR_HOST": "localhost:4443"}),
        ("gs", {"GOOGLE_BASE_URL": "http://store.test", "GOOGLE_ALLOW_HTTP": "1", "GOOGLE_SKIP_SIGNATURE": "true"}),
    ],
)
def test_what_is_enough(scheme: Scheme, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, environment)
    open_bucket(Url(scheme, "bucket"))


def test_connection_strings() -> None:
    account = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5PQ==;EndpointSuffix=core.chinacloudapi.cn"
    assert azure_config({"AZURE_STORAGE_CONNECTION_STRING": account}) == {
        "account_name": "a",
        "account_key": "a2V5PQ==",
        "endpoint": "https://a.blob.core.chinacloudapi.cn",
    }
    shared = "BlobEndpoint=https://a.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D;"
    assert azure_config({"AZURE_STORAGE_CONNECTION_STRING": shared}) == {
        "account_name": "a",
        "sas_key": "sv=1&sig=x%3D",
        "endpoint": "https://a.blob.core.windows.net",
    }
