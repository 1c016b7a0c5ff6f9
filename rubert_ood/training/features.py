"""Compute logits and CLS features of many texts in one Ray Data pass, and keep them in the object
store.

Shapes: N ads, C classes, H hidden.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import TypeVar

import numpy as np
import pyarrow as pa
import ray
import ray.data
import torch

from rubert_ood import errors
from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.bundle import Bundle, check_compute, load_bundle
from rubert_ood.classifier import windows
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.errors import RubertOodError
from rubert_ood.ood.outputs import Outputs, sample_rows
from rubert_ood.progress import Progress
from rubert_ood.ray_session import ACTOR_RETRIES, TASK_RETRIES
from rubert_ood.settings import FeatureComputeSettings, Precision, TextSettings

BATCH_ADS = 512
SUM_ADS = 8192
"""Ads of one partial sum: large, since each sum of H x H numbers travels to the driver."""
TOKEN_BUDGET = 4096
FAILURE = "failure"
"""Column of a batch that could not be computed."""

Checkpoint = str | Callable[[], str]
"""Hub name, folder or s3:// URI that every node can read; or what finds a folder on each of
them."""

Sums = TypeVar("Sums")


class _FeatureActor:
    def __init__(
        self,
        checkpoint: Checkpoint,
        text: TextSettings,
        compute: FeatureComputeSettings,
        use_gpu: bool,
        precision: Precision,
    ) -> None:
        torch.set_num_threads(int(max(1, compute.cpus_per_worker)))
        self.text = text
        self.token_budget = compute.token_budget or TOKEN_BUDGET
        self.failure = ""
        try:
            folder = checkpoint if isinstance(checkpoint, str) else checkpoint()
            self.classifier = Classifier.load(folder, use_gpu=use_gpu, precision=precision)
        except RubertOodError as error:  # it would lose its class on the way through Ray Data
            self.failure = f"{type(error).__name__} {error}"

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.failure:
            return {FAILURE: np.array([self.failure], object)}
        texts = windows.cut(self.classifier.tokenizer, batch["text"].tolist(), self.text)
        logits_NC, cls_NH = windows.run(self.classifier, texts, token_budget=self.token_budget)
        return {"row": batch["row"], "label": batch["label"], "logits": logits_NC, "cls": cls_NH}


def _raise_failure(batch: pa.Table) -> None:
    """Raise the error that a batch brings instead of features."""
    if FAILURE in batch.column_names:
        kind, _, message = str(batch[FAILURE][0].as_py()).partition(" ")
        raise getattr(errors, kind)(message)


@dataclass(frozen=True)
class StoredFeatures:
    """Outputs of several parts in the object store of the cluster, which spills to disk: the driver
    holds none."""

    dataset: ray.data.Dataset
    """Columns row, label, logits, cls."""
    spans: dict[str, range]
    """Rows of each part."""

    def gather(self, max_rows: Mapping[str, int] | None = None) -> dict[str, Outputs]:
        """Bring every part to the driver, in the order given; of the parts in max_rows a seeded
        sample of so many."""
        limits = {name: len(span) for name, span in self.spans.items()} | dict(max_rows or {})
        chosen = {
            name: span.start + sample_rows(len(span), limits[name])
            for name, span in self.spans.items()
        }
        wanted = np.zeros(max((span.stop for span in self.spans.values()), default=0), dtype=bool)
        for rows in chosen.values():
            wanted[rows] = True
        kept = []
        for batch in self.dataset.iter_batches(batch_size=None, batch_format="numpy"):
            mask = wanted[batch["row"]]
            kept.append({name: column[mask] for name, column in batch.items()})
        columns = {name: np.concatenate([batch[name] for batch in kept]) for name in kept[0]}
        order = np.argsort(columns["row"])
        columns = {name: column[order] for name, column in columns.items()}
        features = {}
        for name, rows in chosen.items():
            here = (
                slice(*np.searchsorted(columns["row"], [rows[0], rows[-1] + 1]))
                if len(rows)
                else slice(0, 0)
            )
            features[name] = Outputs(
                columns["logits"][here], columns["cls"][here], columns["label"][here]
            )
        return features

    def sum_up(self, name: str, summarise: Callable[[np.ndarray, np.ndarray], Sums]) -> Sums:
        """Add up what `summarise`, on the workers, makes of CLS (n, H) and labels (n,) of each
        batch of a part."""
        span = self.spans[name]

        def partial_sum(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            inside = (batch["row"] >= span.start) & (batch["row"] < span.stop)
            sums = np.empty(1, dtype=object)
            sums[0] = summarise(batch["cls"][inside], batch["label"][inside])
            return {"sums": sums}

        sums = self.dataset.map_batches(
            partial_sum, batch_size=SUM_ADS, batch_format="numpy", **TASK_RETRIES
        )
        return reduce(add, (row["sums"] for row in sums.iter_rows()))


def compute_features(
    parts: Mapping[str, LabelledAds],
    checkpoint: Checkpoint,
    *,
    text: TextSettings,
    compute: FeatureComputeSettings,
    precision: Precision,
) -> StoredFeatures:
    """Run every part through the model, each row once; the checkpoint is looked for on every node.

    int8 is computed on CPU, also by workers that have a GPU. Raises RubertOodError when rows get
    lost, and what a worker raised when it loaded the checkpoint.
    """
    use_gpu = compute.use_gpu and precision != "int8"
    texts = [text for ads in parts.values() for text in ads.texts]
    labels_N = np.concatenate([ads.labels_N for ads in parts.values()])
    table = pa.table(
        {"row": np.arange(len(texts)), "label": labels_N, "text": pa.array(texts, pa.string())}
    )
    options = ACTOR_RETRIES | {"num_cpus": compute.cpus_per_worker, "num_gpus": int(use_gpu)}
    batches = ray.data.from_arrow(_cut(table)).map_batches(
        _FeatureActor,
        fn_constructor_args=(checkpoint, text, compute, use_gpu, precision),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=compute.num_workers),
        **options,
    )
    progress = Progress("features", len(texts), "ads")
    seen = np.zeros(len(texts), dtype=np.uint8)
    blocks = []
    for batch in batches.iter_batches(batch_size=None, batch_format="pyarrow"):
        _raise_failure(batch)
        seen[np.asarray(batch["row"])] += 1
        blocks.append(ray.put(batch))
        progress.add(batch.num_rows)
    if not (seen == 1).all():
        raise RubertOodError(
            f"features of {len(texts)} ads: {(seen != 1).sum()} rows were lost or doubled"
        )
    return StoredFeatures(ray.data.from_arrow_refs(blocks), _spans(parts))


def _cut(table: pa.Table) -> list[pa.Table]:
    return [table.slice(start, BATCH_ADS) for start in range(0, table.num_rows, BATCH_ADS)]


def _spans(parts: Mapping[str, LabelledAds]) -> dict[str, range]:
    stops = np.cumsum([len(ads) for ads in parts.values()]).tolist()
    return {
        name: range(stop - len(ads), stop)
        for (name, ads), stop in zip(parts.items(), stops, strict=True)
    }


def bundle_outputs(
    bundle: Bundle, parts: Mapping[str, LabelledAds], compute: FeatureComputeSettings
) -> dict[str, Outputs]:
    """Run every part through the network of a bundle as scoring does; Ray must have been
    started.

    Raises SettingsError when the bundle was not fitted for such hardware or precision.
    """
    check_compute(bundle, compute)
    features = compute_features(
        parts,
        partial(_checked_folder, bundle.uri, bundle.fingerprint),
        text=bundle.text,
        compute=compute,
        precision=bundle.precision,
    )
    return features.gather()


def _checked_folder(uri: str, fingerprint: str) -> str:
    """Return the folder of a bundle on this node, checked here as well."""
    return load_bundle(uri, fingerprint=fingerprint).folder
