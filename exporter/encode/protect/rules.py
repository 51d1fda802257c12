"""Makes, of the rules of a policy, what changes each column of a batch."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from exporter.contract import FIELDS, Kind
from exporter.encode.protect.actions import Action, Work, together
from exporter.encode.protect.json_rules import JsonRules
from exporter.encode.protect.nested import changed_inside, texts_inside
from exporter.encode.protect.paths import Segment, Target, parse_path
from exporter.encode.protect.tally import Tally
from exporter.encode.protect.values import rounded
from exporter.encode.schema import EXTRA
from exporter.errors import UsageError
from exporter.privacy import Rule

#: Returns what changes a column: in the end, the column as it may be written.
ColumnRules: TypeAlias = Callable[[pa.Array], Work]
#: Returns what a rule does to texts.
ActionOf: TypeAlias = Callable[[Rule], Action]

#: The columns that hold JSON texts, of both tables.
JSON_COLUMNS: Final = frozenset(
    {EXTRA, "content", "other_metrics", *(field.name for field in FIELDS if field.kind is Kind.JSON)}
)


def column_rules(
    rules: Mapping[str, Rule], schema: pa.Schema, action_of: ActionOf, tally: Tally
) -> dict[str, ColumnRules]:
    """Returns what the rules do, by column; columns that are not in the schema are left out.

    Rules that do the same share their action. Raises `UsageError` for a rule that its column cannot take.
    """
    made: dict[Rule, Action] = {}

    def shared(rule: Rule) -> Action:
        alike = msgspec.structs.replace(rule, everywhere=False, inside="text")
        if alike not in made:
            made[alike] = action_of(alike)
        return made[alike]

    targets: dict[str, list[Target]] = {}
    for path, rule in rules.items():
        column, steps = parse_path(path)
        if column in schema.names:
            targets.setdefault(column, []).append(Target(path, steps, rule))
    return {
        column: _of_column(column, some, schema.field(column).type, shared, tally)
        for column, some in targets.items()
        if any(target.rule.action != "keep" for target in some)
    }


def _of_column(
    column: str, targets: Sequence[Target], kind: pa.DataType, action_of: ActionOf, tally: Tally
) -> ColumnRules:
    whole = next((target for target in targets if not target.steps), None)
    if whole is not None and whole.rule.action == "drop":
        return partial(_dropped, path=whole.path, tally=tally)
    if column in JSON_COLUMNS:
        return JsonRules(column, targets, {target.path: action_of(target.rule) for target in targets}, tally)
    if pa.types.is_struct(kind):
        members = {_member(target, kind): _of_text(target, pa.string(), action_of, tally) for target in targets}
        return partial(_on_members, members=members)
    if whole is None or len(targets) > 1:
        raise UsageError(f"the path {targets[-1].path}: {column} is not JSON, and has nothing inside")
    return _of_text(whole, kind, action_of, tally)


def _of_text(target: Target, kind: pa.DataType, action_of: ActionOf, tally: Tally) -> ColumnRules:
    action = target.rule.action
    if action == "keep":
        return _kept
    if action == "drop":
        return partial(_dropped, path=target.path, tally=tally)
    if action == "round":
        if not pa.types.is_integer(kind):
            raise UsageError(f"{target.path}: only integers can be rounded")
        return partial(_rounded, to=target.rule.to, path=target.path, tally=tally)
    if not pa.types.is_string(kind):
        raise UsageError(f"{target.path}: {action} is for texts; this column can be kept or dropped, integers rounded")
    change = (
        _inside(action_of(target.rule), target.path, tally) if target.rule.inside == "json" else action_of(target.rule)
    )
    return partial(_changed, change=change, path=target.path, tally=tally)


def _member(target: Target, kind: pa.DataType) -> Segment:
    name = target.steps[0] if len(target.steps) == 1 else None
    if not isinstance(name, str) or kind.get_field_index(name) < 0:
        names = ", ".join(field.name for field in kind)
        raise UsageError(f"the path {target.path}: write a rule for one of its members: {names}")
    return name


def _kept(column: pa.Array) -> Work:
    yield []
    return column


def _dropped(column: pa.Array, *, path: str, tally: Tally) -> Work:
    yield []
    count = len(column) - column.null_count
    tally.add(reached={path: count}, changed={path: count})
    return pa.nulls(len(column), column.type)


def _changed(column: pa.Array, *, change: Action, path: str, tally: Tally) -> Work:
    [new] = yield [(change, column)]
    differs = 0 if new is column else pc.not_equal(column, new).true_count
    tally.add(reached={path: len(column) - column.null_count}, changed={path: differs})
    return new


def _rounded(column: pa.Array, *, to: int, path: str, tally: Tally) -> Work:
    yield []
    least, most = -(2**63), 2**63 - 1
    new = [None if value is None else rounded(value, to) for value in column.to_pylist()]
    fitting = [None if value is None or not least <= value <= most else value for value in new]
    count = len(column) - column.null_count
    made = pa.array(fitting, column.type)
    tally.add(reached={path: count}, changed={path: pc.not_equal(column, made).true_count})
    return made


def _on_members(column: pa.Array, *, members: Mapping[Segment, ColumnRules]) -> Work:
    yield []
    works = [members.get(field.name, _kept)(value) for field, value in zip(column.type, column.flatten(), strict=True)]
    return pa.StructArray.from_arrays(together(works), fields=list(column.type), mask=column.is_null())


def _inside(action: Action, path: str, tally: Tally) -> Action:
    """Returns what does to texts inside JSON that lies in texts, leaf by leaf, what `action` does to texts."""

    def change(texts: pa.Array) -> pa.Array:
        wholes: list[str | None] = texts.to_pylist()
        inside = {whole: texts_inside(whole) for whole in wholes if whole is not None}
        old = pa.array([text for some in inside.values() for text in some or ()], pa.string())
        changed = dict(zip(old.to_pylist(), action(old).to_pylist(), strict=True))
        changed = {text: new for text, new in changed.items() if text != new}
        tally.add(odd={path: sum(whole is not None and inside[whole] is None for whole in wholes)})
        made = {
            whole: whole if some is not None and changed.keys().isdisjoint(some) else changed_inside(whole, changed)
            for whole, some in inside.items()
        }
        return pa.array([None if whole is None else made[whole] for whole in wholes], texts.type)

    return change
