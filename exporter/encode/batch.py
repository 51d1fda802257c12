"""Encodes rows to Arrow record batches, a column at a time."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, cast

import msgspec
import pyarrow as pa
from msgspec import UNSET

from exporter.contract import Instant, Kind
from exporter.encode.columns import columns_of
from exporter.encode.floor import cut_misfit, without_values
from exporter.encode.protect.protector import Protector
from exporter.encode.rows import EncodeRow, Misfit, ServedRow
from exporter.encode.schema import TYPES, arrow_schema, asked_fields
from exporter.encode.texts import text_column
from exporter.model import Rows
from exporter.privacy import NO_FLOORS

_ORGANIZATION: Final = "organization_id"


class EncodedBatch(msgspec.Struct, frozen=True):
    """Holds the rows that fit as a `batch`, in their order, and the misfits apart.

    `absent` counts, by field that was asked for, the rows of the batch that were served without it; never 0.
    `withheld_rows` counts those without any of the sensitive fields that were asked for; `sighted` and `bare` are the
    ids of a row with some of them and of one without. `organizations` are those that the rows name.
    """

    batch: pa.RecordBatch
    quarantined: list[Misfit]
    absent: dict[str, int]
    withheld_rows: int
    sighted: str | None
    bare: str | None
    organizations: frozenset[str]


class Encoder:
    """Builds the batches of one export. `fields` is as in `arrow_schema`; `protector` changes what may not be kept as
    it was served. Below the `floors` of fields, by name, their values have expired, and are left out."""

    def __init__(
        self,
        fields: tuple[str, ...] | None,
        protector: Protector | None = None,
        floors: Mapping[str, Instant] = NO_FLOORS,
    ) -> None:
        self.floors = floors
        self._protector = protector
        self._fields = asked_fields(fields)
        self.sensitive = [field.name for field in self._fields if field.sensitive]
        self.schema = arrow_schema(fields)

    def encode(self, rows: Rows[EncodeRow]) -> EncodedBatch:
        """Returns one batch of any number of rows, from one page or several.

        The texts of one column must stay below 2 GiB. Nothing else can fail: decoding has checked every value.
        """
        fitting, created_at, updated_at, quarantined = _sort_out(rows)
        stretches = columns_of(fitting, self._fields)
        absent: dict[str, int] = {}
        columns: list[pa.Array] = []
        for field in self._fields:
            missing = sum(stretch.absent(field.name) for stretch in stretches)
            if field.kind is Kind.JSON:
                column, missing = _json_column(list(map(attrgetter(field.name), fitting)))
            elif field.kind is Kind.TIMESTAMP:
                instants = created_at if field.name == "created_at" else updated_at
                column = pa.array(instants, pa.int64()).cast(TYPES[field.kind])
            else:
                column = _joined([stretch.arrays[field.name] for stretch in stretches], TYPES[field.kind])
            if missing:
                absent[field.name] = missing
            columns.append(column)
        columns.append(_extra(fitting))
        withheld_rows = self._count_withheld(fitting, absent)
        batch = without_values(pa.RecordBatch.from_arrays(columns, schema=self.schema), self.floors)
        return EncodedBatch(
            batch=batch if self._protector is None else self._protector.protect(batch),
            quarantined=self.put_aside(quarantined),
            absent=absent,
            withheld_rows=withheld_rows,
            sighted=self._find(fitting, bare=False) if self.sensitive and withheld_rows < len(fitting) else None,
            bare=self._find(fitting, bare=True) if withheld_rows else None,
            organizations=self._organizations(columns),
        )

    def put_aside(self, misfits: list[Misfit]) -> list[Misfit]:
        """Returns rows that fit no column as they may be kept."""
        kept = misfits if self._protector is None else list(map(self._protector.withhold, misfits))
        return [cut_misfit(misfit, self.floors) for misfit in kept] if self.floors else kept

    def _organizations(self, columns: Sequence[pa.Array]) -> frozenset[str]:
        place = self.schema.get_field_index(_ORGANIZATION)
        return frozenset() if place < 0 else frozenset(columns[place].drop_null().unique().to_pylist())

    def _count_withheld(self, rows: Sequence[ServedRow], absent: dict[str, int]) -> int:
        least = min((absent.get(name, 0) for name in self.sensitive), default=0)
        if least in (0, len(rows)):
            return least
        return sum(map(self._is_bare, rows))

    def _is_bare(self, row: ServedRow) -> bool:
        return all(getattr(row, name) is UNSET for name in self.sensitive)

    def _find(self, rows: Sequence[ServedRow], *, bare: bool) -> str | None:
        return next((row.id for row in rows if self._is_bare(row) == bare), None)


def _sort_out(
    rows: Rows[EncodeRow],
) -> tuple[Sequence[ServedRow], Sequence[Instant], Sequence[Instant | None], list[Misfit]]:
    fits = [isinstance(row, ServedRow) for row in rows.rows]
    if all(fits):
        return cast("Sequence[ServedRow]", rows.rows), rows.created_at, rows.updated_at, []
    return (
        [row for row in rows.rows if isinstance(row, ServedRow)],
        [instant for instant, keep in zip(rows.created_at, fits, strict=True) if keep],
        [instant for instant, keep in zip(rows.updated_at, fits, strict=True) if keep],
        [row for row in rows.rows if isinstance(row, Misfit)],
    )


def _json_column(values: list[Any]) -> tuple[pa.Array, int]:
    """Returns the column of a JSON field, and how many values were not served."""
    missing = values.count(UNSET)
    return text_column(
        [None if value is UNSET else value for value in values] if missing else values, TYPES[Kind.JSON]
    ), missing


def _joined(arrays: Sequence[pa.Array], arrow_type: pa.DataType) -> pa.Array:
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays) if arrays else pa.nulls(0, arrow_type)


def _extra(rows: Sequence[ServedRow]) -> pa.Array:
    kinds: set[type[ServedRow]] = set(map(type, rows))
    if any(kind.may_have_extra for kind in kinds):
        return pa.array([row.extra_text() for row in rows], pa.string())
    return pa.nulls(len(rows), pa.string())
