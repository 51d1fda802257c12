"""`exporter policy check`."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec.structs import replace

from exporter.cli.flags import OneObject, flag
from exporter.cli.option_flags import with_options
from exporter.cli.policy_report import describe_policy, policy_figures
from exporter.cli.runner import show
from exporter.errors import ProtectionError, UsageError
from exporter.keys import Key, Keys
from exporter.options.option import Group
from exporter.options.parse import to_choice
from exporter.options.policy import PolicyFile, load_policy
from exporter.options.privacy import KeyOptions
from exporter.privacy import KeyReference

_ACTIONS: Final = ("check",)


@with_options("data_key_file")
def policy(
    action: Annotated[
        str,
        typer.Argument(metavar="ACTION", help="What to do: check.", autocompletion=lambda: list(_ACTIONS)),
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A policy file (TOML).")],
    keys: KeyOptions,
    rows: Annotated[
        str | None,
        flag(
            "Count what each rule would do to the conversations in this file: a JSON array, or one a line.",
            "FILE",
            Group.DONE,
        ),
    ] = None,
    as_json: OneObject = False,
) -> None:
    """Check a policy file, and show what each rule means. Needs no token, no network and no key."""
    to_choice(action, _ACTIONS, "policy")
    loaded, why_no_entities = _find_entities(load_policy(Path(file)))
    trial = None
    if rows is not None:
        from exporter.jobs.policy import try_policy

        trial = try_policy(loaded.policy, Path(rows), finds_entities=not why_no_entities)
    key, why_no_key = _find_key(loaded.policy.key, keys.keys(os.environ))
    lines = describe_policy(loaded, Path(file), key, why_no_key, why_no_entities, trial)
    show(lines, policy_figures(loaded, Path(file), key, why_no_entities, trial), as_json=as_json)


def _find_entities(loaded: PolicyFile) -> tuple[PolicyFile, str]:
    """Returns the policy with the versions of what finds its entities, or else why that is not here."""
    if loaded.policy.entities is None:
        return loaded, ""
    from exporter.encode.entities import with_version

    try:
        return replace(loaded, policy=with_version(loaded.policy)), ""
    except UsageError as error:
        return loaded, str(error)


def _find_key(reference: KeyReference | None, keys: Keys) -> tuple[Key | None, str]:
    """Returns the key if it is here, or else why it is not."""
    if reference is None:
        return None, ""
    try:
        return keys.privacy(reference), ""
    except (ProtectionError, UsageError) as error:
        # What to do about it is for the commands that need the key.
        return None, str(error).partition(". ")[0]
