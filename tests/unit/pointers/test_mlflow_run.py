"""What a run of MLflow says of a bundle, by its evaluation.json."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rubert_ood.pointers.mlflow_run import Number, content_of

WRITTEN = {
    "format": 1,
    "context": {
        "version": "v1",
        "base_model": "DeepPavlov/rubert-base-cased",
        "num_train": 7200,
        "seed": 43,
        "best_epoch": 2,
        "runs": [
            {"seed": 42, "best_epoch": 1, "history": [{"epoch": 1, "valid_loss": 1.5}]},
            {
                "seed": 43,
                "best_epoch": 2,
                "history": [
                    {"epoch": 1, "valid_loss": 1.25, "train_tokens": 900},
                    {"epoch": 2, "valid_loss": 1.0, "train_tokens": 910},
                ],
            },
        ],
        "settings": {
            "optimiser": {"batch_size": 16, "patience": None},
            "text": {"mode": "window"},
            "precision": "fp32",
        },
    },
    "headline": {
        "accuracy": 0.75,
        "num_test": 200,
        "at_bound": False,
        "calibrated_on": "valid",
        "mean_d2": {"test": 3.0},
        "mean_d2_own_class": None,
    },
    "baseline": {"accuracy": 0.5, "macro_f1": 0.25, "num_train": None},
    "confusions": [{"examples": ["Продам диван, 8 900 000 00 00"]}],
    "ood_kinds": [{"kind": "спам (new)", "flagged": 0.5, "caught": 0.75}],
}


@pytest.fixture
def written(bundle, tmp_path):
    """Return the bundle as if this were its evaluation."""

    def write(content: object):
        Path(tmp_path, "evaluation.json").write_text(json.dumps(content))
        return replace(bundle, folder=str(tmp_path), version="v1")

    return write


def test_content_of_a_bundle_has_its_settings_as_parameters(written):
    assert content_of(written(WRITTEN)).params == {
        "base_model": "DeepPavlov/rubert-base-cased",
        "num_train": "7200",
        "seed": "43",
        "best_epoch": "2",
        "optimiser.batch_size": "16",
        "text.mode": "window",
        "precision": "fp32",
    }


def test_content_of_a_bundle_has_its_epochs_and_figures_as_metrics(written):
    assert content_of(written(WRITTEN)).metrics == [
        Number("seed_42/valid_loss", 1.5, 1),
        Number("valid_loss", 1.25, 1),
        Number("train_tokens", 900, 1),
        Number("valid_loss", 1.0, 2),
        Number("train_tokens", 910, 2),
        Number("evaluation/accuracy", 0.75),
        Number("evaluation/num_test", 200),
        Number("baseline/accuracy", 0.5),
        Number("baseline/macro_f1", 0.25),
        Number("evaluation/ood_flagged/спам__new_", 0.5),
    ]


def test_content_of_a_bundle_holds_no_text_of_an_ad(written):
    assert "диван" not in repr(content_of(written(WRITTEN)))


def test_content_of_a_bundle_has_tags_that_name_it(written, bundle):
    content = content_of(written(WRITTEN))
    assert content.name == "v1"
    assert content.tags == {
        "rubert_ood.fingerprint": bundle.fingerprint,
        "rubert_ood.bundle_uri": bundle.uri,
        "rubert_ood.bundle_version": "v1",
    }


def test_content_of_a_bundle_whose_evaluation_is_damaged_has_tags_alone(written, caplog):
    content = content_of(written({"headline": 3}))
    assert (content.params, content.metrics) == ({}, [])
    assert content.tags["rubert_ood.bundle_version"] == "v1"
    assert "ignores evaluation.json, which is damaged: headline" in caplog.text
