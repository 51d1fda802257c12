"""Asks botocore, on which Amazon's own tools are built, where a bucket is and how requests to it are signed.

So each setting means here what it means there: profiles, `services` sections, FIPS, dual-stack, accelerated and other
endpoints, the style of addressing, and the domains of all partitions. Blocking code.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import botocore.config
import botocore.credentials
import botocore.exceptions as faults
import botocore.session

from exporter.errors import StoreError, UsageError
from exporter.store.location import Url
from exporter.store.objects.errors import KeylessError, UnreachedError, first_line

if TYPE_CHECKING:
    from obstore.store import S3Credential

_DEFAULT_REGION: Final = "us-east-1"
#: botocore renews credentials a quarter of an hour before they run out.
_CREDENTIALS_FOR: Final = timedelta(minutes=5)
#: These are for the one request that finds a bucket's region.
_PATIENCE: Final = {"connect_timeout": 5, "read_timeout": 5, "retries": {"total_max_attempts": 1}}
#: The names of Amazon's directory buckets end with this.
_DIRECTORY_BUCKET: Final = "--x-s3"
#: The text of these names only settings, never a value that may be secret.
_PLAIN: Final = (
    faults.PartialCredentialsError,
    faults.InvalidConfigError,
    faults.InfiniteLoopConfigError,
    faults.InvalidS3AddressingStyleError,
    faults.MissingDependencyException,
)
_UNREACHED: Final = (faults.HTTPClientError, faults.ConnectionError)
#: Besides `KeylessError`, getting credentials raises these.
_UNRETRIEVED: Final = (
    OSError,
    faults.ClientError,
    faults.CredentialRetrievalError,
    faults.LoginError,
    faults.SSOError,
    faults.TokenRetrievalError,
)
#: For each sort of endpoint: botocore's name, the variable, and the part of a host that says so.
_SORTS: Final = (
    ("use_fips_endpoint", "AWS_USE_FIPS_ENDPOINT", "fips"),
    ("use_dualstack_endpoint", "AWS_USE_DUALSTACK_ENDPOINT", "dualstack"),
)
_REGION: Final = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Says where requests go. The host of `endpoint` contains the bucket if it `is_virtual`.

    `provide` returns credentials that are valid now, and raises `KeylessError`.
    """

    endpoint: str
    is_virtual: bool
    region: str
    authorities: Path | None
    provide: "Callable[[], S3Credential]"


def resolve(url: Url) -> Endpoint:
    """Finds the endpoint. Raises `UsageError` for settings that do not go together, and if no credentials are found;
    `StoreError` if some may be found in a while."""
    if url.bucket.endswith(_DIRECTORY_BUCKET):
        raise UsageError(
            f"{url}: directory buckets, those of S3 Express, are not supported. Give a general purpose one"
        )
    try:
        session = _open_session()
        address, region = _find_address(url, session)
        authorities = session.get_config_variable("ca_bundle")
        profile = session.profile or "default"
        provide = _open_credentials(url, session, profile)
    except faults.ProfileNotFound as error:
        raise UsageError(f"{url}: {error}") from error
    except faults.InvalidRegionError as error:
        raise UsageError(f"{url}: AWS_REGION or the profile does not give the name of a region") from error
    except faults.BotoCoreError as error:
        plain = f": {first_line(str(error))}" if isinstance(error, _PLAIN) else ""
        raise UsageError(f"{url}: the AWS configuration is not usable ({type(error).__name__}){plain}") from error
    endpoint, is_virtual = _split(address, url.bucket)
    return Endpoint(endpoint, is_virtual, region, Path(authorities) if authorities else None, provide)


def find_address(url: Url) -> str:
    """Returns the address of the bucket by the environment, without a `/` at its end. Raises `UsageError`.

    Nothing is sent, and no credentials are looked for.
    """
    try:
        return _find_address(url, _open_session())[0].rstrip("/")
    except faults.BotoCoreError as error:
        raise UsageError(f"{url}: the AWS configuration is not usable ({type(error).__name__})") from error


def find_region(url: Url) -> str:
    """Returns the region that Amazon says this bucket is in, or "" if it does not say. Amazon is asked only once."""

    def stop(response_dict: Mapping[str, Any] | None, **_: object) -> None:
        raise _RegionFound(str((response_dict or {}).get("headers", {}).get("x-amz-bucket-region", "")))

    try:
        client = _open_session().create_client("s3", config=botocore.config.Config(**_PATIENCE))
        # This comes before botocore follows the answer and asks again.
        client.meta.events.register_first("response-received.s3", stop)
        client.head_bucket(Bucket=url.bucket)
    except _RegionFound as found:
        region = found.region
        return region if _REGION.fullmatch(region) and region != client.meta.region_name else ""
    except (faults.BotoCoreError, faults.ClientError, KeylessError, ValueError):
        pass
    return ""


def _open_session() -> Any:
    session = botocore.session.Session()
    # botocore itself reads only AWS_DEFAULT_REGION; Amazon's other tools read AWS_REGION first.
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or _DEFAULT_REGION
    session.set_config_variable("region", region)
    process = botocore.credentials.ProcessProvider(
        session.profile or "default", lambda: session.full_config, popen=_CredentialProcess
    )
    session.get_component("credential_provider").insert_before(process.METHOD, process)
    return session


