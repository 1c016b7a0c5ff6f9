"""Compute logits and CLS features of many texts, on Ray or in this process.

Shapes: N ads of all splits, n ads of a batch, C classes, H hidden.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import numpy as np

from rubert_ood.ads.labelled_ads import Ads
from rubert_ood.bundle import Bundle, check_compute, load_bundle
from rubert_ood.classifier import windows
from rubert_ood.classifier.stack import Stack
from rubert_ood.ood.outputs import Outputs, sample_rows
from rubert_ood.predictor import TOKEN_BUDGET
from rubert_ood.progress import Progress
from rubert_ood.settings import FeatureComputeSettings, Precision, TextSettings

if TYPE_CHECKING:
    from rubert_ood.classifier.classifier import Classifier

BATCH_ADS = 512
SUM_ADS = 8192
"""Ads of one partial sum: large, since each sum of H x H numbers travels to the driver."""

Checkpoint = str | Callable[[], Bundle]
"""Hub name, folder or s3:// URI that every node can read; or what finds a bundle on each of
them."""

Sums = TypeVar("Sums")


class Features(Protocol):
    """Outputs of several splits, wherever they lie."""

    def gather(self, max_rows: Mapping[str, int] | None = None) -> dict[str, Outputs]:
        """Return every split in order; of those in max_rows a seeded sample of so many."""

    def sum_up(
        self, name: str, summarise: Callable[[np.ndarray, np.ndarray], Sums]
    ) -> Sums:
        """Add up what `summarise` makes of CLS (n, H) and labels (n,) of each batch of a split."""


@dataclass(frozen=True)
class Reader:
    """How texts are read: by which network, how much of them, and in which numbers."""

    checkpoint: Checkpoint
    text: TextSettings
    precision: Precision

    def load(self, *, use_gpu: bool) -> "LoadedReader":
        """Load the network here, and the stack of a bundle; int8 is computed on CPU."""
        from rubert_ood.classifier.classifier import Classifier

        where, tokenizer, stack = self.checkpoint, None, None
        if not isinstance(where, str):
            bundle = where()
            where, tokenizer, stack = bundle.folder, bundle.tokenizer(), bundle.stack
        classifier = Classifier.load(
            where,
            tokenizer,
            use_gpu=use_gpu and self.precision != "int8",
            precision=self.precision,
        )
        return LoadedReader(classifier, self.text, stack)


@dataclass(frozen=True, eq=False)
class LoadedReader:
    """A network at hand, and how texts are read."""

    classifier: "Classifier"
    text: TextSettings
    stack: Stack | None

    def read(self, texts: list[str], token_budget: int | None) -> Outputs:
        """Return what the network says of the texts, as it is decided on, without labels."""
        classifier = self.classifier
        cut = windows.cut(classifier.tokenizer, texts, self.text, self.stack)
        usual = TOKEN_BUDGET[classifier.device.device.type == "cuda"]
        return windows.run(classifier, cut, token_budget=token_budget or usual)


def compute_features(
    splits: Mapping[str, Ads],
    reader: Reader,
    *,
    compute: FeatureComputeSettings,
    executor: Literal["ray", "local"],
) -> Features:
    """Run every split through the model, each row once. For `ray`, Ray must have been started.

    Raises RubertOodError when rows get lost, and what a worker raised when it loaded the
    checkpoint, which is looked for on every node.
    """
    if executor == "local":
        return LocalFeatures.compute(splits, reader, compute)
    from rubert_ood.training.ray_features import RayFeatures

    return RayFeatures.compute(splits, reader, compute)


@dataclass(frozen=True)
class LocalFeatures:
    """Outputs in the memory of this process."""

    outputs: dict[str, Outputs]

    @classmethod
    def compute(
        cls,
        splits: Mapping[str, Ads],
        reader: Reader,
        compute: FeatureComputeSettings,
    ) -> "LocalFeatures":
        """Run the network here, one split after the other."""
        loaded = reader.load(use_gpu=compute.use_gpu)
        progress = Progress("features", sum(len(ads) for ads in splits.values()), "ads")
        outputs = {}
        for name, ads in splits.items():
            parts = list[Outputs]()
            for start in range(0, len(ads), BATCH_ADS):
                texts = list(ads.texts[start : start + BATCH_ADS])
                parts.append(loaded.read(texts, compute.token_budget))
                progress.add(len(texts))
            outputs[name] = replace(Outputs.concat(parts), labels_N=ads.labels_N)
        return cls(outputs)

    def gather(self, max_rows: Mapping[str, int] | None = None) -> dict[str, Outputs]:
        """Return the outputs by split, those in max_rows as a repeatable sample of so many rows."""
        limits = max_rows or {}
        chosen = {}
        for name, split in self.outputs.items():
            chosen[name] = split.take(
                sample_rows(len(split), limits.get(name, len(split)))
            )
        return chosen

    def sum_up(
        self, name: str, summarise: Callable[[np.ndarray, np.ndarray], Sums]
    ) -> Sums:
        """Add up what `summarise` makes of CLS (n, H) and labels (n,), n at most SUM_ADS."""
        split = self.outputs[name]
        starts = range(0, len(split), SUM_ADS)
        slices = [slice(start, start + SUM_ADS) for start in starts]
        return reduce(
            add, (summarise(split.cls_NH[rows], split.labels_N[rows]) for rows in slices)
        )


def bundle_outputs(
    bundle: Bundle,
    splits: Mapping[str, Ads],
    *,
    compute: FeatureComputeSettings,
    executor: Literal["ray", "local"],
) -> dict[str, Outputs]:
    """Run every split through a bundle as scoring does, its stack included.

    Raises SettingsError when the bundle was not fitted for such hardware or numeric precision.
    """
    check_compute(bundle, compute)
    reader = Reader(
        checkpoint=partial(_checked_bundle, bundle.uri, bundle.fingerprint),
        text=bundle.text,
        precision=bundle.precision,
    )
    return compute_features(splits, reader, compute=compute, executor=executor).gather()


def _checked_bundle(uri: str, fingerprint: str) -> Bundle:
    """Return the bundle on this node, checked here as well."""
    return load_bundle(uri, fingerprint=fingerprint)
