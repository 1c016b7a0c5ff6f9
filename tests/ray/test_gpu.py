"""What runs on a GPU, on each device that is here: `make gpu` runs these on a bare GPU machine.

On CPU the same lines run in the same numbers, so that a GPU shows what differs, not typos.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier.checkpoint import load_network
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.precision import choose_device
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.errors import SettingsError
from rubert_ood.predictor import Model
from rubert_ood.reports.evaluation import Evaluation
from rubert_ood.runs.manifest import Manifest
from rubert_ood.settings import (
    EvaluationSettings,
    ScoreSettings,
    ScoringComputeSettings,
    TrainSettings,
    VerifySettings,
)
from rubert_ood.workflows.score import score
from rubert_ood.workflows.train import train
from rubert_ood.workflows.verify import verify
from tests.conftest import read_parts, write_parquet

MAX_LENGTH, NUM_ADS = 48, 200
BOUNDS = {"fp32": 1e-4, "bf16": 0.1}
"""Of CLS and token means, whose numbers are about 1; bf16 has 8 bits of mantissa."""
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]


@pytest.fixture(scope="module", params=DEVICES)
def device(request) -> str:
    return request.param


@dataclass(frozen=True)
class Trained:
    bundle: Bundle
    evaluation: Evaluation
    use_gpu: bool


@pytest.fixture(scope="module")
def texts(labelled_ads):
    return labelled_ads["description"].to_pylist()[:NUM_ADS]


@pytest.fixture(scope="module")
def plain(trained_bundle, texts, one_by_one):
    """Logits and CLS of plain transformers in fp32 on CPU, one ad at a time."""
    return one_by_one(load_bundle(trained_bundle).folder, texts, MAX_LENGTH)


@pytest.fixture(scope="module")
def trained(ray_local, train_settings, tmp_path_factory, device) -> Trained:
    """One DDP worker, its features and its fit in bf16."""
    use_gpu = device == "cuda"
    compute = {"num_workers": 1, "use_gpu": use_gpu, "precision": "bf16"}
    update = {
        "compute": train_settings.compute.model_copy(update=compute),
        "evaluation": EvaluationSettings(baseline=False),
        "output_uri": str(tmp_path_factory.mktemp(f"trained-{device}")),
    }
    settings: TrainSettings = train_settings.model_copy(update=update)
    return Trained(*train(settings), use_gpu)


@pytest.fixture(scope="module")
def manifest(trained, labelled_ads, tmp_path_factory, device) -> Manifest:
    """A run that was scored, verified and published."""
    folder = tmp_path_factory.mktemp(f"scored-{device}")
    write_parquet(folder / "ads.parquet", labelled_ads, row_group_size=500)
    settings = ScoreSettings(
        input_uri=str(folder / "ads.parquet"),
        bundle_uri=trained.bundle.uri,
        output_uri=str(folder / "out"),
        shard_rows=500,
        carry_columns=("category",),
        compute=ScoringComputeSettings(use_gpu=trained.use_gpu),
    )
    return score(settings)


def test_asking_for_a_gpu_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"compute\.use_gpu: torch finds no GPU"):
        choose_device(True)


@pytest.mark.parametrize("precision", list(BOUNDS))
def test_classifier_agrees_with_one_ad_at_a_time_in_fp32(
    trained_bundle, texts, plain, device, precision
):
    folder = load_bundle(trained_bundle).folder
    classifier = Classifier.load(folder, use_gpu=device == "cuda", precision=precision)
    ids = tokenize(classifier.tokenizer, texts, MAX_LENGTH)
    found = classifier.run(ids, token_budget=4096)
    logits_NC, cls_NH, tokens_NH = plain
    np.testing.assert_allclose(found.cls, cls_NH, rtol=0, atol=BOUNDS[precision])
    np.testing.assert_allclose(found.tokens, tokens_NH, rtol=0, atol=BOUNDS[precision])
    same = found.logits.argmax(1) == logits_NC.argmax(1)
    assert np.mean(same) > 0.98


@pytest.mark.parametrize("precision", list(BOUNDS))
def test_classifier_agrees_with_padded_transformers_at_the_same_precision(
    trained_bundle, texts, device, precision
):
    folder = load_bundle(trained_bundle).folder
    classifier = Classifier.load(folder, use_gpu=device == "cuda", precision=precision)
    ids = tokenize(classifier.tokenizer, texts, MAX_LENGTH)
    _, cls_NH, _ = classifier.run(ids, token_budget=4096)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    network = load_network(folder).to(device, dtype).eval()
    options = {"padding": True, "truncation": True, "max_length": MAX_LENGTH}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, **options, return_tensors="pt").to(device)
    with torch.inference_mode():
        hidden_NLH = network.bert(**batch).last_hidden_state
    padded_NH = hidden_NLH[:, 0].float().cpu().numpy()
    np.testing.assert_allclose(cls_NH, padded_NH, rtol=0, atol=BOUNDS[precision])


def test_classifier_gives_the_same_numbers_whatever_the_token_budget(
    trained_bundle, texts, device
):
    folder = load_bundle(trained_bundle).folder
    classifier = Classifier.load(folder, use_gpu=device == "cuda", precision="fp32")
    ids = tokenize(classifier.tokenizer, texts, MAX_LENGTH)
    few, many = (
        classifier.run(ids, token_budget=budget) for budget in (MAX_LENGTH, 65_536)
    )
    for ours, theirs in zip(few, many, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=BOUNDS["fp32"])


def test_training_by_ddp_learns(trained):
    assert trained.evaluation.headline.macro_f1 > 0.85


def test_a_fit_in_bf16_is_told_and_its_statistics_are_those_of_the_ads(
    trained, labelled_ads
):
    assert trained.bundle.precision == "bf16"
    fitted = trained.bundle.fitted
    model = Model(trained.bundle, use_gpu=trained.use_gpu)
    cls_NH = model.embed(labelled_ads)
    labels = np.array(labelled_ads["category"].to_pylist())
    for number, label in enumerate(fitted.labels):
        mean_H = np.nanmean(cls_NH[labels == label], axis=0)  # NaN: an ad without text
        distances_C = np.linalg.norm(fitted.statistics.means_CH - mean_H, axis=1)
        assert distances_C.argmin() == number


def test_a_scored_run_is_published_verified_and_right(manifest, labelled_ads):
    assert manifest.outcome == "published"
    verify(VerifySettings(run_uri=manifest.run_uri))
    parts = read_parts(manifest.run_uri)
    assert sorted(parts["ad_id"].to_pylist()) == sorted(labelled_ads["ad_id"].to_pylist())
    best = [names[0] if names else None for names in parts["topk_labels"].to_pylist()]
    assert np.mean(np.array(best) == np.array(parts["category"].to_pylist())) > 0.85


def test_a_scored_run_has_the_rows_of_predict(manifest, trained, labelled_ads):
    ads = labelled_ads.slice(0, NUM_ADS)
    expected = Model(trained.bundle, use_gpu=trained.use_gpu).predict(ads)
    rows = read_parts(manifest.run_uri)
    found = dict(
        zip(*[rows[name].to_pylist() for name in ("ad_id", "ood_distance")], strict=True)
    )
    distances = np.array([found[name] for name in ads["ad_id"].to_pylist()], float)
    wanted = expected["ood_distance"].to_numpy().astype(float)
    np.testing.assert_allclose(distances, wanted, rtol=0.1)
