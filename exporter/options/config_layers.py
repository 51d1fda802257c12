"""Reads the tables of a config file, and lays them over one another: an entry over what it extends, over the defaults.

Each key keeps its place in the file, so that what is wrong with it is said there.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_type_hints

from msgspec.structs import replace

from exporter.errors import UsageError
from exporter.options.config_keys import ALTERNATIVES, FILTERS, HOOKS, SYNC_KEYS, alternatives_of
from exporter.options.config_values import check_token, check_value, variables_in
from exporter.options.hooks import Hooks
from exporter.options.mistakes import Mistakes
from exporter.options.spec import OPTIONS, ExportSpec
from exporter.options.toml import Node, Place
from exporter.words import did_you_mean

Command: TypeAlias = Literal["sync", "export"]
#: Keys of `ExportSpec`, with those that have no flag.
SPEC_KEYS: Final = (*OPTIONS, "token", "base_url")
HINTS: Final[dict[str, Any]] = {
    **get_type_hints(ExportSpec),
    "command": Command,
    "refilter": bool,
    "keep_generations": int,
    "metrics_file": str,
    "extends": str,
}
#: Words that a command line would take for a command, today or later.
RESERVED: Final = frozenset((
    "accept", "audit", "changes", "check", "compact", "convert", "demo", "erase", "expire", "export", "help", "keygen",
    "plan", "policy", "protect", "reconcile", "recordings", "rekey", "report", "reread", "run", "sandbox", "schema",
    "sql", "status", "sync", "vacuum", "verify", "version", "view",
))  # fmt: skip

SECTIONS: Final = ("defaults", "templates", "exports", "hooks")
_TABLES: Final = "[defaults], [templates.NAME], [exports.NAME] and [hooks]"
KEYS: Final = ("destination", "command", *SPEC_KEYS, *SYNC_KEYS, "metrics_file", "hooks")
_ALWAYS: Final = ("destination", "command")
_MOST_BASES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layer:
    """Holds the keys of a table, or of several that lie over one another, and those of its hooks."""

    keys: Mapping[str, Node] = field(default_factory=dict)
    hooks: Mapping[str, Node] = field(default_factory=dict)

    def over(self, below: "Layer") -> "Layer":
        """Returns both: what this one has stands in place of the same below, and of what is another name for it."""
        replaced = {each for key in self.keys for each in alternatives_of(key)} | _named_filters(self.keys)
        kept = {key: node for key, node in below.keys.items() if key not in replaced}
        if FILTERS in kept:
            kept[FILTERS] = without_members(kept[FILTERS], replaced)
        return Layer({**kept, **self.keys}, {**below.hooks, **self.hooks})

    def only(self, keys: Collection[str] | None) -> "Layer":
        """Returns what is needed of every entry, and these keys; None means all."""
        if keys is None:
            return self
        kept = {key: node for key, node in self.keys.items() if key in (*_ALWAYS, *keys)}
        return Layer(kept, self.hooks if HOOKS in keys else {})


def token_variables_in(root: Node) -> frozenset[str]:
    """Returns the variables that hold the tokens of a file, of all tables that were read."""
    sections = root.members()
    tables = [sections["defaults"]] if "defaults" in sections else []
    for section in ("templates", "exports"):
        tables += sections[section].members().values() if section in sections else ()
    return frozenset(
        name for table in tables if "token" in table.value for name in variables_in(table.members()["token"])
    )


def _named_filters(keys: Mapping[str, Node]) -> set[str]:
    """Returns the names of filters that stand in the table `filters`, and may have keys of their own below."""
    return set(keys[FILTERS].value) if FILTERS in keys else set()


def without_members(node: Node, names: Collection[str]) -> Node:
    """Returns a table without these members."""
    return replace(node, value={name: value for name, value in node.value.items() if name not in names})


def read_layers(root: Node) -> dict[str, Layer]:
    """Returns all that holds for each entry, by name. Raises `UsageError` for a table or a key that is wrong by
    itself."""
    mistakes = Mistakes()
    sections = _sections(root, mistakes)
    hooks = _read_hooks(sections, mistakes)
    defaults = _read_layer(sections["defaults"], mistakes, has_base=False) if "defaults" in sections else Layer()
    for key, node in defaults.hooks.items():
        if key in hooks:
            with mistakes.noted():
                raise node.error("stands in [hooks] also, which means the same. Leave one of them out")
    defaults = defaults.over(Layer(hooks=hooks))
    templates, entries = (_read_named(sections, section, mistakes) for section in ("templates", "exports"))
    mistakes.check()
    if not entries:
        raise root.error("must name an export: [exports.NAME]")
    for name, layer in templates.items():
        if name in entries:
            raise root.document.error(("templates", name), "an export has this name. Give the template another one")
        _over_its_bases(("templates", name), layer, templates, {})
    return {
        name: _over_its_bases(("exports", name), layer, templates, entries).over(defaults)
        for name, layer in entries.items()
    }


def _sections(root: Node, mistakes: Mistakes) -> dict[str, Node]:
    members = root.members()
    for key, node in members.items():
        with mistakes.noted():
            if key in KEYS and key != HOOKS:
                raise node.error("belongs to [defaults], or to one [exports.NAME]")
            if key not in SECTIONS:
                near = did_you_mean(key, SECTIONS) or f" The tables are {_TABLES}"
                raise node.error(f"there is no such table.{near}")
    return members


def _read_named(sections: Mapping[str, Node], section: str, mistakes: Mistakes) -> dict[str, Layer]:
    found: dict[str, Layer] = {}
    with mistakes.noted():
        tables = sections[section].members(f"tables: [{section}.NAME]") if section in sections else {}
        for name, node in tables.items():
            with mistakes.noted():
                if not _NAME.fullmatch(name):
                    raise node.error("a name has up to 64 letters of ASCII, digits, - _ and ., a letter or digit first")
                if name in RESERVED:
                    raise node.error("a word of this program. Choose another name")
            found[name] = _read_layer(node, mistakes, has_base=True)
    return found


def _read_layer(node: Node, mistakes: Mistakes, *, has_base: bool) -> Layer:
    known = ("extends", *KEYS) if has_base else KEYS
    keys: dict[str, Node] = {}
    members: dict[str, Node] = {}
    with mistakes.noted():
        members = node.members()
        for key, member in members.items():
            with mistakes.noted():
                if key not in known:
                    raise member.error(_no_such_key(key, member, known, node.place))
                if key == "token":
                    check_token(member)
                if key != HOOKS:
                    check_value(member, HINTS[key], is_open=any(variables_in(member)))
                    keys[key] = member
        for group in ALTERNATIVES:
            if len(given := [key for key in group if key in keys]) > 1:
                raise keys[given[1]].error(f"{' and '.join(given)}: give only one of them")
    return Layer(keys, _read_hooks(members, mistakes))


def _read_hooks(members: Mapping[str, Node], mistakes: Mistakes) -> dict[str, Node]:
    hooks: dict[str, Node] = {}
    with mistakes.noted():
        hooks = members[HOOKS].members() if HOOKS in members else {}
    for key, node in hooks.items():
        with mistakes.noted():
            Hooks.of({key: node})
    return hooks


def _no_such_key(key: str, node: Node, known: tuple[str, ...], place: Place) -> str:
    if isinstance(node.value, dict) and len(place) > 1 and not did_you_mean(key, known):
        return f'there is no such key. A name with a dot is written in quotes: [{place[0]}."{place[1]}.{key}"]'
    if key == "extends":
        return "there is nothing that [defaults] could extend"
    # What a name of many parts begins with is what people know it by.
    return f"there is no such key.{did_you_mean(key, known) or ' exporter help config lists the keys'}"


def _over_its_bases(start: Place, own: Layer, templates: Mapping[str, Layer], entries: Mapping[str, Layer]) -> Layer:
    """Returns a table over all that it extends. Raises as `_chain`."""
    layers = [own]
    for place, layer in _chain(start, own, templates, entries):
        # Two exports never share a destination.
        shared = {key: node for key, node in layer.keys.items() if key != "destination" or place[0] == "templates"}
        layers.append(Layer(shared, layer.hooks))
    whole = Layer()
    for layer in reversed(layers):
        whole = layer.over(whole)
    return whole


def _chain(
    start: Place, own: Layer, templates: Mapping[str, Layer], entries: Mapping[str, Layer]
) -> Iterator[tuple[Place, Layer]]:
    """Yields what a table extends, and what that extends. Raises `UsageError` for a name that is none, and a cycle."""
    chain, layer = [start], own
    while (node := layer.keys.get("extends")) is not None:
        name = node.text()
        if name in templates:
            place, layer = ("templates", name), templates[name]
        elif name in entries:
            place, layer = ("exports", name), entries[name]
        else:
            raise _unknown_base(node, name, templates, entries)
        if place in chain:
            names = " → ".join(str(each[1]) for each in [*chain[chain.index(place) :], place])
            raise node.error(f"leads back to where it began: {names}")
        chain.append(place)
        if len(chain) > _MOST_BASES:
            raise node.error(f"more than {_MOST_BASES} tables extend one another here")
        yield place, layer


def _unknown_base(node: Node, name: str, templates: Mapping[str, Layer], entries: Mapping[str, Layer]) -> UsageError:
    names = [*templates, *entries]
    if node.place[0] == "templates":
        return node.error(f"there is no template {name!r}.{did_you_mean(name, templates)}".rstrip("."))
    return node.error(f"there is no template and no export {name!r}.{did_you_mean(name, names)}".rstrip("."))
