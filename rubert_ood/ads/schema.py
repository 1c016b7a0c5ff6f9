"""The columns that an ads table must hold, and their one normal form: text as pa.string()."""

import re
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from rubert_ood.ads.csv_table import is_csv
from rubert_ood.errors import SchemaError
from rubert_ood.settings import ColumnSettings

PLAIN_COLUMN = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
"""What no Russian text looks like."""
OPTIONAL = ("title", "city")
MOST_BYTES = 2**30
"""Of values in one array; an array of text can hold twice as many."""


def resolve_columns(
    uri: str,
    schema: pa.Schema,
    columns: ColumnSettings,
    roles: Iterable[str],
    *,
    carry: Sequence[str] = (),
) -> dict[str, str]:
    """Map each role (`ad_id`, `title`, ...) to its column; optional roles may be absent.

    Raises SchemaError that names the table, the setting, the column and what the table has instead.
    """
    found = {}
    wanted = [*columns.model_dump().values(), *carry]
    for role in roles:
        name = getattr(columns, role)
        if name is None:
            continue
        if name not in schema.names:
            if role in OPTIONAL and role not in columns.model_fields_set:
                continue
            raise SchemaError(
                f"{uri}: the table has no column {name!r} (setting"
                f" columns.{role}). {has(uri, schema, wanted)}"
            )
        check_type(
            uri, schema, name, allow_integer=role in ("ad_id", "category", "subcategory")
        )
        found[role] = name
    for name in carry:
        if name not in schema.names:
            raise SchemaError(
                f"{uri}: the table has no column {name!r} (setting"
                f" carry_columns). {has(uri, schema, wanted)}"
            )
        _check_once(uri, schema, name)
    return found


def has(uri: str, schema: pa.Schema, wanted: Iterable[str]) -> str:
    """Say which columns a table has; not of a CSV file that may begin with an ad, not with its
    header, which would tell what stands in the ad."""
    names = schema.names
    if not names:
        return "It has no columns at all"
    is_header = {*wanted} & {*names} or all(
        PLAIN_COLUMN.fullmatch(name) for name in names
    )
    if is_csv(uri) and not is_header:
        return (
            "Its first line has no name that is looked for. Write the names of the"
            " columns there, or check the delimiter"
        )
    return f"Use one that it has: {', '.join(names)}"


def city_column(schema: pa.Schema, columns: ColumnSettings) -> dict[str, str]:
    """Return {"city": its column} if the table has one of text; only the report counts it."""
    try:
        return resolve_columns("", schema, columns, ["city"])
    except SchemaError:
        return {}


def _check_once(uri: str, schema: pa.Schema, name: str) -> None:
    if schema.names.count(name) > 1:
        raise SchemaError(
            f"{uri}: the table has two columns {name!r}. Rename or drop one"
        )


def check_type(
    uri: str,
    schema: pa.Schema,
    name: str,
    *,
    allow_integer: bool,
) -> None:
    """Raise SchemaError unless the table has one column of this name, of text (or integers)."""
    _check_once(uri, schema, name)
    field = schema.field(name)
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    text = (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )
    if not (
        text or pa.types.is_null(kind) or (allow_integer and pa.types.is_integer(kind))
    ):
        wanted = "text or integers" if allow_integer else "text"
        raise SchemaError(
            f"{uri}: column {field.name!r} has the type {field.type}."
            f" Convert it to {wanted}"
        )


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which a carried column is written, however Arrow keeps its values.

    Large, view and dictionary types become the plain ones, also inside lists, structs and maps.
    """
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if types.is_string_view(kind) or types.is_large_string(kind):
        return pa.string()
    if types.is_binary_view(kind) or types.is_large_binary(kind):
        return pa.binary()
    if types.is_map(kind):
        return pa.map_(_plain_field(kind.key_field), _plain_field(kind.item_field))
    if types.is_fixed_size_list(kind):
        return pa.list_(_plain_field(kind.value_field), kind.list_size)
    if _is_list(kind):
        return pa.list_(_plain_field(kind.value_field))
    if types.is_struct(kind):
        return pa.struct([_plain_field(field) for field in kind])
    return kind


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(plain_type(field.type))


def _is_list(kind: pa.DataType) -> bool:
    large = pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind)
    return pa.types.is_list(kind) or pa.types.is_list_view(kind) or large


def as_plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast a column to its plain type, in pieces where one array could not hold the values."""
    pieces = []
    for chunk in column.chunks:
        pieces += _cast_plain(chunk)
    return pa.chunked_array(pieces, plain_type(column.type))


def _cast_plain(array: pa.Array) -> list[pa.Array]:
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    num_bytes = array.nbytes
    if pa.types.is_dictionary(
        array.type
    ):  # Arrow has no way from a dictionary of views to text
        values = pc.cast(array.dictionary, plain_type(array.dictionary.type))
        array = pa.DictionaryArray.from_arrays(array.indices, values)
        if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
            num_bytes = len(array) * (pc.max(pc.binary_length(values)).as_py() or 0)
    if len(array) > 1 and num_bytes > MOST_BYTES:
        half = len(array) // 2
        return [*_cast_plain(array[:half]), *_cast_plain(array[half:])]
    return [pc.cast(array, plain_type(array.type))]


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast a column of text or integers, in whichever of Arrow's ways, to pa.string()."""
    return pc.cast(as_plain(column), pa.string())


def decoded(column: pa.Array | pa.ChunkedArray) -> list[str | bytes | None]:
    """Return the texts of a pa.string() column; a value that is not UTF-8 stays bytes."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_decode(value) for value in pc.cast(column, pa.binary()).to_pylist()]


def _decode(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value
