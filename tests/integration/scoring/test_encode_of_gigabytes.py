import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.errors import InputError
from rubert_ood.runs.plan import Shard
from rubert_ood.scoring.encode import in_one_piece

SHARD = Shard("00000-ab", "in/ads.parquet", {}, 10, 12)


@pytest.fixture(scope="module")
def huge() -> pa.Array:
    """One text of 1.2 GB; its pages are never touched."""
    size = 1_200_000_000
    offsets = pa.py_buffer(np.array([0, size], np.int32))
    return pa.Array.from_buffers(
        pa.string(), 1, [None, offsets, pa.py_buffer(np.zeros(size, "u1"))]
    )


@pytest.mark.parametrize("is_nested", [False, True], ids=["text", "text in lists"])
def test_in_one_piece_with_more_than_2_gb_in_a_column_is_one_clear_line(huge, is_nested):
    array = (
        pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), huge)
        if is_nested
        else huge
    )
    rows = pa.table({"carry.note": pa.chunked_array([array, array])})
    with pytest.raises(InputError) as caught:
        in_one_piece(rows, SHARD)
    assert str(caught.value) == (
        "in/ads.parquet: rows 10 to 12 carry more than 2 GB of text in one"
        " column. Lower shard_rows, or carry fewer columns"
    )
