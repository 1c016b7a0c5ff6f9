"""Token ids on a worker's node: written once, as they come from Ray Data, then memory-mapped.

The workers of a node share one copy, of which the kernel keeps in memory what is in use: 10 M ads
of 40 tokens are 1.6 GB of ids on disk, and 16 bytes a row beside them. The files have no name any
more once all workers have mapped them, so they end with the processes, however these end.

Shapes: N rows, T tokens of all, n rows of a step.
"""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch.distributed

from rubert_ood.classifier.tokens import num_tokens

IDS, FILES = "ids", ("starts", "lengths", "labels")


@dataclass(frozen=True)
class TokenTable:
    """Rows in the order of their numbers, whatever order they came in."""

    ids_T: np.ndarray
    """int32, memory-mapped."""
    starts_N: np.ndarray
    """int64, where each row begins."""
    lengths_N: np.ndarray
    """int32, its tokens."""
    labels_N: np.ndarray
    """int32."""

    def __len__(self) -> int:
        return len(self.starts_N)

    def take(self, rows: np.ndarray) -> pa.Table:
        """Copy some rows: columns ids, list<int32>, and label."""
        starts_n, lengths_n = self.starts_N[rows], self.lengths_N[rows]
        ends_n = np.cumsum(lengths_n, dtype=np.int64)
        num_tokens = ends_n[-1] if len(rows) else 0
        shifts_n = starts_n - (ends_n - lengths_n)
        places = np.repeat(shifts_n, lengths_n)
        places += np.arange(num_tokens)
        offsets = np.concatenate([[0], ends_n])
        ids = pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()),
            pa.array(self.ids_T[places]),
        )
        labels_n = self.labels_N[rows].astype(np.int64)
        return pa.table({"ids": ids, "label": labels_n})


def write_table(folder: str, blocks: Iterable[pa.Table]) -> None:
    """Write blocks, one at a time and in any order: columns row (unique), ids and label."""
    rows, lengths, labels = [], [], []
    with open(os.path.join(folder, IDS), "wb") as file:
        for block in blocks:
            for batch in block.to_batches():
                ids = batch["ids"]
                values = np.asarray(ids.flatten())
                file.write(values.astype(np.int32).tobytes())
                lengths.append(num_tokens(ids).astype(np.int32))
                rows.append(np.asarray(batch["row"]))
                label = np.asarray(batch["label"])
                labels.append(label.astype(np.int32))
    lengths_N = _joined(lengths, np.int32)
    order_N = np.argsort(_joined(rows, np.int64), kind="stable")
    starts_N = np.cumsum(lengths_N, dtype=np.int64) - lengths_N
    arrays = (starts_N, lengths_N, _joined(labels, np.int32))
    for name, array in zip(FILES, arrays, strict=True):
        np.save(os.path.join(folder, name), array[order_N])


def _joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def map_table(folder: str) -> TokenTable:
    """Map what `write_table` wrote; the files may be removed afterwards."""
    path = os.path.join(folder, IDS)
    ids_T = np.empty(0, np.int32)
    if os.path.getsize(path):
        ids_T = np.memmap(path, np.int32, mode="r")
    arrays = []
    for name in FILES:
        path = os.path.join(folder, f"{name}.npy")
        arrays.append(np.load(path, mmap_mode="r"))
    return TokenTable(ids_T, *arrays)


def share_table(blocks: Iterable[pa.Table], *, node: int, local_rank: int) -> TokenTable:
    """Let the first worker of each node write the blocks, and all of them map them.

    Every worker of the process group calls it, with the number of its node and its rank there;
    only the first one goes through `blocks`.
    """
    num_workers = torch.distributed.get_world_size()
    places: list[tuple[int, str]] = [(0, "")] * num_workers
    with tempfile.TemporaryDirectory(prefix="rubert-ood-tokens-") as folder:
        if local_rank == 0:
            write_table(folder, blocks)
        mine = (node, folder if local_rank == 0 else "")
        torch.distributed.all_gather_object(places, mine)
        folders = {number: place for number, place in places if place}
        mapped = map_table(folders[node])
        torch.distributed.barrier()
    return mapped