class _RegionFound(Exception):  # noqa: N818 - nothing is wrong
    """Ends a request after its answer; `region` is what that names as the bucket's, or empty."""

    def __init__(self, region: str) -> None:
        self.region = region


class _AddressFound(Exception):  # noqa: N818 - nothing is wrong
    """Ends a request that is about to be signed and sent to `address`."""

    def __init__(self, address: str, region: str) -> None:
        self.address = address
        self.region = region


def _find_address(url: Url, session: Any) -> tuple[str, str]:
    """Returns the address of the bucket, and the region that requests are signed for. Nothing is sent."""

    def stop(request: Any, region_name: str, **_: object) -> None:
        raise _AddressFound(request.url, region_name)

    try:
        client = session.create_client("s3", aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106
    except ValueError as error:
        if isinstance(error, faults.BotoCoreError):
            raise
        raise UsageError(f"{url}: the endpoint in the environment must be a URL that begins with https://") from error
    client.meta.events.register_first("before-sign.s3", stop)
    try:
        client.head_bucket(Bucket=url.bucket)
    except _AddressFound as found:
        address, region = found.address, found.region
    except (faults.EndpointProviderError, faults.UnsupportedS3ConfigurationError) as error:
        raise UsageError(
            f"{url}: the settings for S3's endpoint do not go together: {first_line(str(error))}"
        ) from error
    host = urlsplit(address).hostname or ""
    for variable, name, part in _SORTS:
        if session.get_config_variable(variable) and part not in host:
            raise UsageError(f"{url}: {name} is set, and the endpoint {host} is not of that kind. Unset one of the two")
    return address, region


def _split(address: str, bucket: str) -> tuple[str, bool]:
    """Returns the endpoint, and whether the bucket is in its host."""
    address = address.rstrip("/")
    without = address.removesuffix(f"/{bucket}")
    return (without, False) if without != address else (address, True)


def _open_credentials(url: Url, session: Any, profile: str) -> "Callable[[], S3Credential]":
    try:
        found = session.get_credentials()
        if found is None:
            raise UsageError(
                f"{url}: no credentials for Amazon S3. Set AWS_PROFILE, or anything else that the AWS tools take"
            )
        provide = partial(_provide, found, profile)
        provide()
    except _UNRETRIEVED as error:
        raise UsageError(f"{url}: no credentials found: {_cause(error, profile)}") from error
    except UnreachedError as error:
        raise StoreError(f"{url}: no credentials found: {error}. Run again to resume") from error
    except KeylessError as error:
        raise UsageError(f"{url}: no credentials found: {error}") from error
    return provide


def _provide(found: Any, profile: str) -> "S3Credential":
    try:
        frozen = found.get_frozen_credentials()
    except (faults.BotoCoreError, faults.ClientError, OSError) as error:
        failed = UnreachedError if isinstance(error, _UNREACHED) else KeylessError
        raise failed(_cause(error, profile)) from error
    return {
        "access_key_id": frozen.access_key or "",
        "secret_access_key": frozen.secret_key or "",
        "token": frozen.token,
        "expires_at": datetime.now(UTC) + _CREDENTIALS_FOR,
    }


def _cause(error: Exception, profile: str) -> str:
    match error:
        case faults.SSOError() | faults.TokenRetrievalError():
            return f"the SSO session has expired or was never begun. Run aws sso login --profile {profile}"
        case faults.LoginError():
            return f"the session of aws login has expired or was never begun. Run aws login --profile {profile}"
        case faults.ClientError():
            said = error.response.get("Error", {})
            what = f"{error.operation_name}: {said.get('Code', '')}: {said.get('Message', '')}"
            return f"AWS answers {first_line(what)} (profile {profile})"
        case faults.HTTPClientError() | faults.ConnectionError():
            return f"the service that gives them does not answer ({type(error).__name__}). Check the network"
        case faults.RefreshWithMFAUnsupportedError():
            return (
                f"they have expired, and new ones need a code (MFA). Run again, or give a profile without ({profile})"
            )
        case OSError():
            return f"{error.filename or 'a file'}: {error.strerror}. Check what the profile and the environment name"
    return f"{first_line(str(error))} (profile {profile})"


class _CredentialProcess(subprocess.Popen[bytes]):
    """Runs the `credential_process` that a profile names. Raises `KeylessError` for one that gives nothing."""

    def __init__(self, arguments: list[str], **options: Any) -> None:
        try:
            super().__init__(arguments, **options)
        except OSError as error:
            raise KeylessError(f"credential_process: {error.strerror}. Check what the profile names") from error

    def communicate(self, *arguments: Any, **options: Any) -> tuple[bytes, bytes]:
        out, err = super().communicate(*arguments, **options)
        if self.returncode:
            said = first_line(err.decode(errors="replace")) or "nothing on stderr"
            raise KeylessError(f"credential_process ended with status {self.returncode}: {said}")
        try:
            is_object = isinstance(json.loads(out), dict)
        except ValueError:
            is_object = False
        if not is_object:
            raise KeylessError("credential_process wrote no JSON object. Run it by hand to see what it writes")
        return out, err
