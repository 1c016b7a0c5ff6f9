"""The driver's part of training: the fine-tuning and the gathering are replaced by a checkpoint in
this process."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.dataset import LocalWorkers
from rubert_ood.bundle import load_bundle
from rubert_ood.errors import PublicationRefusedError, SettingsError
from rubert_ood.ood.agreement import Agreement
from rubert_ood.pointers.champion import look, resolve
from rubert_ood.pointers.unsent import unsent_uri
from rubert_ood.settings import (
    DecisionSettings,
    EvaluationSettings,
    LineageSettings,
    MlflowSettings,
    PromotionSettings,
    RegisterSettings,
    TextSettings,
    TrainingComputeSettings,
    TrainSettings,
    load_settings,
)
from rubert_ood.training import fit_features
from rubert_ood.training.features import compute_features
from rubert_ood.training.ray_trainer import TrainedModel
from rubert_ood.workflows import train as workflow
from rubert_ood.workflows.register import register
from tests.lineage_server import check_event
from tests.mlflow_server import PASSWORD
from tests.small_model import LABELS
from tests.unit.promotion.bundles import OPEN

INT8 = TrainingComputeSettings(precision="int8")


@pytest.fixture
def settings(ads, small_checkpoint, tmp_path) -> TrainSettings:
    labels = pa.array([LABELS[number % len(LABELS)] for number in range(ads.num_rows)])
    ads = ads.set_column(ads.schema.names.index("category"), "category", labels)
    pq.write_table(ads, tmp_path / "ads.parquet")
    return TrainSettings(
        input_uri=str(tmp_path / "ads.parquet"),
        output_uri=str(tmp_path),
        base_model=small_checkpoint,
        version="v1",
        evaluation=EvaluationSettings(baseline=False),
    )


@pytest.fixture
def gathered(small_checkpoint, monkeypatch) -> list[str]:
    """Train nothing, compute in this process; returns the precisions that were computed in, in
    order."""
    precisions = []

    def compute_here(parts, reader, *, compute, executor):
        precisions.append(reader.precision)
        return compute_features(parts, reader, compute=compute, executor="local")

    epoch = {"epoch": 1, "train_loss": 1.5, "valid_loss": 1.25}
    epoch |= {"valid_accuracy": 0.5, "valid_macro_f1": 0.4}
    models = [
        TrainedModel(small_checkpoint, small_checkpoint, 1, [epoch], 42),
        TrainedModel("", "", 1, [epoch | {"valid_macro_f1": 0.3}], 43),
    ]
    monkeypatch.setattr(workflow, "train_seeds", lambda *_, **__: models)
    monkeypatch.setattr(workflow, "compute_features", compute_here)
    monkeypatch.setattr(workflow, "ray_session", lambda _: nullcontext())
    monkeypatch.setattr(workflow, "RayWorkers", LocalWorkers)
    return precisions


def test_a_bundle_is_fitted_in_fp32_by_default(settings, gathered):
    bundle, evaluation = workflow.train(settings)
    assert gathered == ["fp32"]
    assert (bundle.precision, evaluation.context.settings["precision"]) == (
        "fp32",
        "fp32",
    )


def test_a_bundle_is_that_of_the_best_seed_and_shows_all(settings, gathered):
    bundle, evaluation = workflow.train(settings)
    context = evaluation.context
    assert (context.seed, context.best_epoch) == (42, 1)
    assert [(run.seed, run.best["valid_macro_f1"]) for run in context.runs] == [
        (42, 0.4),
        (43, 0.3),
    ]
    page = Path(bundle.uri, "train.html").read_text()
    assert "The bundle holds seed 42, the best of 2 on valid." in page
    report = Path(bundle.uri, "evaluation.html").read_text()
    assert "0.4000 (seed 42), 0.3000 (seed 43)" in " ".join(report.split())


def test_train_of_large_splits_measures_a_sample_of_each(
    settings, gathered, monkeypatch, caplog
):
    monkeypatch.setattr(fit_features, "MAX_MEASURED_ADS", 30)
    caplog.set_level("INFO")
    _, evaluation = workflow.train(settings)
    context, headline = evaluation.context, evaluation.headline
    assert (headline.num_test, headline.num_calibration) == (30, 30)
    assert (context.num_test, context.num_valid) == (100, 40)
    lines = [record.getMessage() for record in caplog.records]
    assert "fit       measures a sample of test: 30 of 100 ads" in lines
    assert "fit       measures a sample of valid: 30 of 40 ads" in lines


def test_a_bundle_reads_long_ads_as_its_fit_did(settings, gathered):
    plain, _ = workflow.train(settings)
    short = plain.text.model_copy(update={"max_length": 16})
    windows = TextSettings(max_length=16, mode="window", stride=4)
    windowed, evaluation = workflow.train(
        settings.model_copy(update={"version": "v2", "text": windows})
    )
    truncated, _ = workflow.train(
        settings.model_copy(update={"version": "v3", "text": short})
    )
    assert (windowed.text, truncated.text) == (windows, short)
    assert evaluation.context.settings["text"] == windows.model_dump()
    difference = np.abs(
        windowed.fitted.statistics.means_CH - truncated.fitted.statistics.means_CH
    )
    assert difference.max() > 0.01  # the windows were averaged before the fit


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_fewer_bits_on_a_cpu_are_fitted_so_and_compared_with_fp32(
    settings, gathered, monkeypatch, precision
):
    monkeypatch.setattr(
        workflow, "check_agreement", lambda *_: None
    )  # the random model may not pass
    plain, _ = workflow.train(settings)
    compute = INT8.model_copy(update={"precision": precision})
    other, _ = workflow.train(
        settings.model_copy(update={"version": "v2", "compute": compute})
    )
    assert gathered == ["fp32", precision, "fp32"]
    assert load_bundle(other.uri).precision == precision
    means = [bundle.fitted.statistics.means_CH for bundle in (plain, other)]
    assert 0 < np.abs(means[0] - means[1]).max() < 0.2


def test_a_bundle_that_int8_would_spoil_is_not_written(settings, gathered, monkeypatch):
    monkeypatch.setattr(
        workflow,
        "agreement_with_fp32",
        lambda *_: Agreement(0.98, 0.0, 0.0, 1.0),
    )
    with pytest.raises(
        PublicationRefusedError,
        match=r"precision: int8 differs .* 98\.00% .* \(at least 99%\)",
    ):
        workflow.train(settings.model_copy(update={"compute": INT8}))
    assert not Path(settings.output_uri, "bundles").exists()


def test_settings_that_change_nothing_are_named(settings, gathered, caplog):
    decision = DecisionSettings(rule="conformal", conformal_alpha=0.1, alpha=1.2)
    workflow.train(settings.model_copy(update={"decision": decision}))
    line = "decision.alpha: this setting has no effect with rule conformal"
    assert caplog.text.count(line) == 1


def test_too_few_ads_for_the_rule_are_named_before_anything_is_trained(
    settings, gathered
):
    strict = settings.decision.model_copy(
        update={"rule": "conformal", "conformal_alpha": 0.001}
    )
    with pytest.raises(
        SettingsError, match="needs at least 999 calibration rows, and there are 40"
    ):
        workflow.train(settings.model_copy(update={"decision": strict}))
    assert gathered == []


def test_train_with_promote_promotes_its_bundle_and_one_that_is_refused_stays(
    settings, gathered, tmp_path
):
    root, test_uri = str(tmp_path / "bundles"), settings.input_uri
    open_limits = PromotionSettings(test_uri=test_uri, limits=OPEN)
    wanted = {"promote": True, "promotion": open_limits}
    workflow.train(settings.model_copy(update=wanted))
    assert look(root).pointer.version == "v1"
    strict = OPEN.model_copy(update={"min_accuracy": 1.0})
    wanted["promotion"] = PromotionSettings(test_uri=test_uri, limits=strict)
    wanted["version"] = "v2"
    with pytest.raises(PublicationRefusedError, match=r"limits\.min_accuracy"):
        workflow.train(settings.model_copy(update=wanted))
    assert look(root).pointer.paths == ["v1"]
    assert load_bundle(f"{root}/v2").version == "v2"


MLFLOW = {"mlflow": MlflowSettings(experiment="ads", register_as="ads")}


def test_train_with_mlflow_sends_its_epochs_and_registers_its_bundle(
    settings, gathered, mlflow_server
):
    bundle, evaluation = workflow.train(settings.model_copy(update=MLFLOW))
    assert bundle.registered == "models:/ads/1"
    (run,) = mlflow_server.runs.values()
    assert (run["status"], run["run_name"]) == ("FINISHED", "v1")
    assert run["start_time"] < run["end_time"]
    found = {(one["key"], one["step"]): one["value"] for one in run["metrics"]}
    assert found["train_loss", 1] == 1.5
    assert found["seed_43/valid_macro_f1", 1] == 0.3
    assert found["evaluation/accuracy", 0] == evaluation.headline.accuracy
    assert run["params"]["text.max_length"] == str(settings.text.max_length)
    assert resolve("models:/ads/1").fingerprint == bundle.fingerprint
    assert not Path(unsent_uri(bundle.uri)).exists()


@pytest.mark.parametrize(
    "path", ["runs/create", "runs/log-batch", "model-versions/create"]
)
def test_train_whose_mlflow_fails_ends_well_with_one_warning(
    settings, gathered, mlflow_server, caplog, path
):
    mlflow_server.fails_at = path
    bundle, _ = workflow.train(settings.model_copy(update=MLFLOW))
    assert load_bundle(bundle.uri).fingerprint == bundle.fingerprint
    assert bundle.registered == ""
    (line,) = [text for text in caplog.messages if text.startswith("mlflow")]
    command = (
        f"rubert-ood register --bundle_uri {bundle.uri} --mlflow.experiment ads"
        " --mlflow.register_as ads"
    )
    assert "does not answer, or fails" in line
    assert line.endswith(f"Run `{command}`")
    note = json.loads(Path(unsent_uri(bundle.uri)).read_bytes())
    assert note["command"] == command
    assert f"({note['reason']})" in line
    assert PASSWORD not in caplog.text
    mlflow_server.fails_at = ""
    arguments = command.split()[2:]
    loaded = load_settings(RegisterSettings, arguments, program="rubert-ood register")
    assert register(loaded).registered == "models:/ads/1"
    assert not Path(unsent_uri(bundle.uri)).exists()
    assert [run["status"] for run in mlflow_server.runs.values()] == ["FINISHED"]


def test_train_with_mlflow_and_no_address_is_refused_before_anything_is_read(
    settings, gathered, no_mlflow
):
    with pytest.raises(SettingsError, match=r"^mlflow\.experiment: .* Set the variable"):
        workflow.train(settings.model_copy(update=MLFLOW))
    assert gathered == []


def test_train_with_lineage_sends_which_ads_became_which_bundle(
    settings, gathered, lineage_server
):
    wanted = {"lineage": LineageSettings(send=True, namespace="shop")}
    bundle, evaluation = workflow.train(settings.model_copy(update=wanted))
    first, last = lineage_server.bodies
    for body in (first, last):
        check_event(body)
        assert [table["name"] for table in body["inputs"]] == [settings.input_uri]
        assert body["outputs"][0]["name"] == bundle.uri
    assert (first["eventType"], last["eventType"]) == ("START", "COMPLETE")
    assert first["eventTime"] < last["eventTime"]
    own = last["run"]["facets"]["rubertOod_training"]
    assert own["bundleFingerprint"] == bundle.fingerprint
    assert own["accuracy"] == evaluation.headline.accuracy
    assert own["trainAds"] == evaluation.context.num_train


def test_train_with_lineage_whose_bundle_is_refused_ends_its_start(
    settings, gathered, lineage_server, monkeypatch
):
    bad = Agreement(0.98, 0.0, 0.0, 1.0)
    monkeypatch.setattr(workflow, "agreement_with_fp32", lambda *_: bad)
    wanted = {"lineage": LineageSettings(send=True), "compute": INT8}
    with pytest.raises(PublicationRefusedError):
        workflow.train(settings.model_copy(update=wanted))
    assert [body["eventType"] for body in lineage_server.bodies] == ["START", "FAIL"]
    facets = lineage_server.bodies[-1]["run"]["facets"]
    assert facets["rubertOod_training"]["outcome"] == "refused"
