"""Finds the token: in the environment, in a private file, or in what a command prints."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import MappingProxyType

from exporter.bearer import ReadToken, TokenPlace, TokenSource
from exporter.contract import ORGANIZATION_VARIABLE, PERSONAL_TOKEN_PREFIX, TOKEN_PREFIXES, TOKEN_VARIABLE
from exporter.errors import InterruptedExportError, UsageError
from exporter.keys import read_private
from exporter.options.config_keys import TOKEN_OPTIONS
from exporter.options.parse import flag_of
from exporter.options.token_command import split_command, token_printed_by
from exporter.settings import Credentials
from exporter.signals import listening
from exporter.store.location import known_in_full


def check_sources(token: str | None, file: Path | str | None, command: str | Sequence[str] | None) -> None:
    """Raises `UsageError` if several of these are given, or a command that is none."""
    values = zip(TOKEN_OPTIONS, (token, file, command), strict=True)
    given = [flag_of(name) for name, value in values if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give only one of them")
    if command is not None:
        split_command(command)


def load_credentials(
    environment: Mapping[str, str],
    token_file: Path | str | None = None,
    organization: str | None = None,
    token_command: str | Sequence[str] | None = None,
    token: str | None = None,
    proxies: Mapping[str, str] = MappingProxyType({}),
    *,
    heeds_signals: bool = False,
) -> Credentials:
    """Returns the `token`, the one in `token_file`, the one that `token_command` prints, or that of `ANYREACH_TOKEN`,
    and the organization that a personal token needs.

    A variable that is empty is not set. Blocks while the command runs. Raises `UsageError` for an `organization` that
    is empty, when there is no token, when others can read the file, when the command fails, or when a `pat_` has no
    organization (source.md, Request: the API would answer 401). With `heeds_signals`, a signal ends the command, and
    raises `InterruptedExportError`.
    """
    if organization is not None and not organization.strip():
        raise UsageError("--org-id: must have a value; is the variable that it was taken from empty?")
    organization = (organization or environment.get(ORGANIZATION_VARIABLE, "")).strip() or None
    if organization and not all(" " <= character <= "~" for character in organization):
        raise UsageError("the organization id holds a character that no header can carry")
    if token_file is not None:
        read = _reader(partial(_from_file, Path(token_file)), organization)
        source = TokenSource(f"--token-file {token_file}", read, TokenPlace(file=known_in_full(Path(token_file))))
    elif token_command is not None:
        command = split_command(token_command)
        read = _reader(partial(token_printed_by, command), organization)
        source = TokenSource("--token-command", read, TokenPlace(command=command))
    else:
        variable = TOKEN_VARIABLE if token is None else _variable_with(token, environment)
        place = None if variable is None else TokenPlace(variable=variable)
        source = TokenSource(variable or "the token that the program gives", place=place)
    if source.read is not None:
        token = _read(source.read, heeds_signals=heeds_signals)
    else:
        token = _checked((environment.get(TOKEN_VARIABLE, "") if token is None else token).strip(), organization)
    return Credentials(token, organization, proxies, source)


def _read(read: ReadToken, *, heeds_signals: bool) -> str:
    stopped = threading.Event()
    with listening(stopped.set) if heeds_signals else nullcontext():
        try:
            return read(stopped)
        finally:
            if stopped.is_set():
                raise InterruptedExportError("stopped while the token was read") from None


def _variable_with(token: str, environment: Mapping[str, str]) -> str | None:
    """Returns the variable that a config file took the token from; None: a program may have it from anywhere."""
    return next((name for name, value in environment.items() if value == token), None)


def _reader(read: ReadToken, organization: str | None) -> ReadToken:
    return lambda stopped: _checked(read(stopped), organization)


def _checked(token: str, organization: str | None) -> str:
    if not token:
        raise UsageError(f"no token: set {TOKEN_VARIABLE}, or give --token-file or --token-command")
    if not all("!" <= character <= "~" for character in token):
        raise UsageError("the token holds a character that no header can carry; was it pasted whole?")
    if token.startswith(PERSONAL_TOKEN_PREFIX) and not organization:
        raise UsageError(
            f"a personal token (pat_) needs its organization: set {ORGANIZATION_VARIABLE}, or give --org-id"
        )
    return token


def _from_file(path: Path, _stopped: threading.Event) -> str:
    if str(path).startswith(TOKEN_PREFIXES) and not path.exists():
        raise UsageError("--token-file: must name a file that holds the token, not be the token itself")
    return read_private(path, "--token-file", "token")
