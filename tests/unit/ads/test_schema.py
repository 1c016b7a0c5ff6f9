import pyarrow as pa
import pyarrow.compute as pc
import pytest

from rubert_ood.ads import schema
from rubert_ood.ads.schema import (
    as_plain,
    as_text,
    check_type,
    decoded,
    plain_type,
    resolve_columns,
)
from rubert_ood.errors import SchemaError
from rubert_ood.settings import ColumnSettings

ROLES = ("ad_id", "title", "description", "category", "city")
FULL = pa.schema([(role, pa.string()) for role in ROLES])


def not_utf8(kind: pa.DataType) -> pa.Array:
    """`да`, null, and a text in CP1251, as a careless program writes it."""
    values = pa.array(["да".encode(), None, "нет".encode("cp1251")], pa.binary())
    binary = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}[kind]
    return values.cast(binary).view(kind)


def test_schema_finds_default_names() -> None:
    assert resolve_columns("ads.csv", FULL, ColumnSettings(), ROLES) == {
        role: role for role in ROLES
    }


def test_schema_finds_own_names_and_only_the_asked_roles() -> None:
    schema = pa.schema(
        [("текст", pa.string()), ("id", pa.int64()), ("price", pa.int64())]
    )
    columns = ColumnSettings(ad_id="id", description="текст")
    found = resolve_columns(
        "ads.csv",
        schema,
        columns,
        ("ad_id", "title", "description"),
        carry=("price", "id"),
    )
    assert found == {"ad_id": "id", "description": "текст"}


@pytest.mark.parametrize("role", ["title", "city"])
def test_an_optional_column_may_be_absent_under_its_default_name(role: str) -> None:
    schema = FULL.remove(FULL.get_field_index(role))
    assert role not in resolve_columns("ads.csv", schema, ColumnSettings(), ROLES)


@pytest.mark.parametrize("role", ["title", "city"])
@pytest.mark.parametrize("name", ["elsewhere", None])
def test_an_optional_column_named_explicitly_must_exist(
    role: str, name: str | None
) -> None:
    schema = FULL.remove(FULL.get_field_index(role))
    name = name or role  # the default name, but written down by the user
    with pytest.raises(SchemaError) as caught:
        resolve_columns("ads.csv", schema, ColumnSettings(**{role: name}), ROLES)
    rest = ", ".join(schema.names)
    assert str(caught.value) == (
        f"ads.csv: the table has no column '{name}' (setting columns.{role})."
        f" Use one that it has: {rest}"
    )


@pytest.mark.parametrize("role", ["title", "city"])
def test_null_switches_an_optional_column_off(role: str) -> None:
    assert role not in resolve_columns(
        "ads.csv", FULL, ColumnSettings(**{role: None}), ROLES
    )


@pytest.mark.parametrize("role", ["ad_id", "description", "category"])
def test_a_missing_column_is_named_with_what_the_table_has(role: str) -> None:
    with pytest.raises(SchemaError) as caught:
        resolve_columns(
            "s3://b/ads.csv",
            pa.schema([("a", pa.string()), ("b", pa.null())]),
            ColumnSettings(),
            [role],
        )
    assert str(caught.value) == (
        f"s3://b/ads.csv: the table has no column '{role}' (setting"
        f" columns.{role}). Use one that it has: a, b"
    )


@pytest.mark.parametrize("role", ["ad_id", "description", "category"])
@pytest.mark.parametrize(
    "first_line",
    [
        ["1", "Продам диван, 8 916 123-45-67"],
        ["a1", "диван"],
        ["диван", "8 916 123-45-67", "Мебель", "Уфа"],
    ],
)
def test_an_ad_that_stands_for_the_header_of_a_csv_is_not_told(
    role: str, first_line: list[str]
) -> None:
    schema = pa.schema([(cell, pa.string()) for cell in first_line])
    with pytest.raises(SchemaError) as caught:
        resolve_columns("ads.CSV.gz", schema, ColumnSettings(), [role])
    assert str(caught.value) == (
        f"ads.CSV.gz: the table has no column '{role}' (setting columns.{role})."
        " Its first line has no name that is looked for. Write the names of the columns"
        " there, or check the delimiter"
    )


def test_a_header_in_russian_is_told_where_one_of_its_names_is_looked_for() -> None:
    schema = pa.schema([("ид", pa.string()), ("Описание", pa.string())])
    columns = ColumnSettings(description="Описание")
    for uri in ("ads.csv", "ads.parquet"):
        with pytest.raises(SchemaError, match=r"Use one that it has: ид, Описание$"):
            resolve_columns(uri, schema, columns, ["ad_id"])
    with pytest.raises(SchemaError, match=r"Use one that it has: ид, Описание$"):
        resolve_columns("ads.parquet", schema, ColumnSettings(), ["ad_id"])


