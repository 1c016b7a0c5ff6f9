"""Tuning from bundle to bundle, without Ray: what it promises is measured again through
`predict`."""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import logsumexp, softmax
from scipy.stats import binom
from sklearn.model_selection import train_test_split

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ads.text import ad_text
from rubert_ood.bundle import derive_bundle, load_bundle
from rubert_ood.errors import (
    BundleError,
    InputError,
    PublicationRefusedError,
    SettingsError,
)
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.predictor import Model
from rubert_ood.settings import (
    EvaluationSettings,
    FeatureComputeSettings,
    FitSettings,
    TuneSettings,
)
from rubert_ood.training.features import bundle_outputs
from rubert_ood.workflows import tune as workflow
from rubert_ood.workflows.predict import predict_texts
from tests.conftest import write_parquet
from tests.small_model import LABELS, MAX_LENGTH


@pytest.fixture
def labelled(ads, ad_texts, small_checkpoint, one_by_one, tmp_path) -> pa.Table:
    """Ads whose labels are as sure as the model is: the more confident it is, the more often it is
    right."""
    logits_NC, *_ = one_by_one(small_checkpoint, ad_texts, MAX_LENGTH)
    rng = np.random.default_rng(1)
    labels = [LABELS[rng.choice(5, p=p)] for p in softmax(logits_NC, axis=1)]
    table = ads.set_column(
        ads.schema.names.index("category"), "category", pa.array(labels)
    )
    write_parquet(tmp_path / "ads.parquet", table)
    return table


def _settings(bundle, tmp_path, **changes) -> TuneSettings:
    return TuneSettings(
        **{
            "bundle_uri": bundle.uri,
            "input_uri": str(tmp_path / "ads.parquet"),
            "fit": FitSettings(),
            "executor": "local",
            **changes,
        }
    )


def _choosing_half(table: pa.Table) -> pa.Table:
    _, rows = train_test_split(
        np.arange(table.num_rows),
        test_size=0.5,
        random_state=42,
        stratify=table["category"].to_pylist(),
    )
    return table.take(rows)


def _precision_and_coverage(bundle, table: pa.Table) -> tuple[float, float]:
    """Measure what `predict` says of the ads that chose."""
    half = _choosing_half(table)
    texts = [
        ad_text(*pair)
        for pair in zip(
            half["title"].to_pylist(), half["description"].to_pylist(), strict=True
        )
    ]
    labels = [result["label"] for result in predict_texts(bundle, texts)]
    kept = [
        pair
        for pair in zip(labels, half["category"].to_pylist(), strict=True)
        if pair[0] != "Other"
    ]
    return float(np.mean([ours == theirs for ours, theirs in kept])), len(kept) / len(
        labels
    )


def test_tune_writes_a_bundle_that_keeps_its_promise_and_the_old_one_its_bytes(
    bundle, labelled, tmp_path, request
):
    version = request.node.name
    before, _ = _precision_and_coverage(bundle, labelled)
    target = round(before + 0.05, 3)
    tuned = workflow.tune(
        _settings(bundle, tmp_path, version=version, min_precision=target)
    )
    assert load_bundle(bundle.uri).fingerprint == bundle.fingerprint
    assert Path(tuned.uri).parent == Path(bundle.uri).parent
    assert (tuned.version, tuned.fitted.calibrated_on) == (version, "calibration")
    old, new = (
        json.loads(Path(folder, "manifest.json").read_text())["files"]
        for folder in (bundle.uri, tuned.uri)
    )
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "text.json",
        "precision.json",
    ):
        assert new[name] == old[name]
    assert set(new) - set(old) == {"evaluation.html", "tuning.json"}

    precision, coverage = _precision_and_coverage(tuned, labelled)
    assert precision >= target
    choice = json.loads(Path(tuned.uri, "tuning.json").read_text())
    assert (choice["target"], choice["from"]) == (
        {"min_precision": target},
        bundle.fingerprint,
    )
    assert choice["before"]["precision"] == pytest.approx(before)
    assert (choice["after"]["precision"], choice["after"]["coverage"]) == pytest.approx(
        (precision, coverage)
    )
    again = workflow.tune(
        _settings(
            tuned,
            tmp_path,
            version="again",
            min_precision=target,
            output_uri=str(tmp_path),
        )
    )
    assert again.uri == str(tmp_path / "bundles" / "again")
    assert _precision_and_coverage(again, labelled)[0] >= target
    with pytest.raises(BundleError, match="this bundle exists"):
        workflow.tune(_settings(bundle, tmp_path, version=version))


