"""Tells others also of a run that ends before it begins, because its entry, an option or the token is wrong."""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cli.entries import Command, config_with
from exporter.cli.log import open_log, written_to
from exporter.cli.output import say
from exporter.cli.runner import tell_of_end
from exporter.cli.watch import Watch, noting_whether_told
from exporter.errors import ExporterError, UsageError
from exporter.options.hooks import Hooks
from exporter.store.location import Location, in_full, parse_location

if TYPE_CHECKING:
    from exporter.options.config import Config


def telling_refusals(command: Command) -> Command:
    """Returns a command that has `--metrics-file`, and that tells others also why it could not begin."""

    @wraps(command)
    def run(**given: Any) -> None:
        with noting_whether_told() as told:
            try:
                command(**given)
            except ExporterError as error:
                watch = None if told else _watch_of(command.__name__, given)
                if watch is not None and watch.is_told:
                    tell_of_end(watch, error, _warner(given["log_format"]))
                raise

    return run


def _warner(log_format: str) -> Callable[[str], None]:
    if log_format != "json":
        return lambda text: say(f"warning: {text}")
    log = open_log(written_to(sys.stderr), "json")
    return lambda text: log("warning", text, {})


def _watch_of(command: str, given: dict[str, Any]) -> Watch | None:
    """Returns the watch of a run that could not begin, with what can be known; None for a name or a path that is
    none."""
    word, typed = given["destination"], given["metrics_file"]
    try:
        config = config_with(word, given["config"])
        if config is None:
            location = parse_location(word)
            where = in_full(location)
            return Watch(command, location, where, metrics_file=_checked(Path(typed), where) if typed else None)
    except (UsageError, OSError):
        return None
    return _watch_of_entry(command, config, word, typed)


def _watch_of_entry(command: str, config: "Config", name: str, typed: str | None) -> Watch:
    """Returns the watch of an entry, without what needs a variable that is not set."""
    from exporter.options.config import destination_of, metrics_file_of
    from exporter.options.config_values import absolute

    layer, variables = config.layers[name], config.variables(name)
    # What stands in the file still says which destination is meant.
    where = str(layer.keys["destination"].value)
    destination: Location | None = None
    metrics_file = Path(typed) if typed else None
    ca_file = None
    with suppress(UsageError):
        destination = parse_location(where := destination_of(layer.keys["destination"], variables))
    known = {}
    for key, node in layer.hooks.items():
        with suppress(UsageError):
            Hooks.of({key: node}, variables.text)
            known[key] = node
    if typed is None:
        with suppress(UsageError):
            metrics_file = metrics_file_of(layer, variables)
    with suppress(UsageError):
        if (authorities := layer.keys.get("ca_file")) is not None:
            ca_file = absolute(authorities, variables.text(authorities))
    file = None if metrics_file is None else _checked(metrics_file, where)
    return Watch(command, destination, where, name, Hooks.of(known, variables.text), file, ca_file)


def _checked(metrics_file: Path, where: str) -> Path | None:
    from exporter.run.metrics_file import check_metrics_file

    with suppress(UsageError):
        return check_metrics_file(metrics_file, where)
    return None