def test_a_missing_carried_column_is_named() -> None:
    with pytest.raises(
        SchemaError,
        match=(
            r"^f: the table has no column 'price' \(setting carry_columns\)\. Use one"
            " that it has: ad_id, "
        ),
    ):
        resolve_columns("f", FULL, ColumnSettings(), ["ad_id"], carry=["city", "price"])


@pytest.mark.parametrize("carry", [(), ("price",)])
def test_two_columns_of_one_name_are_an_error_if_they_are_read(
    carry: tuple[str, ...],
) -> None:
    names = ["ad_id", "price", "price"] if carry else ["ad_id", "ad_id"]
    schema = pa.schema([(name, pa.string()) for name in names])
    with pytest.raises(SchemaError, match=f"^f: the table has two columns '{names[-1]}'"):
        resolve_columns("f", schema, ColumnSettings(), ["ad_id"], carry=carry)


def test_two_columns_of_one_name_that_nobody_reads_do_not_matter() -> None:
    schema = pa.schema([(name, pa.string()) for name in ("ad_id", "x", "x")])
    assert resolve_columns("f", schema, ColumnSettings(), ["ad_id"]) == {"ad_id": "ad_id"}


TEXT_TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.null(),
    pa.dictionary(pa.int8(), pa.string()),
]
INTEGER_TYPES = [pa.int64(), pa.uint8(), pa.dictionary(pa.int32(), pa.int16())]
OTHER_TYPES = [
    pa.float64(),
    pa.bool_(),
    pa.date32(),
    pa.binary(),
    pa.list_(pa.string()),
    pa.decimal128(5),
]


@pytest.mark.parametrize("role", ["title", "description", "city"])
@pytest.mark.parametrize("kind", INTEGER_TYPES + OTHER_TYPES, ids=str)
def test_a_text_column_of_another_type_is_named(role: str, kind: pa.DataType) -> None:
    with pytest.raises(SchemaError) as caught:
        resolve_columns("f", pa.schema([(role, kind)]), ColumnSettings(), [role])
    assert (
        str(caught.value) == f"f: column '{role}' has the type {kind}. Convert it to text"
    )


@pytest.mark.parametrize("role", ["ad_id", "category"])
@pytest.mark.parametrize("kind", OTHER_TYPES, ids=str)
def test_an_id_or_label_is_text_or_an_integer(role: str, kind: pa.DataType) -> None:
    with pytest.raises(SchemaError) as caught:
        resolve_columns("f", pa.schema([(role, kind)]), ColumnSettings(), [role])
    assert str(caught.value) == (
        f"f: column '{role}' has the type {kind}. Convert it to text or integers"
    )
    for good in TEXT_TYPES + INTEGER_TYPES:
        check_type("f", pa.schema([(role, good)]), role, allow_integer=True)


def test_optional_columns_are_checked_too() -> None:
    with pytest.raises(SchemaError, match="column 'title' has the type double"):
        resolve_columns(
            "f", pa.schema([("title", pa.float64())]), ColumnSettings(), ["title"]
        )


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["шины", None, "", "шины"]),
        pa.array(["шины", None, "", "шины"], pa.large_string()),
        pa.array(["шины", None, "", "шины"], pa.string_view()),
        pa.array(["шины", None, "", "шины"]).dictionary_encode(),
        pa.array(["шины", None, "", "шины"], pa.large_string()).dictionary_encode(),
        pa.DictionaryArray.from_arrays(
            [0, None, 1, 0], pa.array(["шины", ""], pa.string_view())
        ),
    ],
    ids=lambda column: str(column.type).replace("\n", " "),
)
def test_as_text_keeps_texts_of_every_kind(column: pa.Array) -> None:
    text = as_text(pa.chunked_array([column, column[2:]]))
    assert text.type == pa.string()
    assert text.to_pylist() == ["шины", None, "", "шины", "", "шины"]


def test_as_text_writes_integers_and_nulls() -> None:
    assert as_text(pa.chunked_array([[7, None, -1]])).to_pylist() == ["7", None, "-1"]
    assert as_text(
        pa.chunked_array([pa.array([7, None, 7]).dictionary_encode()])
    ).to_pylist() == [
        "7",
        None,
        "7",
    ]
    assert as_text(pa.chunked_array([pa.nulls(2)])).to_pylist() == [None, None]
    assert as_text(pa.chunked_array([], pa.int64())).to_pylist() == []


