"""Refuses settings of clouds that are not supported and would change where data goes, or how. Pure.

None of them is ignored in silence: data that a user meant for one place must not go to another.
"""

from collections.abc import Mapping
from typing import Final

from exporter.errors import UsageError
from exporter.store.location import Scheme, Url

_NO: Final = frozenset({"", "0", "false", "no", "off", "never", "auto"})
#: botocore takes any other value of these for false.
_BOOLEAN: Final = ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")

_ENDPOINT: Final = "Set AWS_ENDPOINT_URL_S3"
_STYLE: Final = "Set addressing_style in the section s3 of the profile"
_PROXY: Final = "Set HTTPS_PROXY"
_AUTHORITY: Final = "Set AWS_CA_BUNDLE to the authority of the store"
_CONDITIONS: Final = "Unset it: commits rest on conditional writes"
_SIGNED: Final = "Unset it: each request is signed"
_AZURE_ENDPOINT: Final = "Set AZURE_STORAGE_ENDPOINT, and for an identity AZURE_AUTHORITY_HOST"
_GOOGLE_KEY: Final = "Set GOOGLE_APPLICATION_CREDENTIALS to a service account's key"
_GOOGLE_TLS: Final = "Unset it: client certificates are not supported"

#: For each name, this says what to do instead.
_UNSUPPORTED: Final[Mapping[Scheme, Mapping[str, str]]] = {
    "s3": {
        "AWS_ENDPOINT": _ENDPOINT,
        "AWS_S3_ENDPOINT": _ENDPOINT,
        "AWS_S3_ENDPOINT_URL": _ENDPOINT,
        "AWS_STS_ENDPOINT": "Set AWS_ENDPOINT_URL_STS",
        "AWS_METADATA_ENDPOINT": "Set AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": _STYLE,
        "AWS_S3_ADDRESSING_STYLE": _STYLE,
        "AWS_S3_USE_ACCELERATE_ENDPOINT": "Set use_accelerate_endpoint in the section s3 of the profile",
        "AWS_REQUESTER_PAYS": "Set AWS_REQUEST_PAYER=requester",
        "AWS_S3_EXPRESS": "Unset it: directory buckets are not supported",
        "AWS_CONDITIONAL_PUT": _CONDITIONS,
        "AWS_SKIP_SIGNATURE": _SIGNED,
        "AWS_NO_SIGN_REQUEST": _SIGNED,
        "AWS_SIGV4A_SIGNING_REGION_SET": "Unset it: requests are signed for one region",
        "AWS_ALLOW_INVALID_CERTIFICATES": _AUTHORITY,
        "AWS_PROXY_URL": _PROXY,
    },
    "gs": {
        "GOOGLE_CLOUD_UNIVERSE_DOMAIN": "Unset it: only googleapis.com is supported",
        "GOOGLE_API_USE_CLIENT_CERTIFICATE": _GOOGLE_TLS,
        "GOOGLE_API_USE_MTLS_ENDPOINT": _GOOGLE_TLS,
        "GOOGLE_PROXY_URL": _PROXY,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": "Set GOOGLE_BASE_URL",
        "CLOUDSDK_CORE_UNIVERSE_DOMAIN": "Unset it: only googleapis.com is supported",
        "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT": _GOOGLE_KEY,
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": _GOOGLE_KEY,
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": _GOOGLE_KEY,
        "CLOUDSDK_BILLING_QUOTA_PROJECT": "Set GOOGLE_CLOUD_QUOTA_PROJECT",
    },
    "az": {
        "AZURE_CLOUD_NAME": _AZURE_ENDPOINT,
        "AZURE_ENVIRONMENT": _AZURE_ENDPOINT,
        "AZURE_STORAGE_ACCOUNT_URL": _AZURE_ENDPOINT,
        "AZURE_STORAGE_BLOB_ENDPOINT": _AZURE_ENDPOINT,
        "AZURE_STORAGE_AUTH_MODE": "Unset it, and set only the credentials to use",
        "AZURE_STORAGE_PROXY_URL": _PROXY,
        "AZURE_PROXY_URL": _PROXY,
    },
}
#: These lead the library that writes Delta tables elsewhere, whatever it is told.
_UNSUPPORTED_BY_DELTA: Final[Mapping[Scheme, Mapping[str, str]]] = {
    "s3": {
        "AWS_IAM_ROLE_ARN": "Unset it, and name the role in a profile",
        "AWS_S3_ASSUME_ROLE_ARN": "Unset it, and name the role in a profile",
    },
    "gs": {
        "GOOGLE_BEARER_TOKEN": _GOOGLE_KEY,
        "GOOGLE_CLOUD_QUOTA_PROJECT": "Unset it: the project of the credentials must pay",
    },
    "az": {},
}
#: It sends these with any key, also with one that has no token.
_TOKENS: Final = ("AWS_SESSION_TOKEN", "AWS_TOKEN")

#: These values name the clouds that are meant without any of these settings.
_USUAL: Final = frozenset({"googleapis.com", "azurecloud", "azurepubliccloud", "public", "etag"})


def refuse_unsupported(url: Url, environment: Mapping[str, str]) -> None:
    """Raises `UsageError` for a setting that is set and would have no effect here."""
    for name, instead in _UNSUPPORTED[url.scheme].items():
        if environment.get(name, "").strip().lower() not in _NO | _USUAL:
            raise UsageError(f"{url}: {name} is set, and is not supported. {instead}")
    for name in _BOOLEAN if url.scheme == "s3" else ():
        if environment.get(name, "false").strip().lower() not in ("", "true", "false"):
            raise UsageError(f"{url}: {name} must be true or false")


def refuse_for_delta(url: Url, environment: Mapping[str, str], *, has_authority: bool = False) -> None:
    """Raises `UsageError` for a setting under which Delta tables would be written elsewhere than the parts, or as
    somebody else. `has_authority` says that the store is known by an authority of its own."""
    for name, instead in _UNSUPPORTED_BY_DELTA[url.scheme].items():
        if environment.get(name):
            raise UsageError(f"{url}: {name} is set, and Delta tables do not support that. {instead}")
    if url.scheme != "s3":
        return
    for name in _TOKENS:
        if environment.get(name) and not (name == _TOKENS[0] and environment.get("AWS_ACCESS_KEY_ID")):
            keys = ", or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, too" if name == _TOKENS[0] else ""
            raise UsageError(
                f"{url}: {name} is set, and does not belong to the credentials in use: Delta tables would be written "
                f"with both. Unset it{keys}"
            )
    if (has_authority or environment.get("AWS_CA_BUNDLE")) and not environment.get("SSL_CERT_FILE"):
        raise UsageError(
            f"{url}: Delta tables do not heed AWS_CA_BUNDLE, nor ca_bundle in a profile. Set SSL_CERT_FILE to the same "
            "file, too"
        )
