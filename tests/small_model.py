"""A tiny BERT, a bundle made from it, and the plain one-ad-at-a-time computation that both are
compared with."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import made_once
from tests.unit.messy_runs import (
    by_the_rule,
    full_run,
    make_run,
    messy_rows,
    messy_table,
    older_run,
    run,
)

LABELS = ["Животные", "Квартиры", "Мебель", "Одежда", "Шины и диски"]
MAX_LENGTH = 64


@pytest.fixture(scope="session")
def ads() -> pa.Table:
    """500 generated ads of all 50 categories."""
    from rubert_ood.synthetic.catalogue import generate_ads

    return pa.Table.from_batches(generate_ads(500, seed=7, balanced=True))


@pytest.fixture(scope="session")
def ad_texts(ads) -> list[str]:
    from rubert_ood.ads.text import TextCleaner, ad_text

    cleaner = TextCleaner(cities=set(ads["city"].to_pylist()))
    pairs = zip(ads["title"].to_pylist(), ads["description"].to_pylist(), strict=True)
    return [cleaner.clean(ad_text(*pair)) for pair in pairs]


@pytest.fixture(scope="session")
def small_checkpoint(ad_texts, tmp_path_factory) -> str:
    """A random BERT (H 32, 1000 word pieces) with a head of 5 classes, centred so that its answers
    differ by ad."""

    def build(folder: Path) -> None:
        build_small_checkpoint(ad_texts, str(folder))

    return str(made_once(tmp_path_factory, "checkpoint", build))


def build_small_checkpoint(ad_texts: list[str], folder: str) -> None:
    """Write it into the folder."""
    import torch
    from transformers import AutoTokenizer

    from rubert_ood.classifier.checkpoint import load_network
    from rubert_ood.synthetic.small_bert import BertShape, build_small_bert

    build_small_bert(ad_texts, folder, BertShape(1000, hidden_size=32))
    torch.manual_seed(0)
    network = load_network(folder, LABELS).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(
        ad_texts,
        truncation=True,
        max_length=MAX_LENGTH,
        padding=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        for name, weight in network.bert.named_parameters():
            if weight.ndim == 2:
                weight.mul_(16 if "encoder" in name else 2)
        pooled_NH = network.bert(**inputs).pooler_output
        network.classifier.weight.normal_().mul_(0.2 / pooled_NH.std(0))
        network.classifier.bias.copy_(-network.classifier.weight @ pooled_NH.mean(0))
    network.save_pretrained(folder)


def padded_classifier(folder: str):
    """Return a classifier that takes the way of other architectures: the BERT of transformers, in
    batches that are filled up."""
    from rubert_ood.classifier import packed
    from rubert_ood.classifier.checkpoint import load_network
    from rubert_ood.classifier.classifier import Classifier
    from rubert_ood.classifier.precision import choose_device
    from rubert_ood.classifier.tokenizer import load_tokenizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "can_pack", lambda _: False)
        network = load_network(folder).train()  # which the classifier ends
        return Classifier(network, load_tokenizer(folder), choose_device(False))


@pytest.fixture(scope="session")
def one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, list[str], int], tuple[np.ndarray, ...]]:
    """Return logits (N, C), CLS (N, H) and the mean (N, H) of the tokens before the last layer as
    plain transformers gives them, one text at a time, without padding.

    The same files and texts are computed once for all processes of tests.
    """

    def run(folder: str, texts: list[str], max_length: int) -> tuple[np.ndarray, ...]:
        def compute(place: Path) -> None:
            arrays = outputs_one_by_one(folder, texts, max_length)
            np.savez(place / "outputs.npz", *arrays)

        key = hashlib.sha256(repr((texts, max_length)).encode())
        for path in sorted(Path(folder).iterdir()):
            if path.is_file():
                key.update(
                    path.name.encode() + hashlib.sha256(path.read_bytes()).digest()
                )
        name = f"one_by_one_{key.hexdigest()}"
        with np.load(made_once(tmp_path_factory, name, compute) / "outputs.npz") as kept:
            return tuple(kept[array] for array in kept.files)

    return run


def outputs_one_by_one(
    folder: str, texts: list[str], max_length: int
) -> tuple[np.ndarray, ...]:
    """Compute what `one_by_one` returns."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    logits, cls, tokens = [], [], []
    for text in texts:
        inputs = tokenizer(
            text, truncation=True, max_length=max_length, return_tensors="pt"
        )
        with torch.no_grad():
            output = network(**inputs, output_hidden_states=True)
        logits.append(output.logits[0].numpy())
        cls.append(output.hidden_states[-1][0, 0].numpy())
        tokens.append(output.hidden_states[-2][0].mean(dim=0).numpy())
    return np.array(logits), np.array(cls), np.array(tokens)