def test_as_text_joins_chunks_with_different_dictionaries() -> None:
    chunks = [
        pa.array(["а", "б"]).dictionary_encode(),
        pa.array(["б", "в"]).dictionary_encode(),
    ]
    assert as_text(pa.chunked_array(chunks)).to_pylist() == ["а", "б", "б", "в"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_what_is_not_utf8_stays_bytes_and_the_rest_text(kind: pa.DataType) -> None:
    column = as_text(pa.chunked_array([not_utf8(kind), pa.array(["ещё"], kind)]))
    assert decoded(column) == ["да", None, "нет".encode("cp1251"), "ещё"]


def _views(values: list[str | None]) -> pa.Array:
    """A dictionary of string_view, as DataFusion writes it."""
    known = sorted({value for value in values if value is not None})
    indices = pa.array(
        [None if value is None else known.index(value) for value in values], pa.int8()
    )
    return pa.DictionaryArray.from_arrays(indices, pa.array(known, pa.string_view()))


PLAIN = [
    (pa.array(["а", None], pa.string_view()), pa.string()),
    (pa.array(["а", None], pa.large_string()), pa.string()),
    (pa.array(["а", None]).dictionary_encode(), pa.string()),
    (_views(["а", None, "б"]), pa.string()),
    (pc.run_end_encode(pa.array(["а", "а", None])), pa.string()),
    (pa.array([b"1", None], pa.binary_view()), pa.binary()),
    (pa.array([b"1", None], pa.large_binary()), pa.binary()),
    (pa.array([["а"], None], pa.large_list(pa.string_view())), pa.list_(pa.string())),
    (pa.array([["а"], None], pa.list_view(pa.large_string())), pa.list_(pa.string())),
    (
        pa.array([["а", "б"], None], pa.list_(pa.string_view(), 2)),
        pa.list_(pa.string(), 2),
    ),
    (
        pa.array([{"x": ["а"]}, None], pa.struct([("x", pa.list_(pa.string_view()))])),
        pa.struct([("x", pa.list_(pa.string()))]),
    ),
    (
        pa.array([[("а", "б")], None], pa.map_(pa.string_view(), pa.string_view())),
        pa.map_(pa.string(), pa.string()),
    ),
    (pa.array([1, None]).dictionary_encode(), pa.int64()),
    (pa.array([1.5, None]), pa.float64()),
    (pa.nulls(2), pa.null()),
]


@pytest.mark.parametrize(
    ("column", "plain"),
    PLAIN,
    ids=[str(column.type).replace("\n", " ") for column, _ in PLAIN],
)
def test_as_plain_keeps_the_values_of_every_type_in_one_that_can_be_filtered(
    column: pa.Array, plain: pa.DataType
) -> None:
    assert plain_type(column.type) == plain
    assert plain_type(plain) == plain
    got = as_plain(pa.chunked_array([column, column[1:]]))
    assert got.type == plain
    assert got.to_pylist() == column.to_pylist() + column[1:].to_pylist()
    assert got.filter(pa.array([False] * (len(got) - 1) + [True])).to_pylist() == [
        column[-1].as_py()
    ]
    assert as_plain(pa.chunked_array([], column.type)).type == plain


def test_plain_type_keeps_the_names_inside_and_what_may_be_null() -> None:
    field = pa.field("element", pa.string_view(), nullable=False)
    assert plain_type(pa.large_list(field)).value_field == pa.field(
        "element", pa.string(), nullable=False
    )
    assert plain_type(pa.struct([field])).field(0) == pa.field(
        "element", pa.string(), nullable=False
    )


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["а" * 300, None, "б" * 300, "в"], pa.large_string()),
        pa.array(["а" * 300, None, "б" * 300, "в"], pa.string_view()),
        pa.array(["а" * 300, None, "а" * 300, "в"]).dictionary_encode(),
        _views(["а" * 300, None, "а" * 300, "в"]),
    ],
    ids=["large_string", "string_view", "dictionary", "dictionary of views"],
)
def test_values_that_one_array_cannot_hold_are_cut_into_several(
    column: pa.Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "MOST_BYTES", 1_000)
    text = as_text(pa.chunked_array([column]))
    assert text.num_chunks > 1
    assert text.to_pylist() == column.to_pylist()


def test_decoded_texts_are_those_of_utf8() -> None:
    assert decoded(pa.chunked_array([["да", None, ""]])) == ["да", None, ""]
