import pyarrow as pa
import pytest

from rubert_ood.errors import SchemaError
from rubert_ood.runs.part import part_schema
from rubert_ood.tables.columns import check_columns, has_naive_times

FIT = [
    pa.bool_(),
    pa.int8(),
    pa.int64(),
    pa.float32(),
    pa.float64(),
    pa.string(),
    pa.large_string(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.binary(),
    pa.date32(),
    pa.decimal128(38, 2),
    pa.timestamp("us"),
    pa.timestamp("ms", "UTC"),
    pa.list_(pa.float32()),
    pa.list_(pa.float32(), 3),
    pa.large_list(pa.string()),
    pa.struct([("a", pa.int8())]),
    pa.map_(pa.string(), pa.int32()),
]
DO_NOT_FIT = [
    pa.float16(),
    pa.list_(pa.float16(), 3),
    pa.uint8(),
    pa.uint64(),
    pa.time32("s"),
    pa.time64("us"),
    pa.duration("s"),
    pa.timestamp("ns"),
    pa.timestamp("us", "Europe/Moscow"),
    pa.decimal256(40, 2),
    pa.null(),
    pa.struct([("a", pa.list_(pa.uint16()))]),
    pa.dictionary(pa.int32(), pa.uint8()),
]


@pytest.mark.parametrize("kind", FIT, ids=str)
def test_check_columns_takes_what_both_formats_have(kind):
    check_columns([pa.field("carried", kind)])


@pytest.mark.parametrize("kind", DO_NOT_FIT, ids=str)
def test_check_columns_names_what_they_do_not_have(kind):
    with pytest.raises(SchemaError) as error:
        check_columns([pa.field("a", pa.string()), pa.field("b", kind)])
    assert str(error.value) == (
        f"column 'b' has the type {kind}, which Iceberg and Delta do not"
        " support. Leave the column out, or convert it in the input"
    )


def test_check_columns_takes_a_part_without_vectors_and_refuses_one_with_them():
    check_columns(part_schema([], None, {}, subheads=True))
    with pytest.raises(
        SchemaError, match="column 'embedding' has the type fixed_size_list"
    ):
        check_columns(part_schema([], 4, {}))


@pytest.mark.parametrize(
    ("fields", "first", "second"),
    [
        ([("Price", pa.int8()), ("price", pa.int8())], "Price", "price"),
        ([("label", pa.int8()), ("Label", pa.int8())], "label", "Label"),
        ([("Имя", pa.int8()), ("имя", pa.int8())], "Имя", "имя"),
        ([("a", pa.struct([("X", pa.int8()), ("x", pa.int8())]))], "a.X", "a.x"),
    ],
)
def test_check_columns_refuses_names_that_differ_only_in_case(fields, first, second):
    schema = pa.schema([("ad_id", pa.string()), *fields])
    with pytest.raises(SchemaError) as error:
        check_columns(schema)
    assert str(error.value) == (
        f"columns {first!r} and {second!r} differ only in case, which readers"
        " of tables ignore. Rename one, or leave it out"
    )


def test_check_columns_takes_equal_names_at_different_depths():
    inner = pa.struct([("Price", pa.int8())])
    check_columns(pa.schema([("price", pa.int8()), ("a", inner), ("b", inner)]))


def test_has_naive_times_looks_inside():
    zoned = pa.timestamp("us", "UTC")
    assert not has_naive_times(pa.schema([("a", zoned), ("b", pa.list_(pa.string()))]))
    assert has_naive_times(pa.schema([("a", pa.timestamp("ms"))]))
    inner = pa.struct([("when", pa.list_(pa.timestamp("us")))])
    assert has_naive_times(pa.schema([("a", zoned), ("b", inner)]))
