"""Settles what an export does to personal data, and makes its tables of that: the stored policy counts from the first
run on. Whatever does not agree is refused before anything is asked or touched."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from exporter.contract import FILTERS_BY_NAME
from exporter.errors import DestinationError, ProtectionError, UsageError
from exporter.keys import Keys, with_check
from exporter.layout import RECORDINGS, TURNS
from exporter.log.privacy import PrivacyChange
from exporter.log.state import State
from exporter.model import DataFile
from exporter.privacy import NO_FLOORS, Encryption, Floors, Policy
from exporter.run.policy_changes import differences, is_inside, obstacles, takes_turns
from exporter.settings import Filters, Request, Selection
from exporter.store.location import Location, shell_word
from exporter.words import count_of

if TYPE_CHECKING:
    from exporter.encode.tables import Tables

#: What filters are compared with whose name is another one, or that stands in two places.
_FILTERED: Final[dict[str, tuple[str, ...]]] = {
    "agent_id": ("agent_id", "agent.id"),
    **{f"{name}_{bound}": (name,) for name in ("duration", "user_turn_count") for bound in ("above", "below")},
}


def settle_policy(state: State, asked: Selection, destination: Location, keys: Keys) -> Policy | None:
    """Returns the policy of the export, with what tells another key: the stored one, or the one that is asked for if
    there is no export yet.

    Raises `ProtectionError` if they differ, if the export is stored without one, if its key is missing or another, or
    if filters or recordings would keep what it protects. Raises also as `with_version`.
    """
    wanted, stored = asked.policy, state.privacy.policy
    if state.request is not None and stored is None and wanted is not None:
        raise ProtectionError(
            f"{destination}: stored without a policy, so raw rows lie there. To protect them first:\n"
            f"  exporter protect {shell_word(destination)} --policy FILE"
        )
    policy = stored or wanted
    if policy is None:
        return None
    if wanted is not None:
        wanted = resolved(wanted, keys, stored)
        # Its key may lie elsewhere now.
        policy = wanted
        if stored is not None and (found := differences(stored, wanted)):
            raise ProtectionError(
                f"{destination}: protected by another policy ({'; '.join(found)}).\n"
                f"Leave --policy out to go on with the stored one, or tighten it: exporter protect "
                f"{shell_word(destination)} --policy FILE"
            )
    else:
        resolved(policy, keys)
    check_turns(policy, (state.request or Request(tables=asked.tables or Request().tables)).tables)
    filters = asked.filters if state.request is None else state.request.filters
    check_filters(policy, filters or {})
    keeps = state.keeps_recordings if asked.recordings is None else asked.recordings
    check_recordings(stored or policy, keeps=bool(keeps))
    return policy


def settle_privacy(
    state: State, asked: Selection, destination: Location, keys: Keys, encryption: Encryption | None
) -> PrivacyChange | None:
    """Returns what an export does to personal data, or will. Raises as `settle_policy`."""
    policy = settle_policy(state, asked, destination, keys)
    return PrivacyChange(policy=policy, encryption=encryption) if policy or encryption else None


def settle_stricter(state: State, asked: Policy | None, destination: Location, keys: Keys) -> Policy:
    """Returns the policy that all that is stored will follow: the one that is asked for, or else the stored one.

    Raises `DestinationError` if there is no export, or its tables could not follow, `UsageError` without any policy,
    and `ProtectionError` for one that cannot be made of what is stored, or whose key is missing or another.
    """
    request, stored = state.request, state.privacy.policy
    if request is None:
        raise DestinationError(f"{destination}: no export here; check the path, or run exporter export first")
    wanted = asked or stored
    if wanted is None:
        raise UsageError(f"{destination}: stored without a policy. Give one: --policy FILE")
    wanted = resolved(wanted, keys, stored)
    erased, key = state.privacy.erasure_key, wanted.key
    if erased is not None and key is not None and (key.name, key.check) != (erased.name, erased.check):
        raise ProtectionError(
            f"{destination}: somebody was erased with the key {erased.name} ({erased.check}), and later runs need it. "
            f"Let the policy have that key, by this name, not {key.name} ({key.check})"
        )
    if found := obstacles(stored, wanted):
        raise ProtectionError(
            f"{destination}: this policy cannot be made of what is stored ({'; '.join(found)}).\n"
            "Export to a new destination with it, then delete this one"
        )
    if state.table_format is not None and not state.is_whole:
        raise DestinationError(
            f"{destination}: its tables cannot follow before the whole range was read. Run first:\n"
            f"  exporter export {shell_word(destination)}"
        )
    check_turns(wanted, request.tables)
    check_filters(wanted, request.filters)
    check_recordings(wanted, keeps=bool(state.keeps_recordings or state.has_recordings))
    return wanted


def resolved(policy: Policy, keys: Keys, stored: Policy | None = None) -> Policy:
    """Returns the policy with what tells another key, and other versions of what finds entities.

    Raises `ProtectionError` without the key, or with another than the one that is `stored` under its name, and as
    `with_version` for both policies.
    """
    from exporter.encode.entities import with_version

    if stored is not None:
        with_version(stored)
    policy = with_version(policy)
    reference = policy.key
    if reference is None or not policy.needs_key:
        return policy
    if stored is not None and stored.key is not None and stored.key.name == reference.name:
        reference = msgspec.structs.replace(reference, check=stored.key.check)
    return msgspec.structs.replace(policy, key=with_check(reference, keys.privacy(reference)))


def tables_of(
    request: Request, policy: Policy | None, keys: Keys, *, reads: bool = True, floors: Floors = NO_FLOORS
) -> "Tables":
    """Returns the tables of a request, which protect what is encoded; `floors` are as in `Tables.of`.

    Unless the caller `reads` from the API, it rewrites stored rows, of which only turns are made again; then the key is
    needed for these alone. Raises `ProtectionError` if it is missing, and as `with_version`.
    """
    from exporter.encode.entities import protector_of
    from exporter.encode.tables import Tables

    if policy is None:
        return Tables.of(request, floors=floors)
    applied = policy if reads else msgspec.structs.replace(policy, rules={}, quarantine="keep")
    key = keys.privacy(policy.key) if applied.needs_key and policy.key is not None else None
    return replace(Tables.of(request, protector_of(applied, key), floors), policy=policy.fingerprint)


def stored_tables(state: State, keys: Keys) -> "Tables":
    """Returns the tables of an export for a run that rewrites stored rows. Raises as `tables_of`."""
    return tables_of(state.request or Request(), state.privacy.policy, keys, reads=False)


def check_settled(state: State, command: str, destination: Location) -> None:
    """Raises `ProtectionError` if parts are not yet as the policy wants them, unless `command` brings them there, or
    takes damaged ones out."""
    pending = pending_files(state)
    if pending and command not in ("protect", "verify"):
        raise ProtectionError(
            f"{destination}: {count_of(len(pending), 'file')} of {len(state.files):,} not yet as the policy wants "
            f"them, because a run was cut short. This ends it:\n  exporter protect {shell_word(destination)}"
        )


def pending_files(state: State) -> list[DataFile]:
    """Returns the parts that are not yet as the policy wants them."""
    fingerprint = state.privacy.fingerprint
    if not any(policy != fingerprint and table != RECORDINGS for table, policy in state.by_path.policies()):
        return []
    columns = state.by_path.each("path", "table", "policy")
    return [state.files[path] for path, table, policy in columns if policy != fingerprint and table != RECORDINGS]


def check_filters(policy: Policy, filters: Filters) -> None:
    """Raises `ProtectionError` for a filter whose value would be stored, though the policy protects its column."""
    for name in filters:
        if name not in FILTERS_BY_NAME:
            raise ProtectionError(
                f"--filter {name}: filters are stored as they are, and nobody can say whether the policy protects what "
                "this one is compared with. Leave it out, and choose rows from what is exported"
            )
        if any(_protects(policy, path) for path in _FILTERED.get(name, (name,))):
            raise ProtectionError(
                f"--{name.replace('_', '-')}: filters are stored as they are, and the policy protects what this one is "
                "compared with. Leave it out, and choose rows from what is exported; or let the rule there be "
                '"keep"'
            )


def check_turns(policy: Policy, tables: Collection[str]) -> None:
    """Raises `ProtectionError` if the policy takes away what turns are made of, though they are asked for."""
    if TURNS in tables and (path := takes_turns(policy)) is not None:
        raise ProtectionError(
            f"--tables: {TURNS} are made of transcripts, and the policy has {path} = {policy.rules[path]}, which "
            f"leaves none of them. Leave {TURNS} out, or redact what is said"
        )


def check_recordings(policy: Policy, *, keeps: bool) -> None:
    """Raises `ProtectionError` if the policy redacts texts, and says nothing of the recordings that lie beside."""
    redacts = any(rule.action == "redact" for rule in (*policy.rules.values(), *policy.turns.values()))
    if keeps and redacts and policy.recordings is None:
        raise ProtectionError(
            "the policy redacts what was said, and recordings hold it as it was said: audio cannot be redacted. "
            "Keep no recordings (--no-recordings), or say in the policy what becomes of audio:\n"
            '  recordings = "plain"      at the top of the file, above all tables: as it was served, not encrypted\n'
            '  recordings = "encrypted"  in [encryption]: with the data key'
        )


def _protects(policy: Policy, path: str) -> bool:
    """Returns whether a rule changes what lies at a path, or something in it."""
    column, _, member = path.partition(".")
    return any(
        rule.action != "keep" and (each in (path, column) or (not member and is_inside(each, column)))
        for each, rule in policy.rules.items()
    )
