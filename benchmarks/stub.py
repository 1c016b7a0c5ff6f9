"""A bundle of any shape with random weights: right in form and in cost, knows nothing."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from rubert_ood.ads.dataset import build_cleaner, clean_labelled
from rubert_ood.bundle import BundleContent, write_bundle
from rubert_ood.classifier.checkpoint import load_network, load_pretrained_tokenizer
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.precision import Device, choose_device
from rubert_ood.classifier.tokenizer import load_tokenizer
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.ood.fit import fit
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import (
    CleanerSettings,
    DecisionSettings,
    FitSettings,
    TextSettings,
)
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.synthetic.small_bert import BertShape, build_small_bert

VOCABULARY, MAX_LENGTH = 30_000, 196
SHAPES = {
    "base": BertShape(
        VOCABULARY, 768, num_layers=12, num_heads=12, intermediate_size=3072
    ),
    "small": BertShape(
        VOCABULARY, 312, num_layers=3, num_heads=12, intermediate_size=600
    ),
}
STUB_LENGTH, STUB = 48, BertShape(3000, 32, num_layers=1, num_heads=2)
NUM_ADS, NUM_SCORED, ROWS_PER_CLASS = 10_000, 200, 20


def build_bundle(
    folder: Path,
    shape: BertShape,
    *,
    max_length: int,
    device: Device | None = None,
    num_ads: int = NUM_ADS,
) -> str:
    """Write a bundle whose vocabulary comes from so many generated ads, fitted on the device
    (default: CPU).

    The statistics are fitted on the CLS vectors of a few ads with noise: a real pass over a train
    split would take the base shape minutes, and costs nothing else.
    """
    ads = pa.Table.from_batches(list(generate_ads(num_ads, seed=1, balanced=True)))
    labels = sorted(set(ads["category"].to_pylist()))
    cleaner = build_cleaner(ads, CleanerSettings())
    texts = clean_labelled(ads, cleaner, labels).texts
    base = build_small_bert(texts, str(folder / "base"), shape)
    tokenizer, network = load_tokenizer(base), load_network(base, labels)
    network.save_pretrained(folder / "checkpoint")
    load_pretrained_tokenizer(base).save_pretrained(folder / "checkpoint")
    device = device or choose_device(False)
    classifier = Classifier(network, tokenizer, device)
    logits_NC, cls_NH, _ = classifier.run(
        tokenize(tokenizer, texts[:NUM_SCORED], max_length), token_budget=4096
    )
    rng = np.random.default_rng(0)
    labels_N = np.repeat(np.arange(len(labels)), ROWS_PER_CLASS)
    chosen = rng.integers(0, NUM_SCORED, len(labels_N))
    noisy_NH = cls_NH[chosen] + rng.normal(
        scale=cls_NH.std(), size=(len(labels_N), cls_NH.shape[1])
    )
    fitted = fit(
        fit_mahalanobis(noisy_NH, labels_N, len(labels)),
        Outputs(logits_NC[chosen], noisy_NH, labels_N),
        labels=labels,
        settings=FitSettings(),
        decision=DecisionSettings(),
    )
    content = BundleContent(
        checkpoint_dir=str(folder / "checkpoint"),
        fitted=fitted,
        cleaner=cleaner,
        text=TextSettings(max_length=max_length),
        documents={"README.md": "stub"},
        precision=device.precision,
    )
    return write_bundle(str(folder / "bundle"), content).uri
