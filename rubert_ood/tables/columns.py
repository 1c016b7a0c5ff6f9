"""Which columns a table can have. Types that a format lacks, or that engines read back
differently, are refused by name."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.types as pt

from rubert_ood.errors import SchemaError

UTC_NAMES = (None, "UTC", "+00:00", "Etc/UTC")
PLAIN = (
    pt.is_boolean,
    pt.is_signed_integer,
    pt.is_float32,
    pt.is_float64,
    pt.is_string,
    pt.is_large_string,
    pt.is_binary,
    pt.is_large_binary,
    pt.is_date32,
    pt.is_decimal128,
)
"""Types that Parquet, Iceberg and Delta all have, with the same values."""
NESTED = (pt.is_list, pt.is_large_list, pt.is_fixed_size_list, pt.is_struct, pt.is_map)


def check_columns(fields: Iterable[pa.Field]) -> None:
    """Raise SchemaError that names the first column which tables of Iceberg and Delta cannot have.

    Both lack float16, unsigned integers, times of day, durations, decimals of more than 38 digits,
    nanoseconds, zones of time but UTC, and names that differ only in case.
    """
    fields = list(fields)
    for field in fields:
        if not _fits(field.type):
            raise SchemaError(
                f"column {field.name!r} has the type {field.type}, which"
                " Iceberg and Delta do not support. Leave the column out,"
                " or convert it in the input"
            )
    check_names(_names(fields))


def check_names(names: Iterable[str]) -> None:
    """Raise SchemaError that names the first two columns whose names differ only in case."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(name.lower(), name)
        if other != name:
            raise SchemaError(
                f"columns {other!r} and {name!r} differ only in case, which"
                " readers of tables ignore. Rename one, or leave it out"
            )


def _names(fields: Iterable[pa.Field], above: str = "") -> Iterator[str]:
    """Yield the names of columns, and of what lies inside them, each with its path."""
    for field in fields:
        name = f"{above}{field.name}"
        yield name
        yield from _names(_inner(field.type) or [], f"{name}.")


def _inner(kind: pa.DataType) -> list[pa.Field] | None:
    """Return the fields of a nested type; None of any other."""
    if not any(is_nested(kind) for is_nested in NESTED):
        return None
    return [kind.field(number) for number in range(kind.num_fields)]


def _fits(kind: pa.DataType) -> bool:
    if pt.is_dictionary(kind):  # of values that Parquet stores as they are
        return _fits(kind.value_type)
    if pt.is_timestamp(kind):
        return kind.unit != "ns" and kind.tz in UTC_NAMES
    inner = _inner(kind)
    if inner is not None:
        return all(_fits(field.type) for field in inner)
    return any(is_plain(kind) for is_plain in PLAIN)


def has_naive_times(schema: pa.Schema) -> bool:
    """Say whether some column holds times without a zone, at any depth."""
    return any(_is_naive(kind) for kind in schema.types)


def _is_naive(kind: pa.DataType) -> bool:
    if pt.is_timestamp(kind):
        return kind.tz is None
    return any(_is_naive(field.type) for field in _inner(kind) or [])
