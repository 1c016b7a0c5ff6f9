"""`evaluate` from a bundle to evaluation.json, without Ray."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.settings import EvaluateSettings, EvaluationSettings
from rubert_ood.workflows.evaluate import evaluate_bundle
from rubert_ood.workflows.predict import predict_texts
from tests.conftest import write_parquet
from tests.small_model import LABELS

NUM_ADS = 120


@pytest.fixture
def settings(bundle, ads, tmp_path) -> EvaluateSettings:
    labels = pa.array([LABELS[number % len(LABELS)] for number in range(NUM_ADS)])
    table = ads.slice(0, NUM_ADS)
    table = table.set_column(table.schema.names.index("category"), "category", labels)
    write_parquet(tmp_path / "ads.parquet", table)
    ood = pa.table({"text": ["qqq zzz", "раз два три"], "kind": ["шум", "счёт"]})
    write_parquet(tmp_path / "ood.parquet", ood)
    return EvaluateSettings(
        bundle_uri=bundle.uri,
        input_uri=str(tmp_path / "ads.parquet"),
        output_uri=str(tmp_path / "evaluation"),
        evaluation=EvaluationSettings(
            baseline=False, ood_uri=str(tmp_path / "ood.parquet")
        ),
        executor="local",
    )


def test_evaluate_writes_what_predict_says_of_the_same_ads(settings, bundle, ads):
    evaluation = evaluate_bundle(settings)
    pairs = zip(ads["title"].to_pylist(), ads["description"].to_pylist(), strict=True)
    texts = [
        f"{title or ''} {description or ''}"
        for title, description in list(pairs)[:NUM_ADS]
    ]
    results = predict_texts(bundle, texts)
    best = [result["topk_labels"][0] for result in results]
    truth = [LABELS[number % len(LABELS)] for number in range(NUM_ADS)]
    headline = evaluation.headline
    assert headline.num_test == NUM_ADS
    assert headline.accuracy == np.mean(
        [ours == is_so for ours, is_so in zip(best, truth, strict=True)]
    )
    assert headline.ood_rate == np.mean([result["is_ood"] for result in results])
    assert [kind.kind for kind in evaluation.ood_kinds] == ["счёт", "шум"]
    written = Path(settings.output_uri, "evaluation.json").read_text()
    assert written == storage.to_json(evaluation).decode()
    assert json.loads(written)["context"] == {
        "version": bundle.version,
        "fingerprint": bundle.fingerprint,
        "num_test": NUM_ADS,
    }
    assert (
        "<h1>Evaluation of bundle v1</h1>"
        in Path(settings.output_uri, "evaluation.html").read_text()
    )


def test_evaluate_of_ads_without_any_text_is_one_line(settings, tmp_path):
    table = pa.table({"description": ["торг", "  "], "category": LABELS[:2]})
    write_parquet(tmp_path / "empty.parquet", table)
    uri = str(tmp_path / "empty.parquet")
    with pytest.raises(
        InputError, match=f"^{uri}: no ad has text after cleaning. Use other labelled ads"
    ):
        evaluate_bundle(settings.model_copy(update={"input_uri": uri}))


def test_evaluate_leaves_out_the_ads_that_a_run_answers_without_the_network(
    settings, bundle, tmp_path, caplog
):
    texts = ["диван угловой", "\u200b", "漢字", "\ufffd\ufffd", "стол"]
    results = predict_texts(bundle, texts)
    is_ok = [result["status"] == "ok" for result in results]
    assert sum(is_ok) < len(texts)
    table = pa.table({"description": texts, "category": LABELS[:5]})
    write_parquet(tmp_path / "some.parquet", table)
    uri = str(tmp_path / "some.parquet")
    evaluation = evaluate_bundle(settings.model_copy(update={"input_uri": uri}))
    assert evaluation.headline.num_test == sum(is_ok)
    right = [
        result["topk_labels"][0] == label
        for result, label in zip(results, LABELS, strict=True)
        if result["status"] == "ok"
    ]
    assert evaluation.headline.accuracy == np.mean(right)
    num = len(texts) - sum(is_ok)
    assert (
        f"data      leaves out {num} labelled ads: the model knows no character of them"
        in caplog.messages
    )


def test_evaluate_in_this_process_starts_no_ray(settings):
    evaluate_bundle(settings)
    if "ray" in sys.modules:
        assert not sys.modules["ray"].is_initialized()