@pytest.fixture(scope="session")
def fitted(small_checkpoint, ad_texts, one_by_one):
    """A fit on the checkpoint's own features; its rule is loose, so that every kind of decision
    occurs."""
    from scipy.special import softmax

    from rubert_ood.ood.fit import fit
    from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
    from rubert_ood.ood.outputs import Outputs
    from rubert_ood.settings import DecisionSettings, FitSettings

    logits_NC, cls_NH, _ = one_by_one(small_checkpoint, ad_texts, MAX_LENGTH)
    rng = np.random.default_rng(0)
    labels_N = np.array([rng.choice(5, p=p) for p in softmax(logits_NC / 1.5, axis=1)])
    return fit(
        fit_mahalanobis(cls_NH[:400], labels_N[:400], len(LABELS)),
        Outputs(logits_NC[400:], cls_NH[400:], labels_N[400:]),
        labels=LABELS,
        settings=FitSettings(threshold_quantile=0.8),
        decision=DecisionSettings(
            alpha=1.0, z_thr=0.5, ood_conf_gate=0.9, tau_other=0.36, top_k=3
        ),
    )


@pytest.fixture(scope="session")
def bundle(small_checkpoint, fitted, ads, tmp_path_factory):
    from rubert_ood.ads.text import TextCleaner
    from rubert_ood.bundle import BundleContent, write_bundle
    from rubert_ood.settings import TextSettings

    return write_bundle(
        os.path.join(tmp_path_factory.mktemp("bundles"), "v1"),
        BundleContent(
            checkpoint_dir=small_checkpoint,
            fitted=fitted,
            cleaner=TextCleaner(cities=set(ads["city"].to_pylist())),
            text=TextSettings(max_length=MAX_LENGTH),
            documents={"README.md": "Карточка\n", "evaluation.json": "{}"},
        ),
    )


@pytest.fixture(scope="session")
def word_labels(ads) -> np.ndarray:
    """Five classes, of ten categories each, which words can tell: int64 (500,)."""
    names = sorted(set(ads["category"].to_pylist()))
    return np.array([names.index(name) // 10 for name in ads["category"].to_pylist()])


@pytest.fixture(scope="session")
def stack(ad_texts, word_labels):
    """Words of the first 300 ads, with a weight that mixes them with the random network."""
    from rubert_ood.ads.dataset import LabelledAds
    from rubert_ood.classifier.stack import Stack
    from rubert_ood.training.words import fit_words

    train = LabelledAds(ad_texts[:300], word_labels[:300])
    return Stack(fit_words(train, len(LABELS)), 1.25)


@pytest.fixture(scope="session")
def stacked(bundle, small_checkpoint, fitted, stack, tmp_path_factory):
    """The bundle, with words beside its network."""
    from rubert_ood.bundle import BundleContent, write_bundle

    content = BundleContent(
        checkpoint_dir=small_checkpoint,
        fitted=fitted,
        cleaner=bundle.cleaner,
        text=bundle.text,
        documents={"README.md": "Карточка\n", "evaluation.json": "{}"},
        stack=stack,
    )
    return write_bundle(str(tmp_path_factory.mktemp("bundles") / "stacked"), content)


@pytest.fixture
def three_hundred_ads(ads, bundle, tmp_path):
    """The plan of a run over two files, cut into three shards."""
    from rubert_ood.settings import PlanSettings, ScoringComputeSettings
    from tests.conftest import write_parquet

    for name, start, stop in (("a", 0, 200), ("b", 200, 300)):
        write_parquet(
            tmp_path / "in" / f"{name}.parquet",
            ads.slice(start, stop - start),
            row_group_size=50,
            compression="none",
        )
    return PlanSettings(
        input_uri=str(tmp_path / "in"),
        bundle_uri=bundle.uri,
        output_uri=str(tmp_path / "out"),
        shard_rows=100,
        compute=ScoringComputeSettings(num_workers=2),
    )


__all__ = [
    "by_the_rule",
    "full_run",
    "make_run",
    "messy_rows",
    "messy_table",
    "older_run",
    "run",
]
