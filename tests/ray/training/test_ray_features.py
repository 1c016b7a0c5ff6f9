"""The feature pass through Ray against the one in this process."""

import numpy as np
import pytest

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.bundle import Bundle
from rubert_ood.errors import BundleError
from rubert_ood.ood.ledoit_wolf import ClassSums
from rubert_ood.settings import FeatureComputeSettings, TextSettings
from rubert_ood.training import features as module
from rubert_ood.training.features import Reader, compute_features

pytestmark = pytest.mark.usefixtures("ray_local")
TEXT = TextSettings(max_length=32)
COMPUTE = FeatureComputeSettings(num_workers=2)


@pytest.fixture(scope="module")
def parts(labelled_ads) -> dict[str, LabelledAds]:
    texts = [text or "" for text in labelled_ads["description"].to_pylist()[:400]]
    labels_N = np.arange(400) % 7
    return {
        "valid": LabelledAds(texts[:150], labels_N[:150]),
        "train": LabelledAds(texts[150:], labels_N[150:]),
    }


def test_ray_and_this_process_give_the_same_features_in_the_same_order(
    parts, tiny_bert, monkeypatch
):
    monkeypatch.setattr(module, "BATCH_ADS", 64)
    monkeypatch.setattr(module, "SUM_ADS", 90)
    reader = Reader(tiny_bert, TEXT, "fp32")
    here = compute_features(parts, reader, compute=COMPUTE, executor="local")
    on_ray = compute_features(parts, reader, compute=COMPUTE, executor="ray")
    for limits in (None, {"train": 40}):
        ours, theirs = on_ray.gather(limits), here.gather(limits)
        assert list(ours) == list(theirs) == ["valid", "train"]
        for name in ours:
            np.testing.assert_array_equal(ours[name].labels_N, theirs[name].labels_N)
            np.testing.assert_allclose(
                ours[name].logits_NC, theirs[name].logits_NC, atol=1e-5
            )
            np.testing.assert_allclose(ours[name].cls_NH, theirs[name].cls_NH, atol=1e-5)
            np.testing.assert_allclose(
                ours[name].tokens_NH, theirs[name].tokens_NH, atol=1e-5
            )

    def sums(cls_nH: np.ndarray, labels_n: np.ndarray) -> ClassSums:
        return ClassSums.of(cls_nH, labels_n, num_classes=7)

    ours, theirs = on_ray.sum_up("train", sums), here.sum_up("train", sums)
    np.testing.assert_array_equal(ours.counts_C, theirs.counts_C)
    np.testing.assert_allclose(ours.sums_CH, theirs.sums_CH, atol=1e-3)


def _refuse() -> Bundle:
    raise BundleError(
        "bundle: text.json differs from the manifest. Restore it, or train again"
    )


def test_a_checkpoint_that_a_node_refuses_keeps_its_error(parts):
    reader = Reader(_refuse, TEXT, "fp32")
    with pytest.raises(BundleError, match=r"^bundle: text\.json differs"):
        compute_features(parts, reader, compute=COMPUTE, executor="ray")
