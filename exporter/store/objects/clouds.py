"""Opens buckets with the endpoints and credentials that each cloud's own tools would use: those of the environment.

botocore finds Amazon's: see `amazon`. obstore finds Google's and Azure's; what it does not read is read here. Settings
that are not supported are refused: see `unsupported`.
"""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from exporter.errors import UsageError
from exporter.route import is_loopback
from exporter.store.location import Url
from exporter.store.objects.google import find_credentials
from exporter.store.objects.unsupported import refuse_unsupported

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

#: A store that fails is given up after about a minute, so that a run can end with what it has.
RETRIES: Final["RetryConfig"] = {
    "max_retries": 8,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=10), "base": 2},
    "retry_timeout": timedelta(seconds=60),
}
#: This suffices for a request with a body of megabytes, over a slow line.
_REQUEST_SECONDS: Final = 120
_CONNECT_SECONDS: Final = 10
#: obstore's names, each with the variables for it, of which the first that is set counts.
_AZURE: Final = (
    ("account_name", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"),
    ("account_key", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY"),
    ("sas_key", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"),
    ("authority_host", "AZURE_STORAGE_AUTHORITY_HOST", "AZURE_AUTHORITY_HOST"),
    ("endpoint", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "AZURE_STORAGE_SERVICE_ENDPOINT"),
)
#: Azure's libraries take these if there is no key; obstore does not.
_AZURE_UNSUPPORTED: Final = ("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_USERNAME", "AZURE_PASSWORD")
#: The accounts that an authority vouches for lie in these domains.
_AZURE_CLOUDS: Final = {
    "login.microsoftonline.us": "core.usgovcloudapi.net",
    "login.chinacloudapi.cn": "core.chinacloudapi.cn",
    "login.partner.microsoftonline.cn": "core.chinacloudapi.cn",
}
#: This key is published with Azure's emulators, for everybody.
_AZURE_EMULATOR: Final = (
    "AccountName=devstoreaccount1;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_TRUE: Final = frozenset({"1", "true", "yes", "on"})


def open_bucket(url: Url, retries: "RetryConfig" = RETRIES) -> "ObjectStore":
    """Opens a bucket. Asks the store nothing yet, but may ask the machine for credentials. Blocking code.

    Raises `UsageError` for an environment that names no credentials, an unknown profile, an endpoint without TLS, or
    what is not supported; `StoreError` if credentials may be found in a while.
    """
    refuse_unsupported(url, os.environ)
    opens = {"s3": _open_s3, "gs": _open_gcs, "az": _open_azure}[url.scheme]
    try:
        return opens(url, retries)
    except (BaseError, ValueError) as error:
        # The error's text may repeat what is in the environment.
        raise UsageError(f"{url}: the environment's settings for this store are not usable") from error


def _open_s3(url: Url, retries: "RetryConfig") -> "ObjectStore":
    from exporter.store.objects.amazon import resolve

    found = resolve(url)
    options = _client_options(url, found.endpoint, "AWS_ALLOW_HTTP")
    if found.authorities is not None:
        try:
            options["root_certificate"] = found.authorities.read_bytes()
        except OSError as error:
            raise UsageError(f"{url}: AWS_CA_BUNDLE {found.authorities}: {error.strerror}") from error
    return S3Store(
        url.bucket,
        region=found.region,
        # This name comes before all of those that obstore itself finds in the environment.
        aws_endpoint_url_s3=found.endpoint,
        virtual_hosted_style_request=found.is_virtual,
        conditional_put="etag",
        credential_provider=found.provide,
        client_options=options,
        retry_config=retries,
    )


def _open_gcs(url: Url, retries: "RetryConfig") -> "ObjectStore":
    config: dict[str, Any] = {}
    if file := find_credentials(os.environ):
        config["application_credentials"] = str(file)
    endpoint = os.environ.get("GOOGLE_BASE_URL")
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        endpoint = emulator if "://" in emulator else f"http://{emulator}"
        config = {"base_url": endpoint, "bearer_token": "emulator"}
    options = _client_options(url, endpoint, "GOOGLE_ALLOW_HTTP")
    if project := os.environ.get("GOOGLE_CLOUD_QUOTA_PROJECT"):
        options["default_headers"] = {"x-goog-user-project": project}
    return GCSStore(url.bucket, client_options=options, retry_config=retries, **config)


def _open_azure(url: Url, retries: "RetryConfig") -> "ObjectStore":
    config = azure_config(os.environ)
    if "account_name" not in config:
        raise UsageError(f"{url}: no storage account. Set AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_CONNECTION_STRING")
    options = _client_options(url, config.get("endpoint"), "AZURE_ALLOW_HTTP")
    return AzureStore(url.bucket, client_options=options, retry_config=retries, **config)


def azure_config(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns what obstore does not read from the environment itself: the connection string, names of the command line,
    and what follows from the authority of one of Azure's other clouds.

    Raises `UsageError`.
    """
    config: dict[str, Any] = {}
    for name, *variables in _AZURE:
        if value := next(filter(None, map(environment.get, variables)), None):
            config[name] = value
    if text := environment.get("AZURE_STORAGE_CONNECTION_STRING"):
        config |= _connection(text)
    if not config.keys() & {"account_key", "sas_key"}:
        for name in _AZURE_UNSUPPORTED:
            if environment.get(name):
                raise UsageError(f"{name} is set, and is not supported. Set AZURE_CLIENT_SECRET, or another credential")
    if authority := config.get("authority_host"):
        config["authority_host"] = authority if "://" in authority else f"https://{authority}"
        account = config.get("account_name")
        suffix = _AZURE_CLOUDS.get(urlsplit(config["authority_host"]).hostname or "")
        if suffix and account and "endpoint" not in config:
            config["endpoint"] = f"https://{account}.blob.{suffix}"
    return config


def _connection(text: str) -> dict[str, Any]:
    pairs = [part.partition("=") for part in text.strip().strip(";").split(";")]
    given = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if given.get("usedevelopmentstorage", "").lower() == "true":
        return _connection(_AZURE_EMULATOR)
    account, endpoint = given.get("accountname"), given.get("blobendpoint")
    if not account and not endpoint:
        raise UsageError("AZURE_STORAGE_CONNECTION_STRING: names neither AccountName nor BlobEndpoint")
    if not endpoint:
        suffix = given.get("endpointsuffix", "core.windows.net")
        endpoint = f"{given.get('defaultendpointsprotocol', 'https')}://{account}.blob.{suffix}"
    account = account or re.split(r"[./]", urlsplit(endpoint).netloc)[0]
    config = {"account_name": account, "endpoint": endpoint.rstrip("/")}
    for name, key in (("account_key", "accountkey"), ("sas_key", "sharedaccesssignature")):
        if given.get(key):
            config[name] = given[key]
    return config


def _client_options(url: Url, endpoint: str | None, permission: str) -> "ClientConfig":
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "timeout": timedelta(seconds=_REQUEST_SECONDS),
    }
    parts = urlsplit(endpoint or "https:")
    if parts.username or parts.password:
        raise UsageError(f"{url}: the endpoint in the environment must not contain a user or a password")
    if parts.scheme == "http":
        if not is_loopback(parts.hostname or "") and os.environ.get(permission, "").lower() not in _TRUE:
            raise UsageError(
                f"{url}: the endpoint {parts.hostname} has no TLS: anybody on the way could read and change what is "
                f"sent. Give one with https://, or, in a network that you trust, set {permission}=true"
            )
        options["allow_http"] = True
    elif parts.scheme != "https":
        raise UsageError(f"{url}: the endpoint in the environment must be a URL that begins with https://")
    return options
