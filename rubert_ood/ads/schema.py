"""The columns that an ads table must hold, and their one normal form: text as pa.string()."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from rubert_ood.errors import SchemaError
from rubert_ood.settings import ColumnSettings

OPTIONAL = ("title", "city")


def resolve_columns(
    uri: str, schema: pa.Schema, columns: ColumnSettings, roles: Iterable[str], *, carry: Iterable[str] = ()
) -> dict[str, str]:
    """Map each role (`ad_id`, `title`, ...) to its column in this table; optional roles may be absent.

    Raises SchemaError that names the table, the setting, the column and what the table has instead.
    """
    found = {}
    for role in roles:
        name = getattr(columns, role)
        if name is None:
            continue
        if name not in schema.names:
            if role in OPTIONAL and role not in columns.model_fields_set:
                continue
            raise SchemaError(f"{uri}: no column {name!r} (setting columns.{role}); it has: {', '.join(schema.names)}")
        check_type(uri, schema, name, allow_integer=role in ("ad_id", "category", "subcategory"))
        found[role] = name
    for name in carry:
        if name not in schema.names:
            raise SchemaError(f"{uri}: no column {name!r} (carry_columns); it has: {', '.join(schema.names)}")
        _check_once(uri, schema, name)
    return found


def city_column(schema: pa.Schema, columns: ColumnSettings) -> dict[str, str]:
    """Return {"city": its column} if this table has one of text; only the report counts it, so none is no fault."""
    try:
        return resolve_columns("", schema, columns, ["city"])
    except SchemaError:
        return {}


def _check_once(uri: str, schema: pa.Schema, name: str) -> None:
    if schema.names.count(name) > 1:
        raise SchemaError(f"{uri}: there are two columns {name!r}; rename or drop one")


def check_type(uri: str, schema: pa.Schema, name: str, *, allow_integer: bool) -> None:
    """Raise SchemaError unless the table has one column of this name, of text (or integers)."""
    _check_once(uri, schema, name)
    field = schema.field(name)
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_null(kind) or (allow_integer and pa.types.is_integer(kind))):
        wanted = "text or integers" if allow_integer else "text"
        raise SchemaError(f"{uri}: column {field.name!r} holds {field.type}, expected {wanted}")


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the plain form of a type: text, however it is laid out, is pa.string()."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return kind


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast a text, dictionary or integer column to pa.string()."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    return pc.cast(column, pa.string())


def decoded(column: pa.ChunkedArray) -> list[str | bytes | None]:
    """Return the texts of a pa.string() column; a value that is not UTF-8 stays bytes, so that its row can be named."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_decode(value) for value in pc.cast(column, pa.binary()).to_pylist()]


def _decode(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value
