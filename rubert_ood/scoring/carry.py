"""Carried columns have one type over all files of the input: null adapts, numbers and times
widen."""

from collections.abc import Iterable

import pyarrow as pa

from rubert_ood.ads.schema import as_plain, plain_type
from rubert_ood.errors import SchemaError, SettingsError

PARTITIONS = ("run_date", "run_id")
"""Readers of the output take them from its folders, and would meet two columns of one name."""


def check_names(names: Iterable[str], taken: Iterable[str]) -> None:
    """Raise SettingsError when a name would stand in the output twice for a reader that does not
    tell upper from lower case, as DuckDB, Spark and Trino."""
    known = {name.lower(): name for name in taken}
    for name in names:
        if name.lower() in PARTITIONS:
            raise SettingsError(
                f"carry_columns: {name!r} is a partition of the output,"
                " whose folders it names. Leave the column out, or rename"
                " it"
            )
        other = known.get(name.lower())
        if other == name:
            raise SettingsError(
                f"carry_columns: {name!r} is a column of the output already."
                " Leave the column out, or rename it"
            )
        if other is not None:
            raise SettingsError(
                f"carry_columns: {name!r} differs only in case from the column"
                f" {other!r} of the output. Leave the column out, or rename it"
            )
        known[name.lower()] = name


class CarriedTypes:
    """The types of the carried columns over the files seen so far."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._types: dict[str, pa.DataType] = {}
        self._files: dict[str, str] = {}
        """The file that gave each type its present form."""

    def add(self, uri: str, schema: pa.Schema) -> None:
        """Widen the types by those of a file; SchemaError, naming both files, where it fits none.

        After an error nothing of that file counts.
        """
        widened = {
            name: self._widened(uri, name, schema.field(name).type)
            for name in self._names
        }
        for name, kind in widened.items():
            if kind != self._types.get(name):
                self._types[name], self._files[name] = kind, uri

    def schema(self) -> pa.Schema:
        """Return the widened types, in the order of the settings."""
        return pa.schema([pa.field(name, self._types[name]) for name in self._names])

    def _widened(self, uri: str, name: str, kind: pa.DataType) -> pa.DataType:
        kind = plain_type(kind)
        known = self._types.get(name)
        if known is None or known == kind:
            return kind
        one, other = pa.schema([(name, known)]), pa.schema([(name, kind)])
        try:
            if _is_binary(known) != _is_binary(kind) and pa.null() not in (known, kind):
                raise pa.ArrowTypeError("text is not bytes")
            return (
                pa.unify_schemas([one, other], promote_options="permissive").field(0).type
            )
        except pa.ArrowException:
            raise SchemaError(
                f"{uri}: column {name!r} has the type {kind}, but {known} in"
                f" {self._files[name]}. Convert it to the"
                " same type in all files"
            ) from None


def cast_carried(uri: str, column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """Give a carried column the type that it has in the output; SchemaError where a value does not
    fit."""
    try:
        return as_plain(column).cast(field.type)
    except pa.ArrowException:  # its words quote the value
        raise SchemaError(
            f"{uri}: column {field.name!r}: a value does not fit"
            f" {field.type}, the type over all files. Convert the column"
        ) from None


def not_utf8(column: pa.ChunkedArray) -> list[int]:
    """Return the rows with text, be it inside a list or struct, that is not UTF-8: DuckDB and
    polars refuse a whole file for one."""
    if _is_valid(column):
        return []
    return [row for row in range(len(column)) if not _is_valid(column.take([row]))]


def _is_valid(column: pa.ChunkedArray) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
