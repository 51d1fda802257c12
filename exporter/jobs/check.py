"""`exporter check` tries everything that a run needs, and leaves nothing behind."""

import shutil
from collections.abc import Callable, Collection

from exporter.jobs.check_destination import check_destination
from exporter.jobs.check_result import CheckResult, Finding, Findings
from exporter.jobs.check_source import check_source
from exporter.run.prepared import Prepared
from exporter.store.location import Location


async def check(
    destination: Location,
    prepared: Prepared,
    tell: Callable[[Finding], None] = lambda _: None,
    hooks: Collection[str] = (),
) -> CheckResult:
    """Checks the destination, then the API, then the programs that are `hooks`; `tell` receives each finding as soon as
    it is made.

    What is wrong is a finding: no `ExporterError` is raised, but `InterruptedExportError` if a check
    is cancelled and cannot take away what it has made. Whatever does not depend on it is checked nevertheless.
    """
    findings = Findings(tell)
    state, request = await check_destination(findings, destination, prepared)
    await check_source(findings, prepared, state, request)
    if hooks:
        _check_hooks(findings, hooks)
    return CheckResult(destination=str(destination), findings=tuple(findings.made))


def _check_hooks(findings: Findings, programs: Collection[str]) -> None:
    with findings.about("hooks") as told:
        told.what = "their programs can be started"
        # A hook that fails is a warning of a run as well.
        if missing := sorted({program for program in programs if shutil.which(program) is None}):
            told.warn(f"no program that can be started: {', '.join(missing)}. Correct [hooks], or install it")
