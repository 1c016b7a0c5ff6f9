"""The feature pass in this process against plain transformers, one text at a time."""

import numpy as np
import pytest

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.bundle import Bundle
from rubert_ood.classifier import windows
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.errors import BundleError
from rubert_ood.settings import FeatureComputeSettings, TextSettings
from rubert_ood.training import features as module
from rubert_ood.training.features import Reader, bundle_outputs, compute_features
from tests.small_model import LABELS, MAX_LENGTH


def _parts(texts: list[str]) -> dict[str, LabelledAds]:
    labels_N = np.arange(len(texts)) % len(LABELS)
    return {
        "valid": LabelledAds(texts[:30], labels_N[:30]),
        "train": LabelledAds(texts[30:], labels_N[30:]),
    }


WHOLE = TextSettings(max_length=MAX_LENGTH)
COMPUTE = FeatureComputeSettings()


def _compute(parts, checkpoint, text=WHOLE):
    reader = Reader(checkpoint, text, "fp32")
    return compute_features(parts, reader, compute=COMPUTE, executor="local")


def test_features_come_in_order_each_row_once(
    small_checkpoint, ad_texts, one_by_one, monkeypatch
):
    monkeypatch.setattr(module, "BATCH_ADS", 7)
    texts = ad_texts[:100]
    features = _compute(_parts(texts), small_checkpoint)
    outputs = features.gather()
    logits_NC, cls_NH, tokens_NH = one_by_one(small_checkpoint, texts, MAX_LENGTH)
    assert list(outputs) == ["valid", "train"]
    for name, rows in (("valid", slice(0, 30)), ("train", slice(30, 100))):
        np.testing.assert_allclose(outputs[name].logits_NC, logits_NC[rows], atol=1e-4)
        np.testing.assert_allclose(outputs[name].cls_NH, cls_NH[rows], atol=1e-4)
        np.testing.assert_allclose(outputs[name].tokens_NH, tokens_NH[rows], atol=1e-4)
        assert outputs[name].labels_N.tolist() == [n % 5 for n in range(100)][rows]
    sample = features.gather({"train": 9})
    assert (len(sample["valid"]), len(sample["train"])) == (30, 9)
    rows_of = {
        row.tobytes(): number for number, row in enumerate(outputs["train"].cls_NH)
    }
    chosen = [rows_of[row.tobytes()] for row in sample["train"].cls_NH]
    assert chosen == sorted(chosen)
    assert len(features.gather({"train": 0})["train"]) == 0


def test_long_texts_are_pooled_over_their_windows(small_checkpoint, ad_texts):
    texts = [" ".join(ad_texts[n : n + 1 + n % 4]) for n in range(12)]
    text = TextSettings(max_length=24, mode="window", stride=4, max_windows=4)
    features = _compute(_parts([*texts, *texts, *texts]), small_checkpoint, text)
    classifier = Classifier.load(small_checkpoint)
    read = windows.cut(classifier.tokenizer, texts, text)
    expected = windows.run(classifier, read, token_budget=4096)
    found = features.gather()["valid"].take(np.arange(12))
    np.testing.assert_allclose(found.cls_NH, expected.cls_NH, atol=1e-4)
    np.testing.assert_allclose(found.tokens_NH, expected.tokens_NH, atol=1e-4)


def test_a_checkpoint_that_is_refused_ends_the_pass_with_its_own_error(ad_texts):
    def refuse() -> Bundle:
        raise BundleError(
            "bundle: text.json differs from the manifest. Restore it, or train again"
        )

    with pytest.raises(BundleError, match=r"^bundle: text.json differs"):
        _compute(_parts(ad_texts[:40]), refuse)


def test_a_bundle_reads_as_it_scores(bundle, ad_texts, one_by_one):
    ads = LabelledAds(ad_texts[:20], np.zeros(20, np.int64))
    outputs = bundle_outputs(bundle, {"test": ads}, compute=COMPUTE, executor="local")
    logits_NC, *_ = one_by_one(bundle.folder, ad_texts[:20], MAX_LENGTH)
    np.testing.assert_allclose(outputs["test"].logits_NC, logits_NC, atol=1e-4)
