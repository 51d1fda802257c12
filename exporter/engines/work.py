"""Runs a task where an engine has sent it: the one function that runs elsewhere, and all that an engine has to call."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from traceback import extract_tb
from typing import Final

import anyio

from exporter.bearer import TokenPlace
from exporter.errors import EngineError, ExporterError, UsageError
from exporter.options.credentials import load_credentials
from exporter.route import proxies_in
from exporter.run.share import Outcome, Share, decode_header, decode_share, encode
from exporter.run.worker import failure_of, read_share
from exporter.settings import Credentials
from exporter.version import __version__

#: These complain on stderr, with tracebacks, where nobody listens: of a request that ends with its server, for example.
_LOGGERS: Final = ("asyncio", "aiohttp")
_NOWHERE: Final = logging.NullHandler()


def work(task: bytes) -> bytes:
    """Returns what a task has brought, as `share.decode_outcome` reads it; whatever the task meets is a failure in it.

    Blocks, in an event loop of its own; none may run in this thread. Prints nothing, and handles no signal. The token,
    the keys, the proxy and the credentials of the store are those of this process. Raises `EngineError` for bytes that
    are no task.

    An empty task has an empty answer: it only asks whether somebody is there.
    """
    if not task:
        return b""
    header = decode_header(task)
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(_NOWHERE)
    try:
        if header.version != __version__:
            raise UsageError(f"has exporter {__version__}, and the driver {header.version}. Install the same on both")
        return encode(_outcome_of(decode_share(task), os.environ))
    except ExporterError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - whatever it is, the driver must know
        failure = _unforeseen(error)
    return encode(Outcome(task=header.task, failure=failure_of(failure)))


def _outcome_of(share: Share, environment: Mapping[str, str]) -> Outcome:
    credentials = _credentials(share.token, share.facts.asked_organization, environment)
    return anyio.run(read_share, share, credentials, environment)


def _credentials(place: TokenPlace, organization: str | None, environment: Mapping[str, str]) -> Credentials:
    """Returns the token of this worker. Blocks. Raises `UsageError`.

    Whose rows are read, the driver alone says: the variable for that is not looked at here.
    """
    proxies = proxies_in(environment)
    if place.file is not None or place.command is not None:
        return load_credentials({}, place.file, organization, place.command, proxies=proxies)
    token = environment.get(place.variable, "").strip()
    if not token:
        raise UsageError(f"no token: set {place.variable} in the environment of the workers, or give --token-file")
    return load_credentials({place.variable: token}, organization=organization, token=token, proxies=proxies)


def _unforeseen(error: BaseException) -> EngineError:
    """Returns what can be said of an error that nobody foresaw: not its text, which may hold what was read."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frame = extract_tb(error.__traceback__)[-1]
    return EngineError(f"the task failed: {type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}")
