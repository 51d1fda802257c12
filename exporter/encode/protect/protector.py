"""Protects batches of rows as a policy says: the one place where that happens, between their encoding and any file."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec
import pyarrow as pa

from exporter.contract import format_instant, parse_timestamp
from exporter.encode.exact import NO_ID
from exporter.encode.protect.actions import action_of, needed, together
from exporter.encode.protect.paths import Segment, Step, parse_path, routes_of, rule_at
from exporter.encode.protect.redaction import Recognizer
from exporter.encode.protect.rules import ColumnRules, column_rules
from exporter.encode.protect.tally import Tally
from exporter.encode.protect.values import Hasher
from exporter.encode.protect.withheld import TAGS, WITHHELD, Place, tags_of
from exporter.encode.rows import Misfit
from exporter.encode.schema import EXTRA, arrow_schema, turns_schema
from exporter.keys import Key
from exporter.privacy import Policy

_WITHHELD_ROW: Final = "quarantined row"
_WITHHELD_ID: Final = "quarantined row without id"


class Protector:
    """Protects rows by `policy`, with `key`; `recognize` finds the pattern `entities`.

    Rows are protected once, as they are served: what is stored must never come here again. Several threads may use it
    at once. Raises `ProtectionError` if the policy needs a key and there is none, and `UsageError` for a rule that its
    column cannot take.
    """

    def __init__(self, policy: Policy, key: Key | None, recognize: Recognizer | None = None) -> None:
        self.policy: Final = policy
        self.fingerprint: Final = policy.fingerprint
        self._key = needed(key) if policy.needs_key else key
        self._tally = Tally()
        act = partial(action_of, policy=policy, key=key, recognize=recognize)
        self._conversations = column_rules(policy.rules, arrow_schema(None), act, self._tally)
        self._turns = column_rules(policy.turns, turns_schema(), act, self._tally)
        self._routes = routes_of(policy.rules)

    @property
    def counts(self) -> Counter[str]:
        """Returns how many values each rule has changed, by its path."""
        return self._tally.copy(self._tally.changed)

    @property
    def reached(self) -> Counter[str]:
        """Returns how many values each rule was for, changed or not; a path that has none may be misspelt."""
        return self._tally.copy(self._tally.reached)

    @property
    def rows(self) -> int:
        """Returns how many conversations it has protected."""
        return self._tally.rows

    @property
    def odd(self) -> Counter[str]:
        """Returns how many values were dropped because their rule cannot read them, by its path or column."""
        return self._tally.copy(self._tally.odd)

    def note(
        self, rows: int, *, changed: Mapping[str, int], reached: Mapping[str, int], odd: Mapping[str, int]
    ) -> None:
        """Counts what was protected elsewhere, by the same policy."""
        self._tally.count(rows)
        self._tally.add(reached, changed, odd)

    def protect(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the conversations as they may be written, with the columns that they have."""
        self._tally.count(batch.num_rows)
        protected = _protected(batch, self._conversations)
        if self.policy.extra == "drop" and EXTRA in batch.schema.names:
            nothing = pa.nulls(batch.num_rows, pa.string())
            protected = protected.set_column(batch.schema.get_field_index(EXTRA), batch.schema.field(EXTRA), nothing)
        return protected

    def protect_turns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the turns as they may be written. They were made of protected transcripts."""
        return _protected(batch, self._turns)

    def withhold(self, misfit: Misfit) -> Misfit:
        """Returns a row that fits no column as it may be put aside: its reason and time, and in place of its text a
        keyed hash beside the times that it was served with, and the tags of its values. An id that stands for the text
        is hashed as well."""
        if self.policy.quarantine == "keep":
            return misfit
        key = needed(self._key)
        text = misfit.text.decode()
        row: dict[str, Any] = {
            **_times(misfit.text),
            WITHHELD: f"hmac:{key.name}.{key.tag(_WITHHELD_ROW, text)}",
        }
        if (tags := tags_of(misfit.text, key, self._stored)) is not None:
            row[TAGS] = tags
        identity = misfit.id
        if identity.startswith(NO_ID):
            identity = NO_ID + key.tag(_WITHHELD_ID, identity)
        return Misfit(identity, misfit.created_at, misfit.reason, msgspec.json.encode(row))

    def hashed(self, path: str, value: str) -> str | None:
        """Returns what is written for a value in this column, or at this path; None if no rule hashes it.

        Raises `UsageError` for what is no path.
        """
        return self._hashed(*parse_path(path), value)

    def _stored(self, place: Place, value: str) -> str | None:
        column = place[0]
        if column == EXTRA and self.policy.extra == "drop":
            return None
        steps = tuple(Step.ELEMENT if step == Step.ELEMENT.value else step for step in place[1:])
        for end in range(len(steps), -1, -1):
            rule = rule_at(self._routes, column, steps[:end])
            if rule is not None and rule.action != "keep":
                # Of what a rule hashes, others inside would be dropped.
                return self._hashed(column, steps, value) if end == len(steps) else None
            if rule is not None:
                break
        return value

    def _hashed(self, column: str, steps: tuple[Segment, ...], value: str) -> str | None:
        rule = rule_at(self._routes, column, steps)
        if rule is None or rule.action != "hash":
            return None
        return Hasher(needed(self._key), rule.domain, rule.normalise)(value)


def _protected(batch: pa.RecordBatch, rules: dict[str, ColumnRules]) -> pa.RecordBatch:
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    ruled = [name for name in columns if name in rules]
    columns.update(zip(ruled, together([rules[name](columns[name]) for name in ruled]), strict=True))
    return pa.RecordBatch.from_arrays([*columns.values()], schema=batch.schema)


def _times(text: bytes) -> dict[str, str]:
    try:
        served = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return {}
    times: dict[str, str] = {}
    for name in ("created_at", "updated_at"):
        try:
            times[name] = format_instant(parse_timestamp(msgspec.json.decode(served.get(name, b""), type=str)))
        except (ValueError, msgspec.MsgspecError):
            continue
    return times
