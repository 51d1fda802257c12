"""Tells commands and URLs of a run. Neither can fail it: a function here returns why it was not heard, or nothing.

What they answer is not shown, and no reason quotes an argument or a URL, which may hold a secret.
"""

import asyncio
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import aiohttp
from yarl import URL

from exporter.errors import UsageError
from exporter.keys import without_secrets
from exporter.route import choose_proxy, trust
from exporter.version import __version__

#: Each command and each request ends within this.
TIMEOUT_SECONDS: Final = 10.0
#: More of an answer is not read: its content does not matter, but a connection is closed in good order.
_MOST_ANSWER_BYTES: Final = 4096


async def run_command(
    arguments: Sequence[str],
    content: bytes,
    environment: Mapping[str, str],
    timeout_seconds: float = TIMEOUT_SECONDS,
    secrets: Collection[str] = (),
) -> str:
    """Starts a command without a shell, in a process group of its own, with `content` on stdin.

    Its environment has neither the token nor a key, nor the variables that `secrets` names.

    Returns why it did not end well. After `timeout_seconds` it is killed. So are its children, except those in a
    session of their own.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=without_secrets(environment, secrets),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"cannot be started: {getattr(error, 'strerror', None) or error}"
    try:
        async with asyncio.timeout(timeout_seconds):
            # A command need not read what it is told.
            with suppress(BrokenPipeError, ConnectionResetError):
                await process.communicate(content)
            status = await process.wait()
    except TimeoutError:
        return f"killed, because it had not ended after {timeout_seconds:g} s"
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
    if status < 0:
        return f"ended by signal {-status}"
    return f"ended with exit status {status}" if status else ""


async def call_url(
    url: str,
    method: Literal["GET", "POST"],
    content: bytes,
    environment: Mapping[str, str],
    *,
    content_type: str = "application/json",
    ca_file: Path | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> str:
    """Sends `content` to a URL as a POST, or asks for it as a GET without any, through the proxy of the environment.

    Returns why it was not answered with 2xx. A redirect is not followed: the URL that was checked is the only one.
    """
    try:
        proxy, authorities = choose_proxy(environment, url), trust(ca_file)
    except UsageError as error:
        return str(error).partition("\n")[0]
    authorization = {"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else {}
    headers = {"Content-Type": content_type} if method == "POST" else {}
    plain = authorization if url.startswith("http://") else {}
    try:
        async with (
            asyncio.timeout(timeout_seconds),
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), ssl=authorities),
                headers={"User-Agent": f"exporter/{__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.request(
                method,
                URL(url, encoded=True),
                data=content if method == "POST" else None,
                headers=headers | plain,
                allow_redirects=False,
                proxy=proxy.url if proxy else None,
                proxy_headers=authorization,
            ) as response,
        ):
            await response.content.read(_MOST_ANSWER_BYTES)
            status = response.status
    except TimeoutError:
        return f"not answered within {timeout_seconds:g} s"
    except aiohttp.ClientConnectorCertificateError:
        return "its certificate is not trusted"
    except aiohttp.ClientConnectorError:
        return "cannot be reached"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # The message may quote the URL.
        return f"not answered ({type(error).__name__})"
    if 300 <= status < 400:
        return f"answered {status}, a redirect, which is not followed. Name the address that it leads to"
    return "" if 200 <= status < 300 else f"answered {status}"
