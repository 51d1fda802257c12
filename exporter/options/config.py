"""Reads a config file, which names many exports (`exporter help config`): `exporter.toml`."""

import os
import shlex
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast, get_args

from exporter import route
from exporter.contract import TOKEN_VARIABLE
from exporter.errors import UsageError
from exporter.options.config_keys import SYNC_KEYS, TOKEN_OPTIONS
from exporter.options.config_layers import HINTS, SPEC_KEYS, Command, Layer, read_layers, token_variables_in
from exporter.options.config_place import CHECKED
from exporter.options.config_values import (
    Variables,
    absolute,
    check_texts,
    check_value,
    is_path,
    variables_in,
    with_value,
)
from exporter.options.dialect import in_keywords
from exporter.options.hooks import Hooks
from exporter.options.mistakes import Mistakes
from exporter.options.spec import ExportSpec
from exporter.options.toml import Document, Node, read_toml
from exporter.store.location import Location, Url, parse_location
from exporter.words import did_you_mean

Spec = TypeVar("Spec", bound=ExportSpec)

_COMMANDS: Final = get_args(Command)
_MOST_KEPT: Final = 1000
#: What a sync does not take.
_ENDS: Final = ("until", "created_before")
#: An option that is checked together with another one is not checked while that depends on the environment.
_CHECKED_WITH: Final = {"iceberg_catalog": "table_format"}
#: Times depend on a zone, and are held against the clock with a lag.
_FIRST: Final = ("timezone", "lag")


@dataclass(frozen=True, slots=True)
class Entry:
    """Describes one export of a config file, checked. `options` are keywords of `ExportSpec`, without the destination.

    `sync` are those that `exporter sync` takes besides, and `token_variables` hold the tokens of all entries. No
    `repr` shows what came from the environment.
    """

    name: str
    destination: str
    command: Command
    options: Mapping[str, Any] = field(repr=False)
    sync: Mapping[str, Any]
    hooks: Hooks = field(repr=False)
    metrics_file: Path | None = None
    token_variables: frozenset[str] = frozenset()

    @property
    def spec(self) -> ExportSpec:
        """Returns the entry as a program takes it."""
        return ExportSpec(destination=self.destination, **self.options)


