"""deltalake goes where the store goes, as whom the store goes, whatever the environment says to deltalake."""

import base64
import hashlib
import hmac
import os
import secrets
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import pyarrow as pa
import pytest
import trustme
from deltalake import DeltaTable, Schema
from deltalake.transaction import create_table_with_add_actions

from exporter.errors import StoreError, UsageError
from exporter.lake.follow import settle_table_format
from exporter.log.state import State
from exporter.model import TableFormat
from exporter.settings import Selection
from exporter.store.location import Scheme, Url
from exporter.store.objects.clouds import open_bucket
from exporter.store.objects.errors import KeylessError
from exporter.store.objects.table_options import table_options
from tests.toolkit.clouds import AZURE_ACCOUNT, AZURE_KEY, S3, Cloud, serving

SCHEMA = Schema.from_arrow(pa.schema([pa.field("id", pa.string())]))
NOWHERE = "http://127.0.0.1:1"
#: Without our options, each of these leads deltalake elsewhere, or makes it somebody else.
LEAKS = {
    "AWS_ENDPOINT_URL_S3": NOWHERE,
    "AWS_ENDPOINT_URL": NOWHERE,
    "AWS_ENDPOINT": NOWHERE,
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    "AWS_CONDITIONAL_PUT": "disabled",
    "AWS_S3_LOCKING_PROVIDER": "dynamodb",
    "AWS_S3_ALLOW_UNSAFE_RENAME": "true",
    "AWS_REQUEST_PAYER": "requester",
    "AWS_ACCESS_KEY_ID": "AKIASTRANGER",
    "AWS_SECRET_ACCESS_KEY": "strange",
    "AWS_SESSION_TOKEN": "strange",
    "AWS_PROFILE": "no-such-profile",
    "AWS_ROLE_ARN": "arn:aws:iam::1:role/none",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/none",
    "AWS_DEFAULT_REGION": "eu-west-9",
    "AWS_ALLOW_HTTP": "false",
    "AZURE_STORAGE_ENDPOINT": NOWHERE,
    "AZURE_ENDPOINT": NOWHERE,
    "AZURE_STORAGE_ACCOUNT": "stranger",
    "AZURE_STORAGE_ACCOUNT_NAME": "stranger",
    "AZURE_STORAGE_KEY": "AAAA",
    "AZURE_STORAGE_ACCOUNT_KEY": "AAAA",
    "AZURE_STORAGE_SAS_TOKEN": "sv=2020&sig=x",
    "AZURE_CLIENT_ID": "x",
    "AZURE_TENANT_ID": "y",
    "AZURE_CLIENT_SECRET": "z",
    "AZURE_SKIP_SIGNATURE": "true",
    "AZURE_STORAGE_USE_EMULATOR": "true",
    "GOOGLE_BASE_URL": NOWHERE,
    "GOOGLE_APPLICATION_CREDENTIALS": "/none",
    "GOOGLE_SKIP_SIGNATURE": "true",
}
_OURS = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR")


