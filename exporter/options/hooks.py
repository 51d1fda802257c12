"""Reads `[hooks]` of a config file (`exporter help hooks`): whom a run tells how it went. Nothing here calls."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import msgspec

from exporter.contract import TOKEN_PREFIXES
from exporter.options.toml import Node
from exporter.route import is_loopback
from exporter.words import did_you_mean

Method: TypeAlias = Literal["GET", "POST"]
#: Gives a text of the file with its variables replaced.
Resolve: TypeAlias = Callable[[Node], str]

_EVENTS: Final = ("on_start", "on_success", "on_failure", "on_doubt")
HOOK_KEYS: Final = (*_EVENTS, "ping")
_URL_KEYS: Final = ("url", "method", "plain_http")
_SCHEMES: Final = ("https://", "http://")
_MOST_TARGETS: Final = 16
_MOST_CHARACTERS: Final = 4096


class HookCommand(msgspec.Struct, frozen=True):
    """Names a command, by the arguments that it is started with, without a shell."""

    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HookUrl:
    """Names a URL, which may hold a secret: no message may show more of it than `origin`."""

    url: str
    method: Method = "POST"

    @property
    def origin(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def __repr__(self) -> str:
        return f"HookUrl({self.origin!r}, {self.method!r})"


HookTarget: TypeAlias = HookCommand | HookUrl


class Hooks(msgspec.Struct, frozen=True):
    """Says whom a run tells that it starts, and how it ended. `ping` is told of all of that."""

    on_start: tuple[HookTarget, ...] = ()
    on_success: tuple[HookTarget, ...] = ()
    on_failure: tuple[HookTarget, ...] = ()
    on_doubt: tuple[HookTarget, ...] = ()
    ping: HookUrl | None = None

    @classmethod
    def of(cls, keys: Mapping[str, Node], resolve: Resolve | None = None) -> "Hooks":
        """Returns the hooks of a table's keys, which may come from several tables. Raises `UsageError`.

        `resolve` replaces the variables of a text. Without it, texts that may have some (`$`) stand as they are, and
        of them only what does not depend on a variable is checked.
        """
        for key, node in keys.items():
            if key not in HOOK_KEYS:
                near = did_you_mean(key, HOOK_KEYS) or f" The keys here are {', '.join(HOOK_KEYS)}"
                raise node.error(f"there is no such key.{near}")
        events = {event: _targets(keys[event], resolve) if event in keys else () for event in _EVENTS}
        return cls(**events, ping=_ping(keys["ping"], resolve) if "ping" in keys else None)

    def __bool__(self) -> bool:
        return bool(self.on_start or self.on_success or self.on_failure or self.on_doubt or self.ping)


def _targets(node: Node, resolve: Resolve | None) -> tuple[HookTarget, ...]:
    """Returns one target, or several: those of a list that has more in it than texts, which are one command."""
    if not isinstance(node.value, list) or all(isinstance(item, str) for item in node.value):
        return (_target(node, resolve),)
    items = node.items()
    if len(items) > _MOST_TARGETS:
        raise node.error(f"must have no more than {_MOST_TARGETS} items")
    return tuple(_target(item, resolve) for item in items)


def _target(node: Node, resolve: Resolve | None) -> HookTarget:
    if isinstance(node.value, dict):
        return _url_of_table(node, resolve, ("GET", "POST"))
    if isinstance(node.value, list):
        return _command(node, [_argument(item, resolve) for item in node.items()])
    text = _text(node, resolve)
    if text.startswith(_SCHEMES):
        return _url(node, resolve)
    try:
        # Split before a variable is replaced: as in a shell, what it holds is never split into several arguments.
        words = shlex.split(node.text())
    except ValueError as error:
        raise node.error(f"cannot be split into arguments: {str(error).lower()}") from error
    return _command(node, [_argument(Node(node.document, node.place, word), resolve) for word in words])


def _command(node: Node, arguments: list[str]) -> HookCommand:
    if not arguments or not arguments[0]:
        raise node.error("must name a command or a URL")
    if arguments[0].startswith(_SCHEMES):
        raise node.error("a list of texts is one command. Write several URLs as [{url = …}, {url = …}]")
    if any("\0" in argument for argument in arguments):
        raise node.error("an argument must not hold a NUL character")
    return HookCommand(tuple(arguments))


def _ping(node: Node, resolve: Resolve | None) -> HookUrl:
    if isinstance(node.value, dict):
        return _url_of_table(node, resolve, ())
    return _url(node, resolve)


def _url_of_table(node: Node, resolve: Resolve | None, methods: tuple[str, ...]) -> HookUrl:
    known = _URL_KEYS if methods else tuple(key for key in _URL_KEYS if key != "method")
    members = node.table(known, needed=["url"])
    method = members["method"].choice(methods) if "method" in members else "POST"
    plain_http = "plain_http" in members and members["plain_http"].flag()
    url = _url(members["url"], resolve, plain_http=plain_http)
    return HookUrl(url.url, cast("Method", method))


def _url(node: Node, resolve: Resolve | None, *, plain_http: bool = False) -> HookUrl:
    """Returns a checked URL. No message quotes it, because its path is often all that keeps others from using it."""
    text = _text(node, resolve)
    if resolve is None and "$" in text:
        return HookUrl(text)
    if len(text) > _MOST_CHARACTERS or any(letter <= " " or letter == "\x7f" for letter in text):
        raise node.error("must be a URL, without spaces and not longer than 4,096 characters")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise node.error("must be a URL: https://HOST/PATH") from error
    if parts.scheme not in ("http", "https") or not host:
        raise node.error("must be a URL: https://HOST/PATH")
    if parts.username is not None or parts.password is not None:
        raise node.error("must not hold a user or a password")
    if any(prefix in text for prefix in TOKEN_PREFIXES):
        raise node.error("holds what looks like a token of the API, which is never sent to anybody else")
    if parts.scheme == "http" and not plain_http and not is_loopback(host):
        raise node.error("would be sent unencrypted. Use https, or {url = …, plain_http = true}")
    return HookUrl(text)


def _argument(node: Node, resolve: Resolve | None) -> str:
    return "" if node.value == "" else _text(node, resolve)


def _text(node: Node, resolve: Resolve | None) -> str:
    text = node.text()
    return text if resolve is None else resolve(node)
