"""Features of many texts in one Ray Data pass, kept in the object store of the cluster.

Shapes: N ads of all splits, C classes, H hidden.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data.block import BlockAccessor

from rubert_ood import errors
from rubert_ood.ads.labelled_ads import Ads
from rubert_ood.errors import RubertOodError
from rubert_ood.ood.outputs import Outputs, sample_rows
from rubert_ood.progress import Progress
from rubert_ood.ray_session import ACTOR_RETRIES
from rubert_ood.settings import FeatureComputeSettings
from rubert_ood.training import features
from rubert_ood.training.cluster_ads import ClusterAds, blocks_of, rows_of
from rubert_ood.training.features import Reader, Sums
from rubert_ood.training.ray_tasks import results, run_tasks

FAILURE = "failure"
"""Column of a batch that could not be computed."""
SUMMED_BLOCKS, SUMMED_SUMS = 16, 8
"""That one task adds up: sums are of H x H numbers, and few of them should come to the driver."""


class _FeatureActor:
    def __init__(self, reader: Reader, compute: FeatureComputeSettings) -> None:
        import torch  # the tasks below need none

        torch.set_num_threads(int(max(1, compute.cpus_per_worker)))
        self.token_budget = compute.token_budget
        self.failure = ""
        try:
            self.loaded = reader.load(use_gpu=compute.use_gpu)
        except RubertOodError as error:
            # it would lose its class on the way through Ray Data
            self.failure = f"{type(error).__name__} {error}"

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.failure:
            return {FAILURE: np.array([self.failure], object)}
        texts = batch["text"].tolist()
        found = replace(
            self.loaded.read(texts, self.token_budget), labels_N=batch["label"]
        )
        return {"row": batch["row"], **found.arrays()}


@dataclass(frozen=True)
class RayFeatures:
    """Outputs in the object store of the cluster, which spills to disk: the driver holds none."""

    blocks: list[ray.ObjectRef]
    """Tables with columns row, logits, cls, labels, tokens, in order of their rows: the same ads
    give the same sums, to the last bit."""
    rows: dict[str, np.ndarray]
    """Rows of each split, ascending; no row of another one lies between them."""

    @classmethod
    def compute(
        cls,
        splits: Mapping[str, Ads],
        reader: Reader,
        compute: FeatureComputeSettings,
    ) -> "RayFeatures":
        """Run the network in actors; the outputs stay in the object store."""
        texts, rows = _numbered(splits)
        batches = ray.data.from_arrow_refs(texts).map_batches(
            _FeatureActor,
            fn_constructor_args=(reader, compute),
            batch_size=features.BATCH_ADS,  # for a GPU Ray Data wants the number
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=compute.num_workers),
            num_cpus=compute.cpus_per_worker,
            num_gpus=int(compute.use_gpu and reader.precision != "int8"),
            **ACTOR_RETRIES,
        )
        progress = Progress("features", sum(map(len, rows.values())), "ads")
        blocks = list[ray.ObjectRef]()
        for bundle in batches.iter_internal_ref_bundles():
            blocks += bundle.block_refs
            progress.add(bundle.num_rows() or 0)
        return cls(_complete(blocks, rows), rows)

    def gather(self, max_rows: Mapping[str, int] | None = None) -> dict[str, Outputs]:
        """Bring the outputs here by split, those in max_rows as a repeatable sample."""
        limits = max_rows or {}
        outputs = {}
        for name, rows_N in self.rows.items():
            chosen = sample_rows(len(rows_N), limits.get(name, len(rows_N)))
            (picked,) = run_tasks(partial(_pick, rows_N=rows_N[chosen]), self.blocks)
            parts = list(results(picked))
            columns = {}
            for column in parts[0]:
                columns[column] = np.concatenate([part[column] for part in parts])
            order = np.argsort(columns.pop("row"))
            outputs[name] = Outputs.of(columns).take(order)
        return outputs

    def sum_up(
        self, name: str, summarise: Callable[[np.ndarray, np.ndarray], Sums]
    ) -> Sums:
        """Summarise on the workers, and add up there."""
        rows_N = self.rows[name]
        part = partial(
            _sum_of_blocks,
            summarise=summarise,
            span=range(int(rows_N[0]), int(rows_N[-1]) + 1),
            num_ads=features.SUM_ADS,
        )
        (sums,) = run_tasks(part, _groups(self.blocks, SUMMED_BLOCKS))
        while len(sums) > SUMMED_SUMS:
            (sums,) = run_tasks(_sum_of_sums, _groups(sums, SUMMED_SUMS))
        return reduce(add, results(sums))


def _numbered(
    splits: Mapping[str, Ads],
) -> tuple[list[ray.ObjectRef], dict[str, np.ndarray]]:
    """Return the blocks of all splits, and the rows of each.

    Ads of this process have no numbers yet: they get those behind all others.
    """
    start = 0
    for ads in splits.values():
        if isinstance(ads, ClusterAds) and len(ads):
            start = max(start, int(ads.rows_N[-1]) + 1)
    blocks, rows = list[ray.ObjectRef](), {}
    for name, ads in splits.items():
        blocks += blocks_of(ads, start)
        rows[name] = rows_of(ads, start)
        start = max(start, int(rows[name].max(initial=0)) + 1)
    return blocks, rows


def _complete(
    blocks: list[ray.ObjectRef], rows: Mapping[str, np.ndarray]
) -> list[ray.ObjectRef]:
    """Return the blocks in the order of their rows, whichever actor was first.

    Raises what an actor had to say, or RubertOodError when rows got lost.
    """
    wanted = np.concatenate(list(rows.values()))
    seen_N = np.zeros(wanted.max(initial=0) + 1, dtype=np.int16)
    seen_N[wanted] -= 1
    (found,) = run_tasks(_rows_of_block, blocks)
    first_rows = []
    for rows_n in results(found):
        seen_N[rows_n] += 1
        first_rows.append(rows_n.min(initial=len(seen_N)))
    if seen_N.any():
        raise RubertOodError(
            f"{np.count_nonzero(seen_N):,} of {len(wanted):,} feature rows"
            " were lost or doubled. Run the same command again, and report"
            " it"
        )
    return [blocks[place] for place in np.argsort(first_rows, kind="stable")]


def _columns_of(block: pa.Table) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = BlockAccessor.for_block(block).to_numpy()
    return columns


def _rows_of_block(block: pa.Table) -> np.ndarray:
    """Return the rows of a block; raise the error that it brings instead."""
    if FAILURE in block.column_names:
        kind, _, message = str(block[FAILURE][0].as_py()).partition(" ")
        raise getattr(errors, kind)(message)
    return np.asarray(block["row"])


def _pick(block: pa.Table, rows_N: np.ndarray) -> dict[str, np.ndarray]:
    """Return the chosen rows of a block."""
    columns = _columns_of(block)
    mask = np.isin(columns["row"], rows_N)
    return {name: column[mask] for name, column in columns.items()}


def _groups(references: list[ray.ObjectRef], size: int) -> list[list[ray.ObjectRef]]:
    starts = range(0, len(references), size)
    return [references[start : start + size] for start in starts]


def _sum_of_blocks(
    blocks: list[ray.ObjectRef],
    *,
    summarise: Callable[[np.ndarray, np.ndarray], Sums],
    span: range,
    num_ads: int,
) -> Sums:
    """Add up what `summarise` makes of the rows of blocks within a span, so many at a time."""
    sums = list[Sums]()
    for reference in blocks:
        columns = _columns_of(ray.get(reference))
        rows = columns["row"]
        inside = np.flatnonzero((rows >= span.start) & (rows < span.stop))
        for start in range(0, max(1, len(inside)), num_ads):
            chosen = inside[start : start + num_ads]
            part = summarise(columns["cls"][chosen], columns["labels"][chosen])
            sums = [reduce(add, [*sums, part])]
    return sums[0]


def _sum_of_sums(references: list[ray.ObjectRef]) -> Sums:  # type: ignore[type-var]
    return reduce(add, ray.get(references))
