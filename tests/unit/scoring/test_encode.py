import pyarrow as pa

from rubert_ood.runs.plan import Shard
from rubert_ood.scoring.encode import in_one_piece

SHARD = Shard("00000-ab", "in/ads.parquet", {}, 10, 12)


def test_in_one_piece_joins_the_chunks_of_each_column():
    rows = pa.table({"a": pa.chunked_array([["x"], [], ["y"]], pa.string())})
    whole = in_one_piece(rows, SHARD)
    assert whole["a"].num_chunks == 1
    assert whole.equals(rows)
