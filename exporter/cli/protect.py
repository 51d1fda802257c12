"""`exporter protect`."""

import os
from functools import partial
from typing import TYPE_CHECKING

from exporter.cli.flags import Existing
from exporter.cli.option_flags import Display, with_options
from exporter.cli.protection_report import describe_protected
from exporter.cli.runner import Result, perform
from exporter.options.privacy import KEYS
from exporter.options.spec import OPTIONS, ExportSpec
from exporter.store.location import parse_location

if TYPE_CHECKING:
    from exporter.jobs.protect import ProtectResult


@with_options(
    *OPTIONS.keys() - {"policy", "memory", *KEYS},
    helps={"policy": "Protect what is stored as this file says (exporter help privacy), and all that comes."},
    policy="the policy that is stored, to finish what was cut short",
)
def protect(destination: Existing, spec: ExportSpec, display: Display) -> None:
    """Bring what DEST holds under a policy, or under a stricter one. Needs no token and no network.

    A value that the stored policy has changed already cannot be had back, so a rule for it stays as it is, or becomes
    drop. The same command again finishes what was interrupted.
    """
    target, file, settings = parse_location(destination), spec.read_policy(), spec.settings()

    import msgspec

    from exporter.jobs.protect import protect as run_protect

    policy, encryption = (None, None) if file is None else (file.policy, file.encryption)
    run = partial(run_protect, target, policy, encryption=encryption, keys=spec.keys(os.environ))
    run = partial(run, memory_bytes=settings.memory_bytes)

    def tell(done: "ProtectResult") -> Result:
        return Result(list(describe_protected(done)), msgspec.to_builtins(done), done.exit_status)

    perform(lambda observer: run(observer=observer), tell, display, target, command="protect", doing="protecting")
