"""Two bundles of which one is worse, and ads labelled by what the better one says of them."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from rubert_ood.bundle import Bundle, BundleContent, load_bundle, write_bundle
from rubert_ood.predictor import Model
from rubert_ood.settings import ComputeSettings, PromoteSettings, PromotionLimits
from tests.conftest import write_parquet

OPEN = PromotionLimits(
    min_test_ads=1,
    min_accuracy=0,
    min_macro_f1=0,
    max_ece=1,
    max_false_alarms=1,
    max_other_rate=1,
    min_ood_auroc=0,
    max_accuracy_loss=1,
    max_macro_f1_loss=1,
    max_class_f1_loss=1,
    max_ece_rise=1,
    max_false_alarm_rise=1,
    max_other_rise=1,
    max_ood_auroc_loss=1,
    max_churn=1,
    min_speed_ratio=0,
)
"""Limits that everything keeps."""
CHECKPOINT = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)


def copied(bundle: Bundle, folder: Path, version: str, *, noise: float = 0.0) -> Bundle:
    """Write another version of a bundle; with noise on the head it answers otherwise."""
    checkpoint = folder / f"checkpoint-{version}"
    checkpoint.mkdir(parents=True)
    for name in CHECKPOINT:
        shutil.copy(os.path.join(bundle.folder, name), checkpoint / name)
    weights = load_file(checkpoint / "model.safetensors")
    head = weights["classifier.weight"]
    random = np.random.default_rng(5).normal(size=head.shape).astype(head.dtype)
    weights["classifier.weight"] = head + noise * head.std() * random
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    content = BundleContent(
        checkpoint_dir=str(checkpoint),
        fitted=bundle.fitted,
        cleaner=bundle.cleaner,
        text=bundle.text,
        documents={"README.md": f"{version}\n"},
    )
    return write_bundle(str(folder / "bundles" / version), content)


def labelled(bundle: Bundle, ads: pa.Table) -> pa.Table:
    """Label ads by the best class that a bundle says, but every tenth by another one."""
    rows = Model(bundle).predict(ads.select(["title", "description"]))
    labels = []
    for number, best in enumerate(rows["topk_labels"].to_pylist()):
        labels.append(best[number % 10 == 0] if best else bundle.fitted.labels[0])
    position = ads.schema.names.index("category")
    return ads.set_column(position, "category", pa.array(labels))


NUM_TEST, NUM_SAMPLE = 200, 120


@dataclass(frozen=True)
class Pair:
    """Two bundles in one folder, and the files that they are compared on."""

    folder: Path
    good: Bundle
    bad: Bundle
    test: pa.Table

    @property
    def root(self) -> str:
        return str(self.folder / "bundles")

    def settings(self, bundle: Bundle, **changes) -> PromoteSettings:
        given = {
            "bundle_uri": bundle.uri,
            "test_uri": str(self.folder / "test.parquet"),
            "sample_uri": str(self.folder / "catalogue"),
            "sample_ads": 100,
            "evaluation": {"ood_uri": str(self.folder / "ood.parquet")},
            "compute": ComputeSettings(token_budget=1024),
            "limits": OPEN,
        }
        return PromoteSettings(**given | changes)

    def copy(self, folder: Path) -> "Pair":
        """The same in another folder, for a test that promotes."""
        shutil.copytree(self.folder, folder)
        uris = [str(folder / "bundles" / name) for name in ("good", "bad")]
        return Pair(folder, *map(load_bundle, uris), self.test)


def make_pair(bundle: Bundle, ads: pa.Table, folder: Path) -> Pair:
    good = copied(bundle, folder, "good")
    bad = copied(bundle, folder, "bad", noise=1.0)
    test = labelled(good, ads.slice(0, NUM_TEST))
    write_parquet(folder / "test.parquet", test)
    sample = ads.slice(NUM_TEST, NUM_SAMPLE).drop_columns(["category"])
    write_parquet(folder / "catalogue" / "a.parquet", sample.slice(0, 50))
    write_parquet(folder / "catalogue" / "b.parquet", sample.slice(50))
    ood = pa.table(
        {"text": ["qqq zzz", "раз два три", "сдам урок"], "kind": ["шум", "счёт", "счёт"]}
    )
    write_parquet(folder / "ood.parquet", ood)
    return Pair(folder, good, bad, test)
