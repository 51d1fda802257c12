"""Finds the token, in the environment or in a private file."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from exporter.contract import ORGANIZATION_VARIABLE, PERSONAL_TOKEN_PREFIX, TOKEN_PREFIXES, TOKEN_VARIABLE
from exporter.errors import UsageError
from exporter.settings import Credentials


def load_credentials(
    environment: Mapping[str, str], token_file: Path | None = None, organization: str | None = None
) -> Credentials:
    """Returns the token from `token_file` or `ANYREACH_TOKEN`, and the organization that a personal token needs.

    A variable that is empty is not set. Raises `UsageError` for an `organization` that is empty, when there is no
    token, when others can read the file, or when a `pat_` has no organization (source.md, Request: the API would
    answer 401).
    """
    token = _read_token(token_file) if token_file else environment.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise UsageError(f"no token: set {TOKEN_VARIABLE}, or give --token-file")
    if not all("!" <= character <= "~" for character in token):
        raise UsageError("the token holds a character that no header can carry; was it pasted whole?")
    if organization is not None and not organization.strip():
        raise UsageError("--org-id: must have a value; is the variable that it was taken from empty?")
    organization = (organization or environment.get(ORGANIZATION_VARIABLE, "")).strip() or None
    if organization and not all(" " <= character <= "~" for character in organization):
        raise UsageError("the organization id holds a character that no header can carry")
    if token.startswith(PERSONAL_TOKEN_PREFIX) and not organization:
        raise UsageError(
            f"a personal token (pat_) needs its organization: set {ORGANIZATION_VARIABLE}, or give --org-id"
        )
    return Credentials(token, organization)


def _read_token(path: Path) -> str:
    if str(path).startswith(TOKEN_PREFIXES) and not path.exists():
        raise UsageError("--token-file: must name a file that holds the token, not be the token itself")
    try:
        with open(path, encoding="utf-8", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(f"--token-file {path}: not a regular file")
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise UsageError(f"--token-file {path}: others can read it; run: chmod 600 {path}")
            token = file.read(65_536).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UsageError(f"--token-file {path}: {reason}") from error
    if not token:
        raise UsageError(f"--token-file {path}: holds no token")
    return token


def _open_at_once(path: str, flags: int) -> int:
    # Otherwise a pipe that nobody writes to would be waited for in silence.
    return os.open(path, flags | os.O_NONBLOCK)
