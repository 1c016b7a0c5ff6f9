import pyarrow as pa
import pytest

from rubert_ood.errors import SchemaError, SettingsError
from rubert_ood.runs.plan import pack_schema, unpack_schema
from rubert_ood.scoring.carry import CarriedTypes, cast_carried, check_names, not_utf8

TEXT_DICTIONARY = pa.dictionary(pa.int32(), pa.string())


def unified(*types: pa.DataType) -> pa.DataType:
    carried = CarriedTypes(["x"])
    for number, kind in enumerate(types):
        carried.add(f"{number}.parquet", pa.schema([("x", kind), ("y", pa.int8())]))
    return carried.schema().field("x").type


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ([pa.null(), pa.int64()], pa.int64()),
        ([pa.int64(), pa.null()], pa.int64()),
        ([pa.null(), pa.null()], pa.null()),
        ([pa.int32(), pa.int64()], pa.int64()),
        ([pa.int64(), pa.float64()], pa.float64()),
        ([pa.float32(), pa.int64()], pa.float64()),
        (
            [pa.string(), pa.large_string(), pa.string_view(), TEXT_DICTIONARY],
            pa.string(),
        ),
        ([TEXT_DICTIONARY], pa.string()),
        ([pa.timestamp("ms"), pa.timestamp("us")], pa.timestamp("us")),
        (
            [pa.timestamp("s", "UTC"), pa.timestamp("ns", "UTC")],
            pa.timestamp("ns", "UTC"),
        ),
        ([pa.decimal128(10, 2), pa.decimal128(12, 4)], pa.decimal128(12, 4)),
        ([pa.list_(pa.int32()), pa.list_(pa.int64())], pa.list_(pa.int64())),
    ],
)
def test_carried_types_widen_to_one_that_holds_all(
    types: list[pa.DataType], expected: pa.DataType
) -> None:
    assert unified(*types) == expected
    assert unified(*reversed(types)) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int64(), pa.string()),
        (pa.string(), pa.binary()),
        (pa.bool_(), pa.int64()),
        (pa.timestamp("ms"), pa.timestamp("ms", "UTC")),
        (pa.date32(), pa.timestamp("ms")),
    ],
)
def test_carried_types_that_do_not_fit_name_both_files(
    one: pa.DataType, other: pa.DataType
) -> None:
    carried = CarriedTypes(["x"])
    carried.add("a.parquet", pa.schema([("x", pa.null())]))
    carried.add("b.parquet", pa.schema([("x", one)]))
    with pytest.raises(SchemaError) as error:
        carried.add("c.parquet", pa.schema([("x", other)]))
    assert str(error.value).startswith("c.parquet: column 'x' has the type ")
    assert "in b.parquet. Convert it to the" in str(error.value)
    assert carried.schema().field("x").type == one


def test_cast_carried_gives_the_common_type() -> None:
    field = pa.field("x", pa.float64())
    column = cast_carried("a.parquet", pa.chunked_array([[1, None, 3]]), field)
    assert (column.type, column.to_pylist()) == (pa.float64(), [1.0, None, 3.0])
    words = pa.chunked_array([pa.array(["a", None, "a"]).dictionary_encode()])
    assert cast_carried("a", words, pa.field("x", pa.string())).to_pylist() == [
        "a",
        None,
        "a",
    ]


def test_cast_carried_of_a_value_that_does_not_fit_names_file_and_column_but_not_the_value() -> (
    None
):
    column = pa.chunked_array([[2**53 + 1]])
    with pytest.raises(SchemaError) as error:
        cast_carried("a.parquet", column, pa.field("price", pa.float64()))
    assert str(error.value) == (
        "a.parquet: column 'price': a value does not fit double, the type over"
        " all files. Convert the column"
    )


@pytest.mark.parametrize(
    "names",
    [
        ("run_date",),
        ("price", "run_id"),
        ("label",),
        ("price", "price"),
        ("RUN_ID",),
        ("Label",),
        ("price", "Price"),
    ],
)
def test_check_names_refuses_a_name_that_the_output_has(names: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=f"carry_columns: '{names[-1]}'"):
        check_names(names, ["ad_id", "label"])


def test_check_names_of_a_name_in_another_case_names_both_columns() -> None:
    with pytest.raises(SettingsError) as error:
        check_names(["price", "AD_ID"], ["ad_id", "label"])
    assert str(error.value) == (
        "carry_columns: 'AD_ID' differs only in case from the column 'ad_id' of the"
        " output. Leave the column out, or rename it"
    )


def test_carried_schema_survives_as_text() -> None:
    schema = pa.schema([("x", pa.list_(pa.timestamp("us", "UTC"))), ("y", pa.string())])
    assert unpack_schema(pack_schema(schema)) == schema
    assert unpack_schema("") == pa.schema([])


def test_not_utf8_names_the_rows_in_every_chunk() -> None:
    plain = pa.array([b"x", None, b"\xff", b"\xed\xa0\x80", "ж".encode()], pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(plain), plain.buffers())
    assert not_utf8(pa.chunked_array([text[:2], text[2:4], text])) == [2, 3, 6, 7]
    assert not_utf8(pa.chunked_array([text[:2], text[4:]])) == []
    assert not_utf8(pa.chunked_array([plain])) == []
    assert not_utf8(pa.chunked_array([], pa.string())) == []
    inside = pa.StructArray.from_arrays([text], ["a"])
    assert not_utf8(pa.chunked_array([inside])) == [2, 3]
