"""Says to the library that writes Delta tables how to reach a bucket: exactly as the store was opened. Blocking code.

That library reads the environment itself, in ways of its own, and only what it is told is sure to come before that. So
all that could lead it elsewhere is told, with credentials that are valid now.
"""

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from obstore.store import AzureStore, GCSStore, S3Store

from exporter.errors import StoreError
from exporter.store.location import Url
from exporter.store.objects.errors import KeylessError
from exporter.store.objects.unsupported import refuse_for_delta

if TYPE_CHECKING:
    from obstore.store import ObjectStore

#: These are as patient as the store.
_PATIENCE: Final = {"max_retries": "8", "retry_timeout": "60s", "connect_timeout": "10s", "timeout": "120s"}
#: Each is the library's own default, and would be another if the environment said so.
_FIXED_S3: Final = {
    "AWS_CONDITIONAL_PUT": "etag",
    "AWS_S3_LOCKING_PROVIDER": "",
    "AWS_S3_ALLOW_UNSAFE_RENAME": "false",
    "AWS_SKIP_SIGNATURE": "false",
}
_FIXED_AZURE: Final = {"azure_skip_signature": "false", "azure_storage_use_emulator": "false"}


def table_options(url: Url, store: "ObjectStore") -> dict[str, str]:
    """Returns what leads deltalake to the bucket of `store`, which `open_bucket` has opened.

    Raises `UsageError` for an environment that would still lead it astray, and `StoreError` if there are no credentials
    any more.
    """
    if not isinstance(store, S3Store | GCSStore | AzureStore):
        raise TypeError(f"no bucket: {store!r}")
    client: Mapping[str, Any] = store.client_options or {}
    # The authority may be named by a profile alone.
    refuse_for_delta(url, os.environ, has_authority=bool(client.get("root_certificate")))
    match store:
        case S3Store():
            found = _s3(url, store)
        case GCSStore():
            found = _google(store.config)
        case AzureStore():
            found = {f"azure_storage_{name}": str(value) for name, value in _given(store.config)} | _FIXED_AZURE
    return {**found, "allow_http": str(client.get("allow_http", False)).lower(), **_PATIENCE}


def _s3(url: Url, store: S3Store) -> dict[str, str]:
    config: Mapping[str, Any] = store.config
    provide: Any = store.credential_provider
    try:
        credential = provide()
    except KeylessError as error:
        raise StoreError(f"{url}: no credentials found: {error}") from error
    token = {"AWS_SESSION_TOKEN": credential["token"]} if credential["token"] else {}
    return {
        "AWS_ACCESS_KEY_ID": credential["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": credential["secret_access_key"],
        "AWS_REGION": str(config["region"]),
        "AWS_ENDPOINT_URL": str(config["endpoint_url_s3"]),
        "AWS_ENDPOINT_URL_S3": str(config["endpoint_url_s3"]),
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(config["virtual_hosted_style_request"]).lower(),
        **token,
        # It reads only true and false, and not what Amazon's tools take.
        "AWS_REQUEST_PAYER": str(bool(os.environ.get("AWS_REQUEST_PAYER"))).lower(),
        **_FIXED_S3,
    }


def _google(config: Mapping[str, Any]) -> dict[str, str]:
    if endpoint := config.get("base_url"):
        # An emulator takes requests that nobody has signed.
        key = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
        return {"google_base_url": str(endpoint), "google_service_account_key": json.dumps(key)}
    return {f"google_{name}": str(value) for name, value in _given(config)}


def _given(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in config.items() if name not in ("bucket", "container_name")]