def test_tune_promises_what_the_rows_that_test_show(
    bundle, labelled, tmp_path, request, caplog
):
    write_parquet(tmp_path / "ads.parquet", pa.concat_tables([labelled, labelled]))
    with caplog.at_level(logging.INFO):
        tuned = workflow.tune(
            _settings(
                bundle,
                tmp_path,
                version=request.node.name,
                rule="conformal",
                min_precision=0.3,
                max_flagged=0.05,
                confidence=0.9,
            )
        )
    columns = (labelled["title"].to_pylist(), labelled["description"].to_pylist())
    texts = [bundle.cleaner.clean(ad_text(*pair)) for pair in zip(*columns, strict=True)]
    first = [row for row, text in enumerate(texts) if text not in texts[:row]]
    left_out = 2 * labelled.num_rows - len(first)
    assert f"leaves out {left_out} rows with the text of another" in caplog.text
    calibration, test = train_test_split(first, test_size=0.5, random_state=42)
    flagged, precision = tuned.fitted.promises
    assert (flagged.kind, flagged.num_rows) == ("flagged", len(calibration))
    allowed, total = flagged.num_against, flagged.num_rows
    assert binom.cdf(allowed, total, 0.05) <= 0.05 < binom.cdf(allowed + 1, total, 0.05)
    half = labelled.take(test)
    pairs = zip(half["title"].to_pylist(), half["description"].to_pylist(), strict=True)
    results = predict_texts(tuned, [ad_text(*pair) for pair in pairs])
    labels = [result["label"] for result in results]
    all_pairs = zip(labels, half["category"].to_pylist(), strict=True)
    kept = [pair for pair in all_pairs if pair[0] != "Other"]
    wrong = sum(ours != theirs for ours, theirs in kept)
    assert (precision.num_rows, precision.num_against) == (len(kept), wrong)
    assert binom.cdf(wrong, len(kept), 0.7) <= 0.05
    content = json.loads(Path(tuned.uri, "tuning.json").read_text())
    assert content["target"] == {
        "min_precision": 0.3,
        "max_flagged": 0.05,
        "confidence": 0.9,
    }
    assert content["promises"] == [asdict(flagged), asdict(precision)]
    assert content["ads_needed"].keys() == {"min_precision", "max_flagged"}
    assert (
        "With a confidence of 0.9 at least 0.3"
        in Path(tuned.uri, "README.md").read_text()
    )


def test_tune_gives_each_class_a_limit_that_scoring_takes(
    bundle, labelled, tmp_path, request
):
    version = request.node.name
    settings = {"version": version, "rule": "conformal", "per_class": True}
    with pytest.raises(BundleError, match=r"needs reference\.safetensors"):
        workflow.tune(_settings(bundle, tmp_path, **settings))
    rng = np.random.default_rng(0)
    logits_NC, cls_NH = rng.normal(size=(100, 5)), rng.normal(size=(100, 32))
    labels_N = np.repeat(np.arange(5), [40, 30, 18, 8, 4])
    train = Outputs(logits_NC.astype(np.float32), cls_NH.astype(np.float32), labels_N)
    thresholds = bundle.fitted.decision.model_copy(update={"conformal_alpha": 0.05})
    whole = derive_bundle(
        bundle,
        str(tmp_path / "bundles" / "whole"),
        fitted=replace(bundle.fitted, decision=thresholds),
        reference=Reference(train, train),
    )
    tuned = workflow.tune(_settings(whole, tmp_path, **settings))
    limits = tuned.fitted.thresholds.by_class
    assert limits.is_pooled_C.tolist() == [False] * 3 + [True] * 2
    half = _choosing_half(labelled)
    texts = [
        ad_text(*pair)
        for pair in zip(
            half["title"].to_pylist(), half["description"].to_pylist(), strict=True
        )
    ]
    gate, num_far = tuned.fitted.decision.ood_conf_gate, 0
    for result in predict_texts(tuned, texts):
        best = tuned.fitted.labels.index(result["topk_labels"][0])
        is_far = result["ood_p"] <= limits.alpha_C[best]
        assert result["is_ood"] == (is_far and result["confidence"] < gate)
        num_far += is_far
    content = json.loads(Path(tuned.uri, "evaluation.json").read_text())
    listed = content["class_limits"]
    assert [limit["num_rows"] for limit in listed] == limits.num_rows_C.tolist()
    assert sum(limit["far"] * limit["num_test"] for limit in listed) == pytest.approx(
        num_far
    )


def test_ood_texts_and_the_other_rule(bundle, labelled, tmp_path, request):
    write_parquet(
        tmp_path / "ood.parquet",
        pa.table(
            {"text": [f"zzz {n} qqq" for n in range(40)], "kind": ["код", "шум"] * 20}
        ),
    )
    tuned = workflow.tune(
        _settings(
            bundle,
            tmp_path,
            version=request.node.name,
            rule="conformal",
            evaluation=EvaluationSettings(
                baseline=False, ood_uri=str(tmp_path / "ood.parquet")
            ),
        )
    )
    assert tuned.fitted.decision.rule == "conformal"
    choice = json.loads(Path(tuned.uri, "tuning.json").read_text())
    assert choice["target"] == {"maximise": "macro_f1"}
    assert choice["after"]["macro_f1"] >= choice["before"]["macro_f1"]
    results = predict_texts(tuned, [f"zzz {n} qqq" for n in range(40)])
    assert choice["after"]["ood_kept"] == np.mean(
        [result["label"] != "Other" for result in results]
    )


