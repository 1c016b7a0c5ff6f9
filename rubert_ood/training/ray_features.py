"""Features of many texts in one Ray Data pass, kept in the object store of the cluster.

Shapes: N ads of all splits, C classes, H hidden.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
import ray
import ray.data
import torch

from rubert_ood import errors
from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.errors import RubertOodError
from rubert_ood.ood.outputs import Outputs, sample_rows
from rubert_ood.progress import Progress
from rubert_ood.ray_session import ACTOR_RETRIES, TASK_RETRIES
from rubert_ood.settings import FeatureComputeSettings
from rubert_ood.training import features
from rubert_ood.training.features import Reader, Sums

FAILURE = "failure"
"""Column of a batch that could not be computed."""


class _FeatureActor:
    def __init__(self, reader: Reader, compute: FeatureComputeSettings) -> None:
        torch.set_num_threads(int(max(1, compute.cpus_per_worker)))
        self.reader, self.token_budget = reader, compute.token_budget
        self.failure = ""
        try:
            self.classifier = reader.load(use_gpu=compute.use_gpu)
        except RubertOodError as error:
            # it would lose its class on the way through Ray Data
            self.failure = f"{type(error).__name__} {error}"

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.failure:
            return {FAILURE: np.array([self.failure], object)}
        logits_nC, cls_nH = self.reader.read(
            self.classifier, batch["text"].tolist(), self.token_budget
        )
        return {
            "row": batch["row"],
            "label": batch["label"],
            "logits": logits_nC,
            "cls": cls_nH,
        }


def _raise_failure(batch: pa.Table) -> None:
    """Raise the error that a batch brings instead of features."""
    if FAILURE in batch.column_names:
        kind, _, message = str(batch[FAILURE][0].as_py()).partition(" ")
        raise getattr(errors, kind)(message)


@dataclass(frozen=True)
class RayFeatures:
    """Outputs in the object store of the cluster, which spills to disk: the driver holds none."""

    dataset: ray.data.Dataset
    """Columns row, label, logits, cls."""
    spans: dict[str, range]
    """Rows of each split."""

    @classmethod
    def compute(
        cls,
        splits: Mapping[str, LabelledAds],
        reader: Reader,
        compute: FeatureComputeSettings,
    ) -> "RayFeatures":
        """Run the network in actors; the outputs stay in the object store."""
        table = _table(splits)
        batches = ray.data.from_arrow(
            _cut(table)
        ).map_batches(
            _FeatureActor,
            fn_constructor_args=(reader, compute),
            batch_size=features.BATCH_ADS,  # a whole block; for a GPU Ray Data wants the number
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=compute.num_workers),
            num_cpus=compute.cpus_per_worker,
            num_gpus=int(compute.use_gpu and reader.precision != "int8"),
            **ACTOR_RETRIES,
        )
        progress = Progress("features", table.num_rows, "ads")
        seen_N = np.zeros(table.num_rows, dtype=np.uint8)
        blocks = []
        for batch in batches.iter_batches(batch_size=None, batch_format="pyarrow"):
            _raise_failure(batch)
            seen_N[np.asarray(batch["row"])] += 1
            blocks.append(ray.put(batch))
            progress.add(batch.num_rows)
        if not (seen_N == 1).all():
            raise RubertOodError(
                f"features of {len(seen_N)} ads:"
                f" {(seen_N != 1).sum()} rows were lost or doubled"
            )
        return cls(ray.data.from_arrow_refs(blocks), _spans(splits))

    def gather(self, max_rows: Mapping[str, int] | None = None) -> dict[str, Outputs]:
        """Bring the outputs here by split, those in max_rows as a repeatable sample."""
        limits = max_rows or {}
        chosen = {}
        for name, span in self.spans.items():
            chosen[name] = span.start + sample_rows(
                len(span), limits.get(name, len(span))
            )
        columns = self._columns(np.concatenate(list(chosen.values())))
        outputs = {}
        for name, rows in chosen.items():
            here = np.searchsorted(columns["row"], rows)
            outputs[name] = Outputs(
                columns["logits"][here], columns["cls"][here], columns["label"][here]
            )
        return outputs

    def _columns(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Bring these rows to the driver, ascending."""
        wanted_N = np.zeros(max(span.stop for span in self.spans.values()), dtype=bool)
        wanted_N[rows] = True
        kept = []
        for batch in self.dataset.iter_batches(batch_size=None, batch_format="numpy"):
            mask = wanted_N[batch["row"]]
            kept.append({name: column[mask] for name, column in batch.items()})
        order = np.argsort(np.concatenate([batch["row"] for batch in kept]))
        columns = {}
        for name in kept[0]:
            columns[name] = np.concatenate([batch[name] for batch in kept])[order]
        return columns

    def sum_up(
        self, name: str, summarise: Callable[[np.ndarray, np.ndarray], Sums]
    ) -> Sums:
        """Summarise on the workers."""
        span = self.spans[name]

        def partial_sum(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            inside = (batch["row"] >= span.start) & (batch["row"] < span.stop)
            sums = np.empty(1, dtype=object)
            sums[0] = summarise(batch["cls"][inside], batch["label"][inside])
            return {"sums": sums}

        sums = self.dataset.map_batches(
            partial_sum, batch_size=features.SUM_ADS, batch_format="numpy", **TASK_RETRIES
        )
        return reduce(add, (row["sums"] for row in sums.iter_rows()))


def _table(splits: Mapping[str, LabelledAds]) -> pa.Table:
    """Put the texts of all splits one below the other, with the number of their row."""
    texts = list[str]()
    for ads in splits.values():
        texts += ads.texts
    labels_N = np.concatenate([ads.labels_N for ads in splits.values()])
    rows_N = np.arange(len(texts))
    return pa.table(
        {"row": rows_N, "label": labels_N, "text": pa.array(texts, pa.string())}
    )


def _cut(table: pa.Table) -> list[pa.Table]:
    starts = range(0, table.num_rows, features.BATCH_ADS)
    return [table.slice(start, features.BATCH_ADS) for start in starts]


def _spans(splits: Mapping[str, LabelledAds]) -> dict[str, range]:
    spans, start = {}, 0
    for name, ads in splits.items():
        spans[name] = range(start, start + len(ads))
        start += len(ads)
    return spans
