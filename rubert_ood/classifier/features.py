"""Gather logits and CLS features of many texts on the driver, in one Ray Data pass.

Shapes: N ads, C classes, H hidden.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray.data
import torch

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.classifier import windows
from rubert_ood.classifier.model import Classifier
from rubert_ood.cluster import ACTOR_RETRIES
from rubert_ood.errors import RubertOodError
from rubert_ood.progress import Progress
from rubert_ood.settings import LongTextSettings, Precision, WorkerSettings

BATCH_ADS = 512
TOKEN_BUDGET = 4096


@dataclass(frozen=True)
class Features:
    logits_NC: np.ndarray
    """float32 (N, C)."""
    cls_NH: np.ndarray
    """float32 (N, H), CLS of the last layer."""
    labels_N: np.ndarray
    """int64 (N,); -1 where no label is known."""


class _FeatureActor:
    def __init__(
        self,
        checkpoint_uri: str,
        max_length: int,
        long_text: LongTextSettings,
        use_gpu: bool,
        precision: Precision,
        num_threads: int,
    ) -> None:
        torch.set_num_threads(num_threads)
        self.classifier = Classifier.load(checkpoint_uri, use_gpu=use_gpu, precision=precision)
        self.max_length = max_length
        self.long_text = long_text

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        texts = windows.cut(
            self.classifier.tokenizer, batch["text"].tolist(), max_length=self.max_length, long_text=self.long_text
        )
        logits_NC, cls_NH = windows.run(self.classifier, texts, token_budget=TOKEN_BUDGET)
        return {"row": batch["row"], "logits": logits_NC, "cls": cls_NH}


def gather_features(
    parts: Mapping[str, LabelledAds],
    checkpoint_uri: str,
    *,
    max_length: int,
    long_text: LongTextSettings,
    workers: WorkerSettings,
    precision: Precision,
) -> dict[str, Features]:
    """Score every part; each row once, in the order given. The checkpoint must be readable on every node.

    int8 is computed on CPU, also by workers that have a GPU.
    """
    use_gpu = workers.use_gpu and precision != "int8"
    texts = [text for ads in parts.values() for text in ads.texts]
    table = pa.table({"row": np.arange(len(texts)), "text": pa.array(texts, pa.string())})
    options = ACTOR_RETRIES | {"num_cpus": workers.cpus_per_worker, "num_gpus": int(use_gpu)}
    batches = ray.data.from_arrow(_cut(table)).map_batches(
        _FeatureActor,
        fn_constructor_args=(
            checkpoint_uri,
            max_length,
            long_text,
            use_gpu,
            precision,
            int(max(1, workers.cpus_per_worker)),
        ),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=workers.num_workers),
        **options,
    )
    progress = Progress("features", len(texts), "ads")
    gathered = []
    for batch in batches.iter_batches(batch_size=None, batch_format="numpy"):
        gathered.append(batch)
        progress.add(len(batch["row"]))
    return _in_order(gathered, parts, len(texts))


def _cut(table: pa.Table) -> list[pa.Table]:
    return [table.slice(start, BATCH_ADS) for start in range(0, table.num_rows, BATCH_ADS)]


def _in_order(
    batches: Sequence[dict[str, np.ndarray]], parts: Mapping[str, LabelledAds], total: int
) -> dict[str, Features]:
    rows_N = np.concatenate([batch["row"] for batch in batches])
    order_N = np.argsort(rows_N)
    if not np.array_equal(rows_N[order_N], np.arange(total)):
        raise RubertOodError(f"gathered {len(rows_N)} feature rows for {total} ads: rows were lost or doubled")
    logits_NC = np.concatenate([batch["logits"] for batch in batches])[order_N]
    cls_NH = np.concatenate([batch["cls"] for batch in batches])[order_N]
    features, start = {}, 0
    for name, ads in parts.items():
        stop = start + len(ads)
        features[name] = Features(logits_NC[start:stop], cls_NH[start:stop], ads.labels_N)
        start = stop
    return features
