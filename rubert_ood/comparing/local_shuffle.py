"""Bring the rows of each ad of two runs together in this process, in bounded memory, without Ray.

Each piece is cut by a hash of the ad ids into partitions, which lie in a temporary folder as Arrow
streams; then one partition after the other is compared. In memory are one piece, or one partition.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pyarrow as pa

from rubert_ood.comparing import whole_run
from rubert_ood.comparing.counts import ROW_SCHEMA, Counts, count_partition
from rubert_ood.comparing.whole_run import WholeRun, all_pieces, read_piece
from rubert_ood.storage.scratch import scratch_folder


def partitions(a: WholeRun, b: WholeRun) -> Iterator[Counts]:
    """Yield the counts of each partition. Raises as `read_piece`, and OutputError where the local
    disk fails."""
    with scratch_folder("rubert_ood_diff_") as folder:
        num_partitions = whole_run.num_partitions(a, b)
        paths = []
        for number in range(num_partitions):
            paths.append(os.path.join(folder, f"{number}.arrows"))
        _spill(a, b, paths)
        for path in paths:
            with pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
                yield count_partition(stream.read_all())
            os.unlink(path)


def _spill(a: WholeRun, b: WholeRun, paths: list[str]) -> None:
    """Write every row of both runs to the partition of its id."""
    with ExitStack() as stack:
        writers = []
        for path in paths:
            file = stack.enter_context(pa.OSFile(path, "wb"))
            writers.append(stack.enter_context(pa.ipc.new_stream(file, ROW_SCHEMA)))
        for piece, in_b in all_pieces(a, b):
            table = read_piece(piece, in_b=in_b)
            bucket_N = _buckets(table["ad_id"], len(paths))
            for bucket in np.unique(bucket_N):
                writers[bucket].write_table(table.filter(bucket_N == bucket))


def _buckets(ids: pa.ChunkedArray, num_buckets: int) -> np.ndarray:
    """Return the partition of each id, int64 (N,): the same in every run."""
    hashes_N = pd.util.hash_array(ids.to_numpy())
    return (hashes_N % np.uint64(num_buckets)).astype(np.int64)
