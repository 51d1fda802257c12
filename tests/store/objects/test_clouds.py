"""Endpoints and credentials come from where each cloud's own tools take them, and no secret is ever repeated."""

import json
import os
import pwd
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
from obstore.store import GCSStore, S3Store

from exporter.errors import StoreError, UsageError
from exporter.store.location import Scheme, Url
from exporter.store.objects.bucket import Bucket
from exporter.store.objects.clouds import azure_config, open_bucket
from exporter.store.objects.errors import first_line
from tests.toolkit.clouds import S3, serving

pytestmark = pytest.mark.usefixtures("no_clouds")


@pytest.fixture
def no_clouds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Takes this machine's own settings away."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "CLOUDSDK_", "GOOGLE_", "STORAGE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


KEYS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"}


def set_all(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def asked_with(s3: S3) -> str:
    """Returns what the last request that came was signed with: the id of the key, and the region."""
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
    assert asked_with(s3) == "AKIAVAR eu-north-1"


def opened(
    environment: Mapping[str, str], profile: str, monkeypatch: pytest.MonkeyPatch, bucket: str = "bucket"
) -> str:
    """Returns where a bucket's requests go, and the region they are signed for. `profile` stands for a file."""
    set_all(monkeypatch, KEYS | dict(environment))
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(f"[default]\n{profile}")
    config = cast(dict[str, str], cast(S3Store, open_bucket(Url("s3", bucket))).config)
    path = "" if config["virtual_hosted_style_request"] == "true" else f"/{bucket}"
    return f"{config['endpoint_url_s3']}{path} {config['region']}"


@pytest.mark.parametrize(
    ("environment", "profile", "goes_to"),
    [
        ({}, "", "https://bucket.s3.amazonaws.com us-east-1"),
        ({"AWS_REGION": "eu-west-1"}, "region = eu-west-3", "https://bucket.s3.eu-west-1.amazonaws.com eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "", "https://bucket.s3.eu-west-1.amazonaws.com eu-west-1"),
        (
            {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-1"},
            "",
            "https://bucket.s3.eu-west-2.amazonaws.com eu-west-2",
        ),
        ({}, "region = eu-west-3", "https://bucket.s3.eu-west-3.amazonaws.com eu-west-3"),
        ({"AWS_REGION": "cn-north-1"}, "", "https://bucket.s3.cn-north-1.amazonaws.com.cn cn-north-1"),
        ({"AWS_REGION": "us-gov-west-1"}, "", "https://bucket.s3.us-gov-west-1.amazonaws.com us-gov-west-1"),
        ({"AWS_REGION": "us-iso-east-1"}, "", "https://bucket.s3.us-iso-east-1.c2s.ic.gov us-iso-east-1"),
        ({"AWS_REGION": "aws-global"}, "", "https://bucket.s3.amazonaws.com us-east-1"),
        (
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_REGION": "us-east-2"},
            "",
            "https://bucket.s3-fips.us-east-2.amazonaws.com us-east-2",
        ),
        (
            {"AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_REGION": "us-east-2"},
            "",
            "https://bucket.s3.dualstack.us-east-2.amazonaws.com us-east-2",
        ),
        (
            {},
            "use_fips_endpoint = true\nregion = us-east-2",
            "https://bucket.s3-fips.us-east-2.amazonaws.com us-east-2",
        ),
        (
            {"AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "regional"},
            "",
            "https://bucket.s3.us-east-1.amazonaws.com us-east-1",
        ),
        ({}, "s3 =\n  addressing_style = path", "https://s3.amazonaws.com/bucket us-east-1"),
        ({}, "s3 =\n  use_accelerate_endpoint = true", "https://bucket.s3-accelerate.amazonaws.com us-east-1"),
        ({"AWS_ENDPOINT_URL": "https://store.test"}, "", "https://store.test/bucket us-east-1"),
        ({"AWS_ENDPOINT_URL_S3": "https://store.test/at/"}, "", "https://store.test/at/bucket us-east-1"),
        (
            {"AWS_ENDPOINT_URL_S3": "https://store.test"},
            "s3 =\n  addressing_style = virtual",
            "https://bucket.store.test us-east-1",
        ),
        (
            {"AWS_ENDPOINT_URL_S3": "https://store.test", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "",
            "https://bucket.s3.amazonaws.com us-east-1",
        ),
        ({"AWS_BUCKET": "another", "AWS_BUCKET_NAME": "another"}, "", "https://bucket.s3.amazonaws.com us-east-1"),
    ],
)
def test_each_setting_of_amazons_leads_where_its_own_tools_go(
    environment: dict[str, str], profile: str, goes_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened(environment, profile, monkeypatch) == goes_to


@pytest.mark.parametrize(
    ("bucket", "address"),
    [
        ("with.dots", "https://s3.eu-west-1.amazonaws.com/with.dots"),
        ("s3", "https://s3.eu-west-1.amazonaws.com/s3"),
        ("name-s3alias", "https://name-s3alias.s3.eu-west-1.amazonaws.com"),
    ],
)
def test_the_name_of_a_bucket_decides_how_it_is_addressed(
    bucket: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened({"AWS_REGION": "eu-west-1"}, "", monkeypatch, bucket) == f"{address} eu-west-1"


def test_a_directory_bucket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, KEYS)
    with pytest.raises(UsageError, match="S3 Express"):
        open_bucket(Url("s3", "name--use1-az4--x-s3"))


@pytest.mark.parametrize("is_paid", [False, True])
def test_who_asks_pays(is_paid: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    payers: list[str | None] = []

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        payers.append(environ.get("HTTP_X_AMZ_REQUEST_PAYER"))
        start_response("404 Not Found", [("Content-Length", "0")])
        return []

    with serving(answer) as server:
        set_all(
            monkeypatch, KEYS | {"AWS_ENDPOINT_URL": server} | ({"AWS_REQUEST_PAYER": "requester"} if is_paid else {})
        )
        url = Url("s3", "bucket")
        assert Bucket(url, open_bucket(url)).size("x") is None
    assert payers == (["requester"] if is_paid else [None])


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ("credential_process = sh -c 'echo no door: password=hunter2 >&2; exit 7'", "ended with status 7: no door"),
        ("credential_process = sh -c 'exit 1'", "ended with status 1: nothing on stderr"),
        ("credential_process = sh -c 'echo no JSON'", "wrote no JSON object"),
        ("credential_process = /nowhere/at/all", "No such file or directory"),
        ("credential_process = echo '{\"Version\": 2}'", "Unsupported version '2'"),
        (
            "sso_session = my\nsso_account_id = 1\nsso_role_name = r\n"
            "[sso-session my]\nsso_start_url = https://sso.test\nsso_region = us-east-1",
            "Run aws sso login --profile default",
        ),
        (
            "sso_start_url = https://sso.test\nsso_region = us-east-1\nsso_account_id = 1\nsso_role_name = r",
            "Run aws sso login --profile default",
        ),
        (
            "role_arn = arn:aws:iam::1:role/r\nweb_identity_token_file = /nowhere/at/all",
            "/nowhere/at/all: No such file or directory",
        ),
        (
            "role_arn = arn:aws:iam::1:role/r\nsource_profile = other\n"
            "[profile other]\ncredential_process = /nowhere/at/all",
            "/nowhere/at/all: No such file or directory",
        ),
        (
            "role_arn = arn:aws:iam::1:role/r\nsource_profile = other\n"
            "[profile other]\ncredential_process = sh -c 'echo no door >&2; exit 3'",
            "no door",
        ),
        (
            "role_arn = arn:aws:iam::1:role/r\nsource_profile = unheard",
            'InvalidConfigError): The source_profile "unheard"',
        ),
    ],
)
def test_why_there_are_no_credentials_is_said(profile: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", os.environ["AWS_CONFIG_FILE"])
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(f"[default]\n{profile}\n")
    with pytest.raises(UsageError) as raised:
        open_bucket(Url("s3", "bucket"))
    assert says in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_a_role_that_is_refused_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        said = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>r may not</Message></Error></ErrorResponse>"
        start_response("403 Forbidden", [("Content-Type", "text/xml")])
        return [said.encode()]

    Path(os.environ["AWS_CONFIG_FILE"]).write_text(
        "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = keys\n"
        "[profile keys]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n"
    )
    with serving(refuse) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        with pytest.raises(UsageError, match=r"AWS answers AssumeRole: AccessDenied: r may not \(profile default\)"):
            open_bucket(Url("s3", "bucket"))


def test_a_service_that_does_not_answer_may_do_so_later(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        {
            "AWS_PROFILE": "role",
            "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9",
            "AWS_MAX_ATTEMPTS": "1",
        },
    )
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(
        "[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = keys\n"
        "[profile keys]\naws_access_key_id = AKIA\naws_secret_access_key = secret\n"
    )
    with pytest.raises(StoreError, match="does not answer"):
        open_bucket(Url("s3", "bucket"))


ADC = {"client_id": "x", "client_secret": "hunter2", "refresh_token": "hunter2", "quota_project_id": "p"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"type": "external_account", "audience": "hunter2"}', "of the kind 'external_account'"),
        ('{"type": "impersonated_service_account"}', "of the kind 'impersonated_service_account'"),
        ('{"type": "hunter2/hunter2"}', "of no kind"),
        ("[]", "of no kind"),
        ('{"type": "service_account", "universe_domain": "other.test"}', "its universe_domain is not googleapis.com"),
        ("hunter2", "the file is not JSON"),
        (None, "No such file or directory"),
    ],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_credentials_of_googles_that_are_not_supported_are_named(
    content: str | None, says: str, is_named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "application_default_credentials.json"
    if content is not None:
        file.write_text(content)
    elif not is_named:
        return
    set_all(
        monkeypatch,
        {"GOOGLE_APPLICATION_CREDENTIALS": str(file)} if is_named else {"CLOUDSDK_CONFIG": str(tmp_path)},
    )
    with pytest.raises(UsageError) as raised:
        open_bucket(Url("gs", "bucket"))
    assert says in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_what_gcloud_has_left_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {"CLOUDSDK_CONFIG": str(tmp_path), "GOOGLE_CLOUD_QUOTA_PROJECT": "payer"})
    file = tmp_path / "application_default_credentials.json"
    file.write_text(json.dumps({"type": "authorized_user"} | ADC))
    store = cast(GCSStore, open_bucket(Url("gs", "bucket")))
    assert store.config["application_credentials"] == str(file)
    assert store.client_options is not None
    assert "payer" in str(store.client_options["default_headers"])


def test_a_user_without_a_home_has_no_credentials_of_gcloud(monkeypatch: pytest.MonkeyPatch) -> None:
    def know_nobody(user: int) -> NoReturn:
        raise KeyError(user)

    set_all(monkeypatch, {})
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", know_nobody)
    store = cast(GCSStore, open_bucket(Url("gs", "bucket")))
    assert "application_credentials" not in store.config


@pytest.mark.parametrize(
    ("scheme", "name", "value"),
    [
        ("s3", "AWS_ENDPOINT", "https://store.test"),
        ("s3", "AWS_S3_ENDPOINT", "store.test"),
        ("s3", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
        ("s3", "AWS_SKIP_SIGNATURE", "true"),
        ("s3", "AWS_CONDITIONAL_PUT", "disabled"),
        ("s3", "AWS_S3_EXPRESS", "true"),
        ("s3", "AWS_REQUESTER_PAYS", "true"),
        ("s3", "AWS_SIGV4A_SIGNING_REGION_SET", "*"),
        ("s3", "AWS_PROXY_URL", "http://proxy.test"),
        ("s3", "AWS_USE_FIPS_ENDPOINT", "1"),
        ("gs", "GOOGLE_CLOUD_UNIVERSE_DOMAIN", "other.test"),
        ("gs", "GOOGLE_API_USE_CLIENT_CERTIFICATE", "true"),
        ("gs", "GOOGLE_API_USE_MTLS_ENDPOINT", "always"),
        ("gs", "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", "x@y"),
        ("gs", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", "https://store.test"),
        ("az", "AZURE_CLOUD_NAME", "AzureUSGovernment"),
        ("az", "AZURE_ENVIRONMENT", "AzureChinaCloud"),
        ("az", "AZURE_STORAGE_AUTH_MODE", "login"),
        ("az", "AZURE_STORAGE_BLOB_ENDPOINT", "https://store.test"),
        ("az", "AZURE_CLIENT_CERTIFICATE_PATH", "/cert.pem"),
        ("az", "AZURE_USERNAME", "user"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    scheme: Scheme, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = {"s3": KEYS, "gs": {"STORAGE_EMULATOR_HOST": "localhost:1"}, "az": {"AZURE_STORAGE_ACCOUNT": "a"}}
    set_all(monkeypatch, enough[scheme])
    open_bucket(Url(scheme, "bucket"))
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name):
        open_bucket(Url(scheme, "bucket"))


@pytest.mark.parametrize(
    ("authority", "endpoint"),
    [
        ("login.microsoftonline.us", "https://a.blob.core.usgovcloudapi.net"),
        ("https://login.chinacloudapi.cn/", "https://a.blob.core.chinacloudapi.cn"),
        ("https://login.microsoftonline.com", None),
    ],
)
def test_the_authority_of_one_of_azures_clouds_tells_where_accounts_are(authority: str, endpoint: str | None) -> None:
    given = {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_AUTHORITY_HOST": authority}
    config = azure_config(given)
    assert config["authority_host"].startswith("https://login.")
    assert config.get("endpoint") == endpoint
    own = azure_config(given | {"AZURE_STORAGE_ENDPOINT": "https://store.test"})
    assert own["endpoint"] == "https://store.test"


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, '{"error": "invalid_client"}', "(401 invalid_client)"),
        (503, "", "the store keeps answering 503"),
    ],
)
def test_a_service_for_tokens_that_refuses_says_so(
    status: int, body: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(f"{status} No", [("Content-Type", "application/json")])
        return [body.encode()]

    with serving(refuse) as url:
        set_all(
            monkeypatch,
            {
                "AZURE_STORAGE_ACCOUNT": "a",
                "AZURE_TENANT_ID": "t",
                "AZURE_CLIENT_ID": "c",
                "AZURE_CLIENT_SECRET": "hunter2",
                "AZURE_AUTHORITY_HOST": url,
                "AZURE_STORAGE_ENDPOINT": url,
            },
        )
        place = Url("az", "container")
        with pytest.raises(StoreError) as raised:
            Bucket(place, open_bucket(place, {"max_retries": 0})).sizes("")
    assert says in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\n  one\ntwo", "one"),
        ("token: abc and password=hunter2", "token: … and password=…"),
        ("key AKIAIOSFODNN7EXAMPLE1 is bad", "key … is bad"),
        ("x" * 300, "x" * 200 + "…"),
        ("bell\x07", "bell"),
        ("", ""),
    ],
)
def test_what_a_program_says_is_bounded_and_holds_no_secret(said: str, shown: str) -> None:
    assert first_line(said) == shown


@pytest.mark.parametrize(
    ("scheme", "environment", "says"),
    [
        ("s3", {}, "no credentials for Amazon S3"),
        ("s3", {"AWS_PROFILE": "unheard"}, "profile (unheard) could not be found"),
        ("s3", {"AWS_ACCESS_KEY_ID": "AKIA"}, "PartialCredentialsError"),
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "http://store.test"}, "store.test has no TLS"),
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "http://127.0.0.1.store.test"}, "has no TLS"),
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "https://u:secret@store.test"}, "a user or a password"),
        ("s3", KEYS | {"AWS_ENDPOINT_URL": "store.test"}, "must be a URL that begins with https://"),
        ("s3", KEYS | {"AWS_REGION": "eu west"}, "AWS_REGION or the profile"),
        ("s3", KEYS | {"AWS_CA_BUNDLE": "/nowhere.pem"}, "AWS_CA_BUNDLE /nowhere.pem: No such file"),
        ("s3", KEYS | {"AWS_REGION": "cn-north-1", "AWS_USE_FIPS_ENDPOINT": "true"}, "Partition does not support FIPS"),
        (
            "s3",
            KEYS | {"AWS_ENDPOINT_URL": "https://store.test", "AWS_USE_FIPS_ENDPOINT": "true"},
            "AWS_USE_FIPS_ENDPOINT is set, and the endpoint store.test is not of that kind",
        ),
        (
            "s3",
            KEYS | {"AWS_ENDPOINT_URL": "https://store.test", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "AWS_USE_DUALSTACK_ENDPOINT is set",
        ),
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
        ("az", {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"}),
        ("az", {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": "c2VjcmV0", "AZURE_USERNAME": "another's"}),
        ("az", {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": "c2VjcmV0", "AZURE_CLOUD_NAME": "AzureCloud"}),
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
