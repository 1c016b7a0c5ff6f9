"""Cut the shards of a run into files of about the size that is asked for."""

from collections.abc import Callable, Mapping

import numpy as np

from rubert_ood import storage
from rubert_ood.errors import PartialRunError
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import Receipt
from rubert_ood.runs.seals import Layout, find_layout, layout_uri

MB = 10**6


def settled_layout(
    plan: Plan, receipts: Mapping[str, Receipt], check_claim: Callable[[], object]
) -> Layout:
    """Return the layout of a run; make it if this is the first start that seals.

    It is created once: of two starts the one that is first wins, and both seal by what is there.
    """
    found = find_layout(plan)
    if found is None:
        check_claim()
        own = Layout(fingerprint=plan.fingerprint, starts=cut_files(plan, receipts))
        storage.create_bytes(layout_uri(plan.run_uri), storage.to_json(own))
        found = find_layout(plan)
    if found is None:
        raise PartialRunError(
            f"{layout_uri(plan.run_uri)}: this file belongs to another run."
            " Delete it, then run the same command again to resume"
        )
    return found


def cut_files(plan: Plan, receipts: Mapping[str, Receipt]) -> list[int]:
    """Return the first shard of each file, so that all have about as many bytes of parts.

    A sealed file has about as many as its parts together.
    """
    sizes = []
    for shard in plan.shards:
        receipt = receipts.get(shard.shard_id)
        sizes.append(receipt.part_bytes if receipt else 0)
    ends_N = np.cumsum(sizes, dtype=np.int64)
    total = int(ends_N[-1])
    num_files = max(1, round(total / ((plan.target_file_mb or 1) * MB)))
    middles_N = ends_N - np.asarray(sizes) / 2
    file_N = np.minimum(middles_N * num_files // max(total, 1), num_files - 1)
    _, starts = np.unique(file_N, return_index=True)
    return starts.tolist()
