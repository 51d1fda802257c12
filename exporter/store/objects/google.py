"""Finds settings for Google's store in the environment that obstore does not read."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from exporter.errors import UsageError

_VARIABLE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_FILE: Final = "application_default_credentials.json"
#: The kinds of credentials that obstore can exchange for a token.
_KINDS: Final = frozenset({"service_account", "authorized_user"})
_UNIVERSE: Final = "googleapis.com"
#: obstore takes these in place of the file.
_INSTEAD: Final = (
    "STORAGE_EMULATOR_HOST",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_BEARER_TOKEN",
)


def find_credentials(environment: Mapping[str, str]) -> Path | None:
    """Returns the file of credentials that Google's own libraries would use, or None if they would use others.

    Raises `UsageError` for one that cannot be used.
    """
    if any(environment.get(name) for name in _INSTEAD):
        return None
    named = environment.get(_VARIABLE)
    directory = environment.get("CLOUDSDK_CONFIG")
    file = Path(named) if named else _found_in(Path(directory or "~/.config/gcloud"))
    if file is None:
        return None
    # A name that somebody gave is not repeated.
    where = _VARIABLE if named else str(file)
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{where}: the credentials there are not usable: {error.strerror}") from error
    except ValueError:
        # It is not chained to an error that quotes the file.
        raise UsageError(f"{where}: the credentials there are not usable: the file is not JSON") from None
    _check_kind(where, content)
    return file


def _found_in(directory: Path) -> Path | None:
    """Returns the file that gcloud has left in a directory; none where there is no home, or where nobody may look."""
    with suppress(RuntimeError, OSError):
        file = directory.expanduser() / _FILE
        return file if file.exists() else None
    return None


def _check_kind(where: str, content: Any) -> None:
    kind = str(content.get("type", "")) if isinstance(content, dict) else ""
    if kind not in _KINDS:
        named = f"of the kind {kind[:40]!r}" if kind.replace("_", "").isalpha() else "of no kind"
        raise UsageError(
            f"{where}: holds credentials {named}, but only those of a service_account or an authorized_user are "
            "supported. Give a service account's key, or run on a machine whose service account may use the bucket"
        )
    universe = content.get("universe_domain", _UNIVERSE)
    if universe != _UNIVERSE:
        raise UsageError(f"{where}: its universe_domain is not {_UNIVERSE}, the only one that is supported")
