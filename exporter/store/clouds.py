"""Opens buckets with the endpoints and credentials that each cloud's own tools would use: those of the environment.

Amazon's are botocore's to find: profiles, roles, containers and machines, and `AWS_ENDPOINT_URL` with its variants.
Google's and Azure's are obstore's; Azure's connection string, and the names of its command line, are read here.
"""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from exporter.errors import UsageError
from exporter.route import is_loopback
from exporter.store.location import Url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Credential

#: What a store may take until it is given up, for a run to end with what it has: about a minute.
_RETRIES: Final["RetryConfig"] = {
    "max_retries": 8,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=10), "base": 2},
    "retry_timeout": timedelta(seconds=60),
}
#: For a request with a body of megabytes, over a line that is slow.
_REQUEST_SECONDS: Final = 120
_CONNECT_SECONDS: Final = 10
#: botocore renews what runs out a quarter of an hour before it does.
_CREDENTIALS_FOR: Final = timedelta(minutes=5)

_TRUE: Final = frozenset({"1", "true", "yes", "on"})


def open_bucket(url: Url) -> "ObjectStore":
    """Asks the store nothing yet; where a machine has to be asked for credentials, that is asked. Blocking code.

    Raises `UsageError` for an environment that names no credentials, an unknown profile, or an endpoint without TLS.
    """
    opens = {"s3": _open_s3, "gs": _open_gcs, "az": _open_azure}[url.scheme]
    try:
        return opens(url)
    except (BaseError, ValueError) as error:
        # Its text may repeat what is in the environment.
        raise UsageError(f"{url}: the environment's settings for this store are not usable") from error


def _open_s3(url: Url) -> "ObjectStore":
    import botocore.configprovider
    import botocore.exceptions
    import botocore.session

    session = botocore.session.Session()
    try:
        endpoint = None
        if not session.get_config_variable("ignore_configured_endpoint_urls"):
            endpoint = botocore.configprovider.ConfiguredEndpointProvider(
                session.full_config, session.get_scoped_config(), "s3"
            ).provide()
        found = session.get_credentials()
        region = session.get_config_variable("region") or "us-east-1"
        authority = session.get_config_variable("ca_bundle")
    except botocore.exceptions.ProfileNotFound as error:
        raise UsageError(f"{url}: {error}") from error
    except botocore.exceptions.BotoCoreError as error:
        # Others may repeat what is in the files of credentials.
        raise UsageError(f"{url}: the AWS configuration is not usable ({type(error).__name__})") from error
    if found is None:
        raise UsageError(f"{url}: no credentials for Amazon S3. Set AWS_PROFILE, or what else the AWS tools would take")
    credentials = found

    def provide() -> "S3Credential":
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key or "",
            "secret_access_key": frozen.secret_key or "",
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_FOR,
        }

    options = _client_options(url, endpoint, "AWS_ALLOW_HTTP")
    if authority:
        options["root_certificate"] = Path(authority).read_bytes()
    return S3Store(
        url.bucket,
        region=region,
        credential_provider=provide,
        client_options=options,
        retry_config=_RETRIES,
        **({"endpoint": endpoint} if endpoint else {}),
    )


def _open_gcs(url: Url) -> "ObjectStore":
    config: dict[str, Any] = {}
    endpoint = os.environ.get("GOOGLE_BASE_URL")
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):
        endpoint = emulator if "://" in emulator else f"http://{emulator}"
        config = {"base_url": endpoint, "bearer_token": "emulator"}
    options = _client_options(url, endpoint, "GOOGLE_ALLOW_HTTP")
    return GCSStore(url.bucket, client_options=options, retry_config=_RETRIES, **config)


def _open_azure(url: Url) -> "ObjectStore":
    config = azure_config(os.environ)
    endpoint = config.get("endpoint") or os.environ.get("AZURE_STORAGE_ENDPOINT") or os.environ.get("AZURE_ENDPOINT")
    if not (config.get("account_name") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")):
        raise UsageError(f"{url}: no storage account. Set AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_CONNECTION_STRING")
    options = _client_options(url, endpoint, "AZURE_ALLOW_HTTP")
    return AzureStore(url.bucket, client_options=options, retry_config=_RETRIES, **config)


def azure_config(environment: Mapping[str, str]) -> dict[str, Any]:
    """What obstore does not read from the environment itself: the connection string, and names of the command line.

    Raises `UsageError`.
    """
    config: dict[str, Any] = {}
    for name, variable in (
        ("account_name", "AZURE_STORAGE_ACCOUNT"),
        ("account_key", "AZURE_STORAGE_KEY"),
        ("sas_key", "AZURE_STORAGE_SAS_TOKEN"),
    ):
        if value := environment.get(variable):
            config[name] = value
    if text := environment.get("AZURE_STORAGE_CONNECTION_STRING"):
        config |= _connection(text)
    return config


def _connection(text: str) -> dict[str, Any]:
    pairs = [part.partition("=") for part in text.strip().strip(";").split(";")]
    given = {name.strip().lower(): value.strip() for name, _, value in pairs}
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
        raise UsageError(f"{url}: the endpoint in the environment has a user or a password in it")
    if parts.scheme == "http":
        if not is_loopback(parts.hostname or "") and os.environ.get(permission, "").lower() not in _TRUE:
            raise UsageError(
                f"{url}: the endpoint {parts.hostname} has no TLS: anybody on the way could read and change what is "
                f"sent. Give one with https://, or, in a network that you trust, set {permission}=true"
            )
        options["allow_http"] = True
    elif parts.scheme != "https":
        raise UsageError(f"{url}: the endpoint in the environment is no URL that begins with https://")
    return options
