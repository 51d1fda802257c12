from exporter.contract import ALWAYS_FIELDS, DAY
from exporter.encode.recordings import recordings_schema
from exporter.encode.schema import arrow_schema, turns_schema
from exporter.encode.tables import Tables
from exporter.model import CONVERSATIONS, RECORDINGS, TABLES, TURNS
from exporter.partitions import partition_of
from exporter.settings import Request


def test_there_are_the_tables_that_are_asked_for_with_the_fields_that_are() -> None:
    recordings = {RECORDINGS: recordings_schema()}
    expected = {CONVERSATIONS: arrow_schema(None), TURNS: turns_schema()}
    assert Tables.of(Request(tables=TABLES)).schemas == expected | recordings
    narrow = Tables.of(Request(fields=ALWAYS_FIELDS))
    assert narrow.schemas == {CONVERSATIONS: arrow_schema(ALWAYS_FIELDS)} | recordings
    assert narrow.turns is None


def test_a_row_lies_where_the_layout_has_it() -> None:
    tables = Tables.of(Request(partition_by="month"))
    assert tables.place(100 * DAY) == partition_of(100 * DAY, "month")
    assert tables.partition_key == "created_month"
    assert Tables.of(Request(partition_by="none")).partition_key is None
