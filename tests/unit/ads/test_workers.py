import numpy as np
import pyarrow as pa

from rubert_ood.ads.ad_block import ad_block
from rubert_ood.ads.workers import LocalWorkers


def _blocks(number: int) -> list[pa.Table]:
    rows = np.array([10 - number, 20 + number])
    return [
        ad_block(rows, np.array([number, 0]), [f"а{number}", f"б{number}"]),
        ad_block(rows[:1], np.array([1]), [f"в{number}"]),
    ]


def test_local_workers_join_the_blocks_of_each_split_by_row():
    first, second = LocalWorkers().make_ads(_blocks, [0, 1, 2])
    assert first.texts == ["а2", "а1", "а0", "б0", "б1", "б2"]
    assert first.labels_N.tolist() == [2, 1, 0, 0, 0, 0]
    assert second.texts == ["в2", "в1", "в0"]


def test_local_workers_map_keeps_the_order():
    assert list(LocalWorkers().map(str, [3, 1, 2])) == ["3", "1", "2"]
