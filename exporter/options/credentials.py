"""Finds the token, in the environment or in a private file."""

from collections.abc import Mapping
from pathlib import Path

from exporter.contract import ORGANIZATION_VARIABLE, PERSONAL_TOKEN_PREFIX, TOKEN_PREFIXES, TOKEN_VARIABLE
from exporter.errors import UsageError
from exporter.keys import read_private
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
    return read_private(path, "--token-file", "token")
