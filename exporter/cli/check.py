"""`exporter check`."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import typer

from exporter.cli.entries import current_entry
from exporter.cli.flags import Destination, OneObject
from exporter.cli.option_flags import with_options
from exporter.cli.output import report
from exporter.cli.runner import run_until_signal, show
from exporter.options.hooks import HookCommand, Hooks
from exporter.options.preparation import prepare
from exporter.options.spec import ExportSpec
from exporter.store.location import parse_location
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.jobs.check_result import CheckResult, Finding

_GRADE_COLUMNS: Final = len("not tried")
_NAME_COLUMNS: Final = len("organization")


@with_options()
def check(destination: Destination, spec: ExportSpec, as_json: OneObject = False) -> None:
    """Say whether a run at DEST would have all that it needs: token, API, rights, room, keys. Leaves nothing behind.

    Give it the options of the export. The exit status is what the export would end with.
    """
    target = parse_location(destination)
    prepared = prepare(spec, os.environ, heeds_signals=True)

    from exporter.jobs.check import check as run_check

    def tell(finding: "Finding") -> None:
        if not as_json:
            report("\n".join(described(finding)))

    entry = current_entry()
    programs, metrics_file = ((), None) if entry is None else (_programs(entry.hooks), entry.metrics_file)
    run = partial(run_check, target, prepared, tell, programs, metrics_file)
    result = run_until_signal(run, "stopped; nothing of it stays")
    show([_verdict(result)], figures_of(result), as_json=as_json)
    raise typer.Exit(result.exit_status)


def _programs(hooks: Hooks) -> tuple[str, ...]:
    targets = (*hooks.on_start, *hooks.on_success, *hooks.on_failure, *hooks.on_doubt)
    return tuple(each.arguments[0] for each in targets if isinstance(each, HookCommand))


def described(finding: "Finding") -> list[str]:
    """Returns the lines for a finding."""
    first, *others = finding.what.splitlines() or [""]
    begin = f"  {finding.grade:{_GRADE_COLUMNS}}  {finding.name:{_NAME_COLUMNS}}  "
    return [begin + first, *(" " * len(begin) + other.strip() for other in others)]


def _verdict(result: "CheckResult") -> str:
    wrong = len(result.of("wrong"))
    if wrong:
        are = "is" if wrong == 1 else "are"
        return f"{count_of(wrong, 'check')} of {len(result.findings)} {are} wrong: a run ends with {result.exit_status}"
    warnings = len(result.of("warning"))
    return "ready for a run" + (f", with {count_of(warnings, 'warning')}" if warnings else "")


def figures_of(result: "CheckResult") -> dict[str, Any]:
    """Returns a check for programs."""
    findings = [
        {"name": each.name, "grade": each.grade, "what": each.what, "exit_status": each.exit_status}
        for each in result.findings
    ]
    return {"destination": result.destination, "exit_status": result.exit_status, "findings": findings}
