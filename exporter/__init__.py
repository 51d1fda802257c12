"""Exports voice-agent conversations in bulk to partitioned Parquet, exactly and resumably.

A program that uses it as a library calls `await export(ExportSpec(...))`, `sync`, `stream` or `open_dataset`. Whatever
a name needs, such as Arrow or an HTTP client, is loaded when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from exporter import blocking as blocking
    from exporter import errors as errors
    from exporter import sandbox as sandbox
    from exporter.api.calls import audit as audit
    from exporter.api.calls import check as check
    from exporter.api.calls import export as export
    from exporter.api.calls import plan as plan
    from exporter.api.calls import reconcile as reconcile
    from exporter.api.calls import recordings as recordings
    from exporter.api.calls import reread as reread
    from exporter.api.calls import schema as schema
    from exporter.api.calls import status as status
    from exporter.api.calls import stream as stream
    from exporter.api.calls import sync as sync
    from exporter.api.config import load_config as load_config
    from exporter.api.privacy import erase as erase
    from exporter.api.privacy import expire as expire
    from exporter.api.privacy import protect as protect
    from exporter.api.privacy import rekey as rekey
    from exporter.api.reading import changes as changes
    from exporter.api.reading import make_report as make_report
    from exporter.api.upkeep import accept as accept
    from exporter.api.upkeep import compact as compact
    from exporter.api.upkeep import convert as convert
    from exporter.api.upkeep import vacuum as vacuum
    from exporter.api.upkeep import verify as verify
    from exporter.coverage import Period as Period
    from exporter.engines.processes import processes as processes
    from exporter.errors import ExporterError as ExporterError
    from exporter.jobs.accept import AcceptResult as AcceptResult
    from exporter.jobs.audit_result import AuditResult as AuditResult
    from exporter.jobs.change_feed import ChangeFeed as ChangeFeed
    from exporter.jobs.check_result import CheckResult as CheckResult
    from exporter.jobs.compact import CompactResult as CompactResult
    from exporter.jobs.convert import ConvertResult as ConvertResult
    from exporter.jobs.dataset import open_dataset as open_dataset
    from exporter.jobs.erase_result import EraseResult as EraseResult
    from exporter.jobs.expire import ExpireResult as ExpireResult
    from exporter.jobs.plan_result import PlanResult as PlanResult
    from exporter.jobs.protect import ProtectResult as ProtectResult
    from exporter.jobs.reconcile_result import ReconcileResult as ReconcileResult
    from exporter.jobs.recordings_result import RecordingsResult as RecordingsResult
    from exporter.jobs.rekey import RekeyResult as RekeyResult
    from exporter.jobs.reread import RereadResult as RereadResult
    from exporter.jobs.status import Status as Status
    from exporter.jobs.stream import Stream as Stream
    from exporter.jobs.stream import StreamReport as StreamReport
    from exporter.jobs.summary import Summary as Summary
    from exporter.jobs.sync_result import SyncResult as SyncResult
    from exporter.jobs.vacuum import VacuumResult as VacuumResult
    from exporter.jobs.verify import VerifyResult as VerifyResult
    from exporter.options.spec import ExportSpec as ExportSpec
    from exporter.progress import Observer as Observer
    from exporter.progress import Quiet as Quiet
    from exporter.progress import Snapshot as Snapshot
    from exporter.report.model import Report as Report
    from exporter.version import __version__ as __version__

#: The module that defines each name; None for a name that is a module itself.
_NAMES: Final[dict[str, str | None]] = {
    "AcceptResult": "exporter.jobs.accept",
    "AuditResult": "exporter.jobs.audit_result",
    "ChangeFeed": "exporter.jobs.change_feed",
    "CheckResult": "exporter.jobs.check_result",
    "CompactResult": "exporter.jobs.compact",
    "ConvertResult": "exporter.jobs.convert",
    "EraseResult": "exporter.jobs.erase_result",
    "ExpireResult": "exporter.jobs.expire",
    "ExportSpec": "exporter.options.spec",
    "ExporterError": "exporter.errors",
    "Observer": "exporter.progress",
    "Period": "exporter.coverage",
    "PlanResult": "exporter.jobs.plan_result",
    "ProtectResult": "exporter.jobs.protect",
    "Quiet": "exporter.progress",
    "ReconcileResult": "exporter.jobs.reconcile_result",
    "RecordingsResult": "exporter.jobs.recordings_result",
    "RekeyResult": "exporter.jobs.rekey",
    "Report": "exporter.report.model",
    "RereadResult": "exporter.jobs.reread",
    "Snapshot": "exporter.progress",
    "Status": "exporter.jobs.status",
    "Stream": "exporter.jobs.stream",
    "StreamReport": "exporter.jobs.stream",
    "Summary": "exporter.jobs.summary",
    "SyncResult": "exporter.jobs.sync_result",
    "VacuumResult": "exporter.jobs.vacuum",
    "VerifyResult": "exporter.jobs.verify",
    "__version__": "exporter.version",
    "accept": "exporter.api.upkeep",
    "audit": "exporter.api.calls",
    "blocking": None,
    "changes": "exporter.api.reading",
    "check": "exporter.api.calls",
    "compact": "exporter.api.upkeep",
    "convert": "exporter.api.upkeep",
    "erase": "exporter.api.privacy",
    "errors": None,
    "expire": "exporter.api.privacy",
    "export": "exporter.api.calls",
    "load_config": "exporter.api.config",
    "make_report": "exporter.api.reading",
    "open_dataset": "exporter.jobs.dataset",
    "plan": "exporter.api.calls",
    "processes": "exporter.engines.processes",
    "protect": "exporter.api.privacy",
    "reconcile": "exporter.api.calls",
    "recordings": "exporter.api.calls",
    "rekey": "exporter.api.privacy",
    "reread": "exporter.api.calls",
    "sandbox": None,
    "schema": "exporter.api.calls",
    "status": "exporter.api.calls",
    "stream": "exporter.api.calls",
    "sync": "exporter.api.calls",
    "vacuum": "exporter.api.upkeep",
    "verify": "exporter.api.upkeep",
}
__all__ = [*_NAMES]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = _NAMES[name]
    value = import_module(f"{__name__}.{name}") if place is None else getattr(import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_NAMES)