@dataclass(frozen=True, slots=True)
class Config:
    """Holds the entries of a file, by name, in the order of the file. Each is made when it is asked for, because the
    environment may lack what another one needs."""

    path: Path
    environment: Mapping[str, str] = field(repr=False)
    document: Document = field(repr=False)
    layers: Mapping[str, Layer] = field(repr=False)
    token_variables: frozenset[str]

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of all entries."""
        return tuple(self.layers)

    def variables(self, name: str) -> Variables:
        """Returns the variables of an entry, as the environment has them."""
        return Variables(name, self.environment)

    def variables_of_others(self, name: str) -> frozenset[str]:
        """Returns the variables that hold tokens, and that an entry has no use for."""
        layer = self.layers[name]
        own = {each for node in (*layer.keys.values(), *layer.hooks.values()) for each in variables_in(node)}
        if not any(key in layer.keys for key in TOKEN_OPTIONS):
            own.add(TOKEN_VARIABLE)
        return self.token_variables.union((TOKEN_VARIABLE,)).difference(own)

    def entry(self, name: str, keys: Collection[str] | None = None) -> Entry:
        """Returns an entry, or what it says under some `keys`, so that nothing else is asked of the environment.

        Raises `UsageError` for a name that is none, and for a variable that is not set.
        """
        if name not in self.layers:
            near = did_you_mean(name, self.layers) or f" It has {', '.join(self.layers)}"
            raise UsageError(f"{self.path}: there is no export {name!r}.{near}")
        layer, variables = self.layers[name].only(keys), self.variables(name)
        options = _options(layer.keys, variables)
        _check_spec(ExportSpec, options, layer.keys)
        return Entry(
            name=name,
            destination=destination_of(layer.keys["destination"], variables),
            command=command_of(layer),
            options=options,
            sync=_sync_options(layer),
            hooks=Hooks.of(layer.hooks, variables.text),
            metrics_file=metrics_file_of(layer, variables),
            token_variables=self.token_variables,
        )


class _AtAnyTime(ExportSpec):
    """Says what an entry asks for, whether or not its range has begun."""

    reads_on = False


def load_config(path: Path, environment: Mapping[str, str], content: bytes | None = None) -> Config:
    """Returns what a config file says, or the `content` that it had. All is checked that does not depend on the
    environment.

    Raises `UsageError`, which names line, column and key.
    """
    root = read_toml(path, CHECKED.get() if content is None else content)
    check_texts(root)
    config, mistakes = Config(path, environment, root.document, read_layers(root), token_variables_in(root)), Mistakes()
    for name, layer in config.layers.items():
        with mistakes.noted():
            _check_layer(root.document, name, layer)
    mistakes.check()
    _check_apart(config)
    return config


def _check_layer(document: Document, name: str, layer: Layer) -> None:
    if "destination" not in layer.keys:
        where = 'destination is missing here. Give one to each export, or to all: [defaults] destination = "…/${NAME}"'
        raise document.error(("exports", name), where)
    command, variables = command_of(layer), Variables(name, {})
    for key in (*_ENDS, *SYNC_KEYS):
        node = layer.keys.get(key)
        if node is None or (key in _ENDS) != (command == "sync"):
            continue
        if command == "sync":
            raise node.error(
                f'{name} is a sync, which always reads up to now. Write command = "export", or leave it out'
            )
        if node.place[:2] == ("exports", name):
            raise node.error('belongs to command = "sync", and this export has command = "export"')
    _sync_options(layer)
    open_keys = {key for key, node in layer.keys.items() if not variables.known_in(node)}
    closed = {key: node for key, node in layer.keys.items() if {key, _CHECKED_WITH.get(key)}.isdisjoint(open_keys)}
    _check_spec(_AtAnyTime, _options(closed, variables), closed)
    if "destination" in closed:
        destination_of(closed["destination"], variables)


def command_of(layer: Layer) -> Command:
    """Returns the command of an entry, which depends on no variable. Raises `UsageError`."""
    return cast(Command, layer.keys["command"].choice(_COMMANDS)) if "command" in layer.keys else "sync"


def _sync_options(layer: Layer) -> dict[str, Any]:
    if command_of(layer) != "sync":
        return {}
    found: dict[str, Any] = {}
    if (refilter := layer.keys.get("refilter")) is not None:
        found["refilter"] = refilter.flag()
    if (kept := layer.keys.get("keep_generations")) is not None:
        found["keep_generations"] = kept.number(0, _MOST_KEPT)
    return found


def _options(keys: Mapping[str, Node], variables: Variables) -> dict[str, Any]:
    """Returns keywords of `ExportSpec`, in which the variables are replaced, and paths are those of this process."""
    options: dict[str, Any] = {}
    for key in SPEC_KEYS:
        if (node := keys.get(key)) is None:
            continue
        value: Any = _words(node, variables) if key == "token_command" else variables.value(node)
        check_value(with_value(node, value), HINTS[key])
        options[key] = absolute(node, value) if is_path(HINTS[key]) else value
    return options


def _words(node: Node, variables: Variables) -> Any:
    """Returns a command, which is split before a variable is replaced: what one holds is never several arguments."""
    if not (isinstance(node.value, str) and any(variables_in(node))):
        return variables.value(node)
    try:
        words = shlex.split(node.text())
    except ValueError as error:
        raise node.error(f"cannot be split into arguments: {str(error).lower()}") from error
    return [variables.text(with_value(node, word)) if word else "" for word in words]


def _check_spec(kind: type[Spec], options: Mapping[str, Any], keys: Mapping[str, Node]) -> None:
    """Raises `UsageError`, at the key that is wrong, for options that `ExportSpec` does not take."""
    if (url := options.get("base_url")) is not None:
        try:
            route.check_base_url(url, insecure_http=options.get("insecure_http", False))
        except UsageError as error:
            raise keys["base_url"].error(in_keywords(str(error)).partition(": ")[2]) from error
    try:
        kind(**options)
    except UsageError:
        given: dict[str, Any] = {}
        for key in sorted(options, key=lambda each: each not in _FIRST):
            given[key] = options[key]
            try:
                kind(**given)
            except UsageError as error:
                raise keys[key].error(_without_name(key, in_keywords(str(error)))) from error
        raise


def _without_name(key: str, message: str) -> str:
    """Returns a message about a key without its name, which stands before it with the place."""
    for begin in (f"{key}: ", f"{key} "):
        if message.startswith(begin) and not message.startswith(f"{key} and "):
            return message.removeprefix(begin)
    return message


def destination_of(node: Node, variables: Variables) -> str:
    """Returns a destination, as an absolute path or a URL. Raises `UsageError`."""
    text = variables.text(node)
    try:
        location = parse_location(text)
    except UsageError as error:
        raise node.error(str(error)) from error
    return str(location) if isinstance(location, Url) else absolute(node, text)


def metrics_file_of(layer: Layer, variables: Variables) -> Path | None:
    """Returns the file of figures, if an entry has one. Raises `UsageError`."""
    node = layer.keys.get("metrics_file")
    return None if node is None else Path(absolute(node, variables.text(node)))


def _check_apart(config: Config) -> None:
    """Raises `UsageError` for two entries with one destination, one inside another's, or with one file of metrics.

    An entry that lacks a variable of the environment is left out, because no command takes it so.
    """
    places: dict[str, Location] = {}
    files: dict[str, Location] = {}
    for name, layer in config.layers.items():
        place = file = None
        with suppress(UsageError):
            place = _real(parse_location(destination_of(layer.keys["destination"], config.variables(name))))
        with suppress(UsageError):
            file = metrics_file_of(layer, config.variables(name))
        for other, taken in places.items():
            if place is not None and (_is_inside(place, taken) or _is_inside(taken, place)):
                how = "the same destination as" if place == taken else "a destination inside, or around, that of"
                raise config.document.error(("exports", name), f"has {how} exports.{other}: {taken}")
        for other, taken in files.items():
            if file is not None and _real(file) == taken:
                raise config.document.error(("exports", name), f"has the same metrics_file as exports.{other}: {file}")
        places |= {} if place is None else {name: place}
        files |= {} if file is None else {name: _real(file)}


def _real(location: Location) -> Location:
    return location if isinstance(location, Url) else Path(os.path.realpath(location))


def _is_inside(inner: Location, outer: Location) -> bool:
    if isinstance(inner, Path) and isinstance(outer, Path):
        return inner.is_relative_to(outer)
    if isinstance(inner, Url) and isinstance(outer, Url):
        return f"{inner}/".startswith(f"{outer}/")
    return False
