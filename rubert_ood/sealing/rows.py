"""Rows of parts -> one Parquet file, in row groups of a size that readers like."""

import inspect
import io
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rubert_ood.settings import SortBy

ROW_GROUP_ROWS = 2**17
KEY = "ad_id"


def to_file(parts: Iterator[pa.Table], sort_by: SortBy) -> bytes:
    """Return a file with the rows of parts; without a part nothing.

    In their order few rows are decoded at a time, beside the bytes of the file; sorted all are.
    Equal ids keep their order.
    """
    first = next(parts, None)
    if first is None:
        return b""
    tables = chain([first], parts)
    options, sink = _options(sort_by, first.schema), io.BytesIO()
    with pq.ParquetWriter(sink, first.schema, **options) as writer:
        for table in row_groups(_sorted(tables) if sort_by == KEY else tables):
            writer.write_table(table, ROW_GROUP_ROWS)
    return sink.getvalue()


def _options(sort_by: SortBy, schema: pa.Schema) -> dict[str, object]:
    """Return what is written beside the rows: statistics and checksums of each page; to find an ad
    by, a Bloom filter, or where the rows are sorted an index."""
    options: dict[str, object] = {
        "compression": "zstd",
        "write_statistics": True,
        "write_page_checksum": True,
    }
    if sort_by == KEY:
        order = [pq.SortingColumn(schema.get_field_index(KEY))]
        return {**options, "sorting_columns": order, "write_page_index": True}
    if _has_bloom_filters():
        options["bloom_filter_options"] = {KEY: {"ndv": ROW_GROUP_ROWS, "fpp": 0.01}}
    return options


@lru_cache(maxsize=1)
def _has_bloom_filters() -> bool:
    """Say whether this pyarrow writes them: the first one that we take does not."""
    return "bloom_filter_options" in inspect.signature(pq.ParquetWriter).parameters


def row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of tables in tables of ROW_GROUP_ROWS, the last one of what is left."""
    waiting, num_rows = list[pa.Table](), 0
    for table in tables:
        waiting.append(table)
        num_rows += table.num_rows
        while num_rows >= ROW_GROUP_ROWS:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, ROW_GROUP_ROWS)
            num_rows -= ROW_GROUP_ROWS
            waiting = [joined.slice(ROW_GROUP_ROWS)]
    if num_rows:
        yield pa.concat_tables(waiting)


def _sorted(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield all rows by their id, in the order of its bytes, as Parquet compares them."""
    table = pa.concat_tables(tables).combine_chunks()
    order = pc.sort_indices(table[KEY])
    for start in range(0, len(order), ROW_GROUP_ROWS):
        yield table.take(order.slice(start, ROW_GROUP_ROWS))