def test_tune_to_a_target_out_of_reach_writes_nothing(
    bundle, labelled, tmp_path, request
):
    before = sorted(Path(bundle.uri).parent.iterdir())
    with pytest.raises(PublicationRefusedError, match="Lower min_precision, add ads"):
        workflow.tune(
            _settings(bundle, tmp_path, version=request.node.name, min_precision=0.98)
        )
    assert sorted(Path(bundle.uri).parent.iterdir()) == before


def test_tune_on_too_few_ads_names_them(bundle, labelled, tmp_path, request):
    write_parquet(tmp_path / "ads.parquet", labelled.slice(0, 99))
    with pytest.raises(
        InputError, match=r"ads\.parquet: .* 100 ads .*, and there are 99\."
    ):
        workflow.tune(_settings(bundle, tmp_path, version=request.node.name))
    write_parquet(tmp_path / "ads.parquet", labelled.slice(0, 120))
    with pytest.raises(
        SettingsError,
        match=(
            r"conformal_alpha: 0\.01 needs at least 99 calibration rows, and there"
            " are 60"
        ),
    ):
        workflow.tune(
            _settings(bundle, tmp_path, version=request.node.name, rule="conformal")
        )


def test_a_target_that_so_few_ads_cannot_show_is_refused_before_the_work(
    bundle, labelled, tmp_path, request
):
    with pytest.raises(
        SettingsError,
        match=r"0\.999 needs at least 1,000 ads to choose on, and there are 250",
    ):
        workflow.tune(
            _settings(bundle, tmp_path, version=request.node.name, min_precision=0.999)
        )


def test_tune_sets_a_detector_on_the_features_that_the_bundle_keeps(
    bundle, labelled, tmp_path, request
):
    """Its p is counted again: among the half that fits, by the detector fitted on the reference."""
    texts = [ad_text(*pair) for pair in _pairs(labelled)]
    labels_N = np.array([LABELS.index(name) for name in labelled["category"].to_pylist()])
    ads = LabelledAds([bundle.cleaner.clean(text) for text in texts], labels_N)
    outputs = bundle_outputs(
        bundle, {"ads": ads}, compute=FeatureComputeSettings(), executor="local"
    )["ads"]
    kept = derive_bundle(
        bundle,
        str(tmp_path / "bundles" / "kept"),
        reference=Reference(outputs.take(np.arange(0, 500, 2)), outputs),
    )
    tuned = workflow.tune(
        _settings(kept, tmp_path, version=request.node.name[:60], detector="energy")
    )
    decision = tuned.fitted.decision
    assert (decision.rule, decision.detector) == ("conformal", "energy")
    assert json.loads(Path(tuned.uri, "manifest.json").read_text())["format"] == 5
    fitting, _ = train_test_split(
        np.arange(len(texts)), test_size=0.5, random_state=42, stratify=labels_N
    )
    energy_N = -logsumexp(outputs.logits_NC.astype(float), axis=1)
    got = Model(tuned).predict(labelled)
    expected = [(1 + np.sum(energy_N[fitting] >= s - 1e-9)) / 251 for s in energy_N]
    np.testing.assert_allclose(got["ood_p"].to_numpy(), expected, atol=1.5 / 251)
    evaluation = json.loads(Path(tuned.uri, "evaluation.json").read_text())
    assert evaluation["d2_limit"] is None
    assert evaluation["decision"]["detector"] == "energy"
    back = workflow.tune(_settings(tuned, tmp_path, version="back", rule="notebook"))
    assert back.fitted.detector is None
    assert not Path(back.uri, "detector.safetensors").exists()
    assert json.loads(Path(back.uri, "manifest.json").read_text())["format"] == 3


def test_tune_to_a_detector_on_a_bundle_without_features_names_what_is_missing(
    bundle, labelled, tmp_path, request
):
    missing = r"reference\.safetensors is missing, and the detector knn is fitted on it"
    with pytest.raises(BundleError, match=missing):
        workflow.tune(
            _settings(bundle, tmp_path, version=request.node.name[:60], detector="knn")
        )


def test_tune_to_a_detector_of_tokens_on_an_older_bundle_says_so_before_any_work(
    bundle, labelled, tmp_path, request, monkeypatch
):
    rng = np.random.default_rng(0)
    logits_NC, cls_NH = rng.normal(size=(60, 5)), rng.normal(size=(60, 32))
    old = Outputs(
        logits_NC.astype(np.float32), cls_NH.astype(np.float32), np.arange(60) % 5
    )
    older = derive_bundle(
        bundle, str(tmp_path / "bundles" / "older"), reference=Reference(old, old)
    )
    monkeypatch.setattr(workflow, "bundle_outputs", None)
    for detector in ("combined_tokens", "mahalanobis++_tokens"):
        settings = _settings(
            older, tmp_path, version=request.node.name[:60], detector=detector
        )
        with pytest.raises(BundleError, match="older version has no token means"):
            workflow.tune(settings)


def _pairs(table: pa.Table) -> list[tuple[str, str]]:
    columns = table["title"].to_pylist(), table["description"].to_pylist()
    return list(zip(*columns, strict=True))
