"""`exporter check` tries everything that a run needs, and leaves nothing behind."""

from collections.abc import Callable

from exporter.jobs.check_destination import check_destination
from exporter.jobs.check_result import CheckResult, Finding, Findings
from exporter.jobs.check_source import check_source
from exporter.run.prepared import Prepared
from exporter.store.location import Location


async def check(
    destination: Location, prepared: Prepared, tell: Callable[[Finding], None] = lambda _: None
) -> CheckResult:
    """Checks the destination, then the API; `tell` receives each finding as soon as it is made.

    What is wrong is a finding: no `ExporterError` is raised. Whatever does not depend on it is checked nevertheless.
    """
    findings = Findings(tell)
    state, request = await check_destination(findings, destination, prepared)
    await check_source(findings, prepared, state, request)
    return CheckResult(destination=str(destination), findings=tuple(findings.made))
