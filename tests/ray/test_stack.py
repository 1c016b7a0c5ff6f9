"""Words and sub-heads beside the network on a real Ray: learned where the texts lie, scored as
`predict` does."""

from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.ads.dataset import LabelledAds, LocalWorkers, load_dataset
from rubert_ood.bundle import Bundle, BundleContent, load_bundle, write_bundle
from rubert_ood.classifier.stack import Stack
from rubert_ood.predictor import Model
from rubert_ood.settings import (
    FeatureComputeSettings,
    GateSettings,
    ScoreSettings,
    SubheadsSettings,
)
from rubert_ood.training.features import bundle_outputs
from rubert_ood.training.ray_workers import RayWorkers
from rubert_ood.training.words import learn_words, margins_of
from rubert_ood.workflows.score import score
from rubert_ood.workflows.subheads import subheads
from tests.conftest import read_parts, same_rows, write_parquet

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture(scope="module")
def learned(train_settings):
    """The labelled ads on the cluster, and the words of their train split."""
    dataset = load_dataset(train_settings, RayWorkers())
    return dataset, learn_words(dataset.train, len(dataset.labels), RayWorkers())


@pytest.fixture(scope="module")
def stacked(trained_bundle, learned, tmp_path_factory):
    plain, folder = load_bundle(trained_bundle), tmp_path_factory.mktemp("stacked")
    content = BundleContent(
        checkpoint_dir=f"{trained_bundle}/../checkpoint",
        fitted=plain.fitted,
        cleaner=plain.cleaner,
        text=plain.text,
        documents={"README.md": "# stacked"},
        stack=Stack(learned[1], 2.0),
    )
    return write_bundle(str(folder / "bundle"), content)


def test_words_learned_by_a_task_are_those_learned_here(train_settings, learned):
    there, words = learned
    here = load_dataset(train_settings)
    expected = learn_words(here.train, len(here.labels), LocalWorkers())
    assert words.ngrams == expected.ngrams
    np.testing.assert_array_equal(words.weights_VC, expected.weights_VC)
    splits = {"valid": there.valid, "test": there.test}
    found = margins_of(words, splits, RayWorkers())
    for name in splits:
        texts = getattr(here, name).texts
        np.testing.assert_array_equal(found[name], expected.margins(texts))
        right_N = found[name].argmax(1) == getattr(here, name).labels_N
        assert right_N.mean() > 0.8


def test_features_on_a_cluster_have_the_words_of_the_bundle(stacked, learned):
    test = learned[0].test
    compute = partial(bundle_outputs, stacked, compute=FeatureComputeSettings())
    there = compute({"test": test}, executor="ray")["test"]
    here = compute({"test": test.here()}, executor="local")["test"]
    assert isinstance(test.here(), LabelledAds)
    np.testing.assert_allclose(there.logits_NC, here.logits_NC, atol=1e-4)
    plain = load_bundle(stacked.uri)
    words_NC = plain.stack.logits(test.here().texts)
    assert np.abs(words_NC).mean() > 0.5


@pytest.fixture(scope="module")
def with_subheads(stacked, labelled_ads, tmp_path_factory) -> Bundle:
    """Sub-heads for some of four classes, trained on features that the cluster computes."""
    folder = tmp_path_factory.mktemp("subheads")
    categories = labelled_ads["category"].to_pylist()
    fine = {*sorted({*categories})[:4]}
    kinds = []
    for category, price in zip(
        categories, labelled_ads["price"].to_pylist(), strict=True
    ):
        kind = "дорого" if price and price > 5000 else "недорого"
        kinds.append(kind if category in fine else None)
    table = labelled_ads.append_column("kind", pa.array(kinds, pa.string()))
    bundle = subheads(
        SubheadsSettings(
            bundle_uri=stacked.uri,
            input_uri=write_parquet(folder / "labelled.parquet", table),
            output_uri=str(folder / "bundles"),
            version="fine",
            columns={"subcategory": "kind"},
            min_rows_per_class=5,
        )
    )
    assert {*bundle.subheads.heads} <= fine
    assert len(bundle.subheads.heads) >= 2
    assert bundle.stack
    return bundle


def test_score_with_a_stack_and_subheads_writes_the_rows_of_predict(
    with_subheads, labelled_ads, tmp_path
):
    write_parquet(tmp_path / "in" / "ads.parquet", labelled_ads)
    manifest = score(
        ScoreSettings(
            input_uri=str(tmp_path / "in"),
            bundle_uri=with_subheads.uri,
            output_uri=str(tmp_path / "out"),
            gate=GateSettings(max_ood_rate=1, max_other_rate=1),
            shard_rows=700,
        )
    )
    assert manifest.outcome == "published"
    rows = Model(load_bundle(with_subheads.uri)).predict(labelled_ads)
    names = [*rows.schema.names]
    by_id = [("ad_id", "ascending")]
    got = read_parts(manifest.run_uri).select(names).sort_by(by_id)
    ids = pa.array(map(str, rows["ad_id"].to_pylist()), pa.string())
    rows = rows.set_column(names.index("ad_id"), "ad_id", ids).sort_by(by_id)
    same_rows(got, rows)
    sub_labels = got["sub_label"].to_pylist()
    assert sub_labels == rows["sub_label"].to_pylist()
    heads = with_subheads.subheads.heads
    for label, sub_label in zip(got["label"].to_pylist(), sub_labels, strict=True):
        assert (sub_label is not None) == (label in heads)
    found, expected = (
        table["sub_confidence"].to_numpy().astype(float) for table in (got, rows)
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.isfinite(found).sum() > 100
