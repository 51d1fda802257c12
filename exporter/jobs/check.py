"""`exporter check` tries everything that a run needs, and leaves nothing behind."""

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from exporter.jobs.check_destination import check_destination
from exporter.jobs.check_result import CheckResult, Finding, Findings
from exporter.jobs.check_source import check_source
from exporter.run.metrics_file import check_metrics_file
from exporter.run.prepared import Prepared
from exporter.store.location import Location


async def check(
    destination: Location,
    prepared: Prepared,
    tell: Callable[[Finding], None] = lambda _: None,
    hooks: Collection[str] = (),
    metrics_file: Path | None = None,
) -> CheckResult:
    """Checks the destination, then the API, then the programs that are `hooks`, and whether the file of figures can be
    written; `tell` receives each finding as soon as it is made.

    What is wrong is a finding: no `ExporterError` is raised, but `InterruptedExportError` if a check
    is cancelled and cannot take away what it has made. Whatever does not depend on it is checked nevertheless.
    """
    findings = Findings(tell)
    state, request = await check_destination(findings, destination, prepared)
    await check_source(findings, prepared, state, request)
    if state.keeps_recordings if prepared.asked.recordings is None else prepared.asked.recordings:
        with findings.about("recordings") as told:
            told.is_unknown(
                "no link was asked for, and each names its host when it is: a run says which --recording-host or "
                "--allow-network it lacks"
            )
    if hooks:
        _check_hooks(findings, hooks)
    if metrics_file is not None:
        _check_metrics_file(findings, metrics_file, destination)
    return CheckResult(destination=str(destination), findings=tuple(findings.made))


def _check_hooks(findings: Findings, programs: Collection[str]) -> None:
    with findings.about("hooks") as told:
        told.what = "their programs can be started"
        # A hook that fails is a warning of a run as well.
        if missing := sorted({program for program in programs if shutil.which(program) is None}):
            told.warn(f"no program that can be started: {', '.join(missing)}. Correct [hooks], or install it")


def _check_metrics_file(findings: Findings, file: Path, destination: Location) -> None:
    with findings.about("metrics") as told:
        directory = check_metrics_file(file, str(destination)).parent
        told.what = f"a file can be made in {directory}"
        # A file that cannot be written is a warning of a run as well.
        if not os.access(directory, os.W_OK | os.X_OK):
            told.warn(f"{directory}: no such directory, or not writable. Correct metrics_file, or make it")