@pytest.fixture(autouse=True)
def an_environment_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(_OURS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def set_all(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def round_trip(url: Url, options: dict[str, str]) -> None:
    """Makes a table, and reads it."""
    uri = f"{url}/{secrets.token_hex(4)}"
    create_table_with_add_actions(uri, SCHEMA, [], storage_options=options)
    assert DeltaTable(uri, storage_options=options).version() == 0


@pytest.fixture
def bucket_name() -> str:
    return f"options-{secrets.token_hex(4)}"


@pytest.mark.parametrize("name", ["s3", "azure", "gcs"])
def test_the_environment_changes_nothing(
    name: str, request: pytest.FixtureRequest, bucket_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud: Cloud = request.getfixturevalue(name)
    cloud.make_bucket(bucket_name)
    set_all(monkeypatch, cloud.environment)
    url = Url(cloud.scheme, bucket_name)
    options = table_options(url, open_bucket(url))
    round_trip(url, options)
    for name in cloud.environment:
        monkeypatch.delenv(name)
    # That the store asks with these is seen by the environment that it was opened in.
    for leak, value in LEAKS.items():
        with monkeypatch.context() as alone:
            alone.setenv(leak, value)
            if leak != "AWS_SESSION_TOKEN":
                round_trip(url, options)
    set_all(monkeypatch, {name: value for name, value in LEAKS.items() if name != "AWS_SESSION_TOKEN"})
    round_trip(url, options)


def test_a_profile_is_enough(s3: S3, bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.make_bucket(bucket_name)
    profile = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    monkeypatch.setenv("AWS_PROFILE", "nightly")
    url = Url("s3", bucket_name)
    for key in ("AKIAFIRST", "AKIASECOND"):
        keys = f"aws_access_key_id = {key}\naws_secret_access_key = s\naws_session_token = t\n"
        profile.write_text(f"[profile nightly]\nregion = us-east-1\nendpoint_url = {s3.url}\n{keys}")
        s3.gate.asked.clear()
        round_trip(url, table_options(url, open_bucket(url)))
        assert s3.gate.asked
        assert all(f"Credential={key}/" in asked.authorization for asked in s3.gate.asked)


def test_credentials_are_asked_for_anew(s3: S3, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, s3.environment)
    url = Url("s3", bucket_name)
    given = iter(["for the opening", "AKIAFIRST", "AKIASECOND"])

    def provide(*_: object) -> dict[str, object]:
        if (key := next(given, None)) is None:
            raise KeylessError("the session has expired. Log in again")
        return {"access_key_id": key, "secret_access_key": "s", "token": None, "expires_at": None}

    monkeypatch.setattr("exporter.store.objects.amazon._provide", provide)
    store = open_bucket(url)
    assert [table_options(url, store)["AWS_ACCESS_KEY_ID"] for _ in range(2)] == ["AKIAFIRST", "AKIASECOND"]
    with pytest.raises(StoreError, match=r"no credentials found: the session has expired\. Log in again"):
        table_options(url, store)


@pytest.mark.parametrize(
    ("scheme", "environment", "says"),
    [
        (
            "s3",
            {"AWS_PROFILE": "x", "AWS_SESSION_TOKEN": "stale"},
            "AWS_SESSION_TOKEN is .* Unset it, or set AWS_A",
        ),
        ("s3", {"AWS_ACCESS_KEY_ID": "x", "AWS_TOKEN": "stale"}, "AWS_TOKEN is set, .* Unset it"),
        ("s3", {"AWS_IAM_ROLE_ARN": "arn:x"}, "AWS_IAM_ROLE_ARN is set, .* name the role in a profile"),
        ("s3", {"AWS_S3_ASSUME_ROLE_ARN": "arn:x"}, "AWS_S3_ASSUME_ROLE_ARN is set"),
        (
            "s3",
            {"AWS_CA_BUNDLE": "/ca.pem", "SSL_CERT_FILE": ""},
            "Delta .* AWS_CA_BUNDLE, .* Set SSL_CERT_FILE",
        ),
        ("gs", {"GOOGLE_BEARER_TOKEN": "x"}, "GOOGLE_BEARER_TOKEN is set, .* service account's key"),
        ("gs", {"GOOGLE_CLOUD_QUOTA_PROJECT": "x"}, "GOOGLE_CLOUD_QUOTA_PROJECT is set, .* Unset it"),
    ],
)
def test_what_would_lead_astray_is_refused(
    scheme: Scheme, environment: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, environment)
    asked = Selection(table_format=TableFormat(kind="delta"))
    with pytest.raises(UsageError, match=rf"^{scheme}://bucket/calls: {says}") as refused:
        settle_table_format(State(), asked, Url(scheme, "bucket", "calls"))
    assert "stale" not in str(refused.value)


def test_what_belongs_together_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_SESSION_TOKEN": "of x"})
    set_all(monkeypatch, {"AWS_CA_BUNDLE": "/ca.pem", "SSL_CERT_FILE": "/ca.pem"})
    asked = Selection(table_format=TableFormat(kind="delta"))
    assert settle_table_format(State(), asked, Url("s3", "bucket", "calls")) == asked.table_format


#: The library reads the authority once, before its first request.
BY_TLS = """
import sys
from deltalake import DeltaTable
from exporter.store.location import Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import open_bucket
from exporter.store.objects.table_options import table_options
url = Url("s3", sys.argv[1])
store = open_bucket(url)
assert Bucket(url, store).top() == {"table"}
print(DeltaTable(f"{url}/table", storage_options=table_options(url, store)).version())
"""


def test_an_authority_of_the_users_own(
    s3: S3, bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.make_bucket(bucket_name)
    set_all(monkeypatch, s3.environment)
    url = Url("s3", bucket_name)
    create_table_with_add_actions(f"{url}/table", SCHEMA, [], storage_options=table_options(url, open_bucket(url)))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(s3.gate, context) as address:
        (tmp_path / "config").write_text(f"[default]\nca_bundle = {tmp_path}/ca.pem\n")
        trusting = {"AWS_ENDPOINT_URL_S3": address, "AWS_CONFIG_FILE": f"{tmp_path}/config"}
        for more, says in (({"SSL_CERT_FILE": f"{tmp_path}/ca.pem"}, "0\n"), ({"SSL_CERT_FILE": ""}, "")):
            environment = {**os.environ, **trusting, **more}
            command = [sys.executable, "-c", BY_TLS, bucket_name]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.stdout == says, done.stderr
        assert "Set SSL_CERT_FILE to the same file" in done.stderr


def signature_for(container: str) -> str:
    """Returns what lets its bearer do everything in a container for a while."""
    permissions, until, version = "racwdl", "2999-01-01T00:00:00Z", "2020-12-06"
    resource = f"/blob/{AZURE_ACCOUNT}/{container}"
    text = "\n".join([permissions, "", until, resource, "", "", "", version, "c", *[""] * 7])
    digest = hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()
    said = {"sv": version, "sr": "c", "sp": permissions, "se": until, "sig": base64.b64encode(digest).decode()}
    return urlencode(said)


def test_a_shared_access_signature_is_enough(azure: Cloud, bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.make_bucket(bucket_name)
    (connection,) = azure.environment.values()
    endpoint = connection.partition("BlobEndpoint=")[2].rstrip(";")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", AZURE_ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_KEY", AZURE_KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
    url = Url("az", bucket_name)
    round_trip(url, table_options(url, open_bucket(url)))
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", signature_for(bucket_name))
    options = table_options(url, open_bucket(url))
    assert AZURE_KEY not in options.values()
    round_trip(url, options)
