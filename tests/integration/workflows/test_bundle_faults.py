"""A bundle that only its loading gives away ends every job with exit 2, and no shard is quarantined
for it."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from rubert_ood.bundle import load_bundle
from rubert_ood.bundle.evaluation import read_evaluation
from rubert_ood.comparing.evaluations import compare_evaluations
from rubert_ood.errors import BundleError, RubertOodError, SettingsError
from rubert_ood.reports import run_page
from rubert_ood.settings import PredictSettings, ScoreSettings
from rubert_ood.workflows.predict import predict
from rubert_ood.workflows.score import score
from tests.conftest import write_parquet
from tests.unit.bundle.signed import edit, edit_arrays, sign


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return Path(shutil.copytree(bundle.folder, tmp_path / "v1"))


def _infinite(folder: Path) -> None:
    edit_arrays(
        folder,
        "model.safetensors",
        lambda arrays: arrays["bert.pooler.dense.bias"].fill(np.inf),
    )


def _no_pad_token(folder: Path) -> None:
    """Of a bundle that was written before special_ids.json."""
    (folder / "special_ids.json").unlink()
    edit(
        folder,
        "tokenizer_config.json",
        del_pad_token=0,
        tokenizer_class="PreTrainedTokenizerFast",
    )


def _other_encoder(folder: Path) -> None:
    edit(
        folder,
        "config.json",
        model_type="electra",
        architectures=["ElectraForSequenceClassification"],
    )


def _activation(folder: Path) -> None:
    edit(folder, "config.json", hidden_act="planted")


FAULTS = {
    "infinite": (
        _infinite,
        "the weight bert.pooler.dense.bias holds NaN or infinite numbers",
    ),
    "no_pad_token": (_no_pad_token, "the tokenizer has no pad token"),
    "other_encoder": (_other_encoder, "the checkpoint has "),
    "activation": (_activation, "the checkpoint does not load"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_run_stops_with_exit_2_and_does_not_say_that_it_goes_on(
    copy, ads, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(
        run_page, "run_html", lambda *_: pytest.fail("the run has no report")
    )
    change, message = FAULTS[name]
    change(copy)
    sign(copy)
    write_parquet(tmp_path / "in" / "a.parquet", ads.slice(0, 40))
    settings = ScoreSettings(
        input_uri=str(tmp_path / "in"),
        bundle_uri=str(copy),
        output_uri=str(tmp_path / "out"),
        shard_rows=20,
        executor="local",
    )
    with pytest.raises(RubertOodError, match=message) as caught:
        score(settings)
    assert type(caught.value) is SettingsError
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert "resume" not in str(caught.value)
    (run_dir,) = (tmp_path / "out").glob("run_date=*/run_id=*")
    assert (
        json.loads((run_dir / "_run" / "manifest.json").read_text())["outcome"]
        == "partial"
    )
    assert json.loads((run_dir / "_run" / "runner.json").read_text()) == {}
    assert not (run_dir / "_run" / "quarantine").exists()
    assert list(run_dir.glob("_parts/*")) == list(run_dir.glob("data-*")) == []


@pytest.mark.parametrize("name", FAULTS)
def test_predict_refuses_such_a_bundle_in_one_line(copy, name):
    change, message = FAULTS[name]
    change(copy)
    sign(copy)
    with pytest.raises(BundleError, match=message):
        predict(PredictSettings(bundle_uri=str(copy), texts=["диван"]))


HOSTILE_EVALUATIONS = [
    "",
    "null",
    "[]",
    '"text"',
    '{"context": []}',
    '{"context": {"num_train": "many"}}',
    '{"headline": 5}',
    '{"headline": {"accuracy": []}}',
    '{"per_class": [{"label": 5}]}',
    '{"per_class": {"a": 1}}',
    '{"labels": [null]}',
    "[" * 100_000,
]


@pytest.mark.parametrize(
    "content", HOSTILE_EVALUATIONS, ids=range(len(HOSTILE_EVALUATIONS))
)
def test_an_evaluation_that_cannot_be_read_is_left_out_with_a_warning(
    copy, caplog, content
):
    (copy / "evaluation.json").write_text(content)
    sign(copy)
    bundle = load_bundle(str(copy))
    caplog.set_level(logging.WARNING)
    assert read_evaluation(bundle) is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        f"bundle    {copy}: ignores evaluation.json, which is damaged: "
    )
    assert "\n" not in line
    assert compare_evaluations(read_evaluation(bundle), None).headline == []


def test_of_an_evaluation_other_jobs_get_what_they_use(copy):
    written = {
        "context": {
            "version": "v1",
            "base_model": "b",
            "num_train": 9,
            "settings": {"x": 1},
        },
        "headline": {"accuracy": 0.5, "ece_after": None, "mean_d2": {"train": 1.0}},
        "per_class": [{"label": "Мебель", "f1": 0.5, "support": 4}],
        "labels": ["Мебель"],
    }
    (copy / "evaluation.json").write_text(json.dumps(written))
    sign(copy)
    found = read_evaluation(load_bundle(str(copy)))
    assert found.model_dump(exclude_unset=True) == {
        "context": {"base_model": "b", "num_train": 9},
        "headline": {"accuracy": 0.5, "ece_after": None},
        "per_class": [{"label": "Мебель", "f1": 0.5}],
        "labels": ["Мебель"],
    }
