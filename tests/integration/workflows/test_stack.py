"""`baseline: stack` from training to the rows of a night: the same mix of words and network."""

import json
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.svm import LinearSVC

from benchmarks import stack as benchmark
from rubert_ood.ads.dataset import (
    LocalWorkers,
    clean_labelled,
    load_dataset,
    read_labelled,
)
from rubert_ood.bundle import load_bundle, load_reference
from rubert_ood.classifier.windows import cut
from rubert_ood.errors import SchemaError
from rubert_ood.ood.temperature import fit_temperature, softmax
from rubert_ood.predictor import Model
from rubert_ood.settings import (
    CleanerSettings,
    EvaluateSettings,
    EvaluationSettings,
    FeatureComputeSettings,
    ScoreSettings,
    SplitSettings,
    TextSettings,
    TrainingComputeSettings,
    TrainSettings,
    TuneSettings,
)
from rubert_ood.training.features import bundle_outputs, compute_features
from rubert_ood.training.ray_trainer import TrainedModel
from rubert_ood.training.tuning import halves
from rubert_ood.workflows import train as workflow
from rubert_ood.workflows.evaluate import evaluate_bundle
from rubert_ood.workflows.tune import tune
from tests.small_model import LABELS, MAX_LENGTH
from tests.unit.messy_runs import Run, score_plan

MAX_CHARACTERS = 4_096


@pytest.fixture(scope="module")
def settings(ads, word_labels, small_checkpoint, tmp_path_factory) -> TrainSettings:
    folder = tmp_path_factory.mktemp("stack")
    labels = pa.array([LABELS[number] for number in word_labels])
    ads = ads.set_column(ads.schema.names.index("category"), "category", labels)
    pq.write_table(ads, folder / "ads.parquet")
    return TrainSettings(
        input_uri=str(folder / "ads.parquet"),
        output_uri=str(folder),
        base_model=small_checkpoint,
        version="v1",
        baseline="stack",
        cleaner=CleanerSettings(remove_cities=False),
        split=SplitSettings(calibration_fraction=0.2, valid_fraction=0.25),
        text=TextSettings(max_length=MAX_LENGTH),
        evaluation=EvaluationSettings(baseline=False),
    )


@pytest.fixture(scope="module")
def untrained(small_checkpoint):
    """Train nothing, compute in this process."""

    def compute_here(parts, reader, *, compute, executor):
        return compute_features(parts, reader, compute=compute, executor="local")

    epoch = {"epoch": 1, "train_loss": 1.5, "valid_loss": 1.25}
    epoch |= {"valid_accuracy": 0.5, "valid_macro_f1": 0.4}
    models = [TrainedModel(small_checkpoint, small_checkpoint, 1, [epoch], 42)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "train_seeds", lambda *_, **__: models)
        patch.setattr(workflow, "compute_features", compute_here)
        patch.setattr(workflow, "ray_session", lambda _: nullcontext())
        patch.setattr(workflow, "RayWorkers", LocalWorkers)
        yield


@pytest.fixture(scope="module")
def trained(settings, untrained):
    return workflow.train(settings)


@pytest.fixture(scope="module")
def by_hand(settings, trained, one_by_one):
    """Return logits of the network alone, margins and labels of a split, by plain libraries."""
    bundle, _ = trained
    dataset = load_dataset(settings)
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    svm = LinearSVC(random_state=0)
    heads = [text[:MAX_CHARACTERS] for text in dataset.train.texts]
    svm.fit(tfidf.fit_transform(heads), dataset.train.labels_N)

    def split(name: str):
        ads = getattr(dataset, name)
        logits_NC, *_ = one_by_one(bundle.folder, ads.texts, MAX_LENGTH)
        heads = [text[:MAX_CHARACTERS] for text in ads.texts]
        return logits_NC, svm.decision_function(tfidf.transform(heads)), ads.labels_N

    return split


def _measures(logits_NC, labels_N) -> tuple[float, float]:
    predicted_N = logits_NC.argmax(1)
    macro_f1 = f1_score(labels_N, predicted_N, average="macro")
    return accuracy_score(labels_N, predicted_N), macro_f1


def test_train_with_a_stack_keeps_a_mix_that_gains_and_reports_all_three_ways(
    trained, by_hand
):
    bundle, evaluation = trained
    report = evaluation.stack
    assert report.is_kept
    assert bundle.stack.weight == report.weight > 0
    assert report.num_train == bundle.stack.words.num_train > 100
    for name in ("valid", "test"):
        logits_NC, margins_NC, labels_N = by_hand(name)
        mixed_NC = logits_NC + report.weight * margins_NC
        for (way, score), outputs in zip(
            getattr(report, name).named(), (logits_NC, margins_NC, mixed_NC), strict=True
        ):
            expected = _measures(outputs, labels_N)
            got = (score.accuracy, score.macro_f1)
            assert got == pytest.approx(expected, abs=1e-9), (name, way)
    gains = report.valid.gains
    assert max(gains) >= 0.005
    headline, mix = evaluation.headline, report.test.mix
    assert (headline.accuracy, headline.macro_f1) == (mix.accuracy, mix.macro_f1)
    assert headline.ece_after == pytest.approx(mix.ece, abs=1e-9)


def test_train_with_a_stack_fits_t_on_calibration_rows_of_the_mix(trained, by_hand):
    bundle, evaluation = trained
    logits_NC, margins_NC, labels_N = by_hand("calibration")
    mixed_NC = logits_NC + evaluation.stack.weight * margins_NC
    expected = fit_temperature(mixed_NC, labels_N, of="confidence").temperature
    assert bundle.fitted.calibrated_on == "calibration"
    assert bundle.fitted.temperature.temperature == pytest.approx(expected, rel=1e-3)
    reference = load_reference(bundle)
    np.testing.assert_allclose(reference.calibration.logits_NC, mixed_NC, atol=1e-3)


def test_pages_of_a_bundle_with_a_stack_show_the_three_ways(trained):
    bundle, evaluation = trained
    page = " ".join(Path(bundle.uri, "evaluation.html").read_text().split())
    card = Path(bundle.uri, "README.md").read_text()
    assert evaluation.stack.outcome().startswith("The mix is in the bundle: on valid it")
    for name, score in evaluation.stack.test.named():
        assert f"<td>{name}</td>" in page
        assert f"| {name} | {score.accuracy:.4f} | {score.macro_f1:.4f} |" in card
    assert "Words are mixed with the network: +" in card
    assert "plain labels, those of the network alone." in card
    written = json.loads(Path(bundle.uri, "evaluation.json").read_text())
    assert written["stack"]["is_kept"] is True


def test_a_night_writes_the_rows_of_predict_and_both_are_the_mix_by_hand(
    settings, trained, by_hand, tmp_path
):
    from rubert_ood.scoring.planning import make_plan

    bundle, _ = trained
    dataset = load_dataset(settings)
    texts = dataset.test.texts
    ids = [f"ad-{number}" for number in range(len(texts))]
    table = pa.table({"ad_id": ids, "description": texts})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "ads.parquet")
    places = {"input_uri": str(tmp_path / "in"), "output_uri": str(tmp_path / "out")}
    plan = make_plan(ScoreSettings(bundle_uri=bundle.uri, **places), bundle)
    part = pq.read_table(Run(plan, score_plan(plan)).part(0))
    rows = Model(load_bundle(bundle.uri)).predict(table)
    assert "word_logits" not in part.schema.names
    for name in rows.schema.names:
        assert rows[name].equals(part[name]), name

    logits_NC, margins_NC, _ = by_hand("test")
    mixed_NC = logits_NC + bundle.stack.weight * margins_NC
    p_NC = softmax(mixed_NC, bundle.fitted.temperature.temperature)
    got_N = rows["confidence"].to_numpy()
    np.testing.assert_allclose(got_N, p_NC.max(axis=1), atol=1e-3)
    best = [labels[0] for labels in rows["topk_labels"].to_pylist()]
    assert best == [LABELS[number] for number in p_NC.argmax(axis=1)]


def test_features_of_a_bundle_and_its_evaluation_are_those_of_the_mix(
    settings, trained, by_hand, tmp_path
):
    bundle, evaluation = trained
    dataset = load_dataset(settings)
    outputs = bundle_outputs(
        bundle, {"test": dataset.test}, compute=FeatureComputeSettings(), executor="local"
    )
    logits_NC, margins_NC, labels_N = by_hand("test")
    mixed_NC = logits_NC + bundle.stack.weight * margins_NC
    np.testing.assert_allclose(outputs["test"].logits_NC, mixed_NC, atol=1e-3)
    labels = [LABELS[number] for number in labels_N]
    table = pa.table({"description": dataset.test.texts, "category": labels})
    pq.write_table(table, tmp_path / "test.parquet")
    again = evaluate_bundle(
        EvaluateSettings(
            bundle_uri=bundle.uri,
            input_uri=str(tmp_path / "test.parquet"),
            output_uri=str(tmp_path),
            executor="local",
        )
    )
    assert again.headline.accuracy == evaluation.headline.accuracy
    assert again.headline.ece_after == pytest.approx(evaluation.headline.ece_after)
    assert again.stack is None
    assert again.context.stack_weight == bundle.stack.weight
    page = " ".join((tmp_path / "evaluation.html").read_text().split())
    assert (
        f"It mixes words with the network, with weight {bundle.stack.weight:.3f}." in page
    )


def test_tune_of_a_bundle_with_a_stack_keeps_it_and_fits_t_on_the_mix(
    settings, trained, tmp_path
):
    bundle, _ = trained
    tuned = tune(
        TuneSettings(
            bundle_uri=bundle.uri,
            input_uri=settings.input_uri,
            output_uri=str(tmp_path),
            version="tuned",
            executor="local",
        )
    )
    np.testing.assert_array_equal(
        tuned.stack.logits(["диван"]), bundle.stack.logits(["диван"])
    )
    card = Path(tuned.uri, "README.md").read_text()
    assert "plain labels, those of the network alone." in card
    table = read_labelled(settings.input_uri, settings.columns, known=LABELS)
    ads = clean_labelled(table, bundle.cleaner, LABELS)
    half = halves(ads, TuneSettings(bundle_uri="b", input_uri="i"))["calibration"]
    outputs = Model(bundle).outputs(_read(bundle, half.texts))
    fit = fit_temperature(outputs.logits_NC, half.labels_N, of="confidence")
    expected = fit.temperature
    assert tuned.fitted.temperature.temperature == pytest.approx(expected, rel=1e-3)


def _read(bundle, texts: list[str]) -> pa.Table:
    """Return cleaned texts as the reader has them, in their order, equal ones each."""
    model = Model(bundle)
    read = cut(model.tokenizer, texts, bundle.text, bundle.stack)
    return pa.table(read.columns())


def test_train_with_a_stack_of_fewer_bits_compares_mix_with_mix(
    settings, untrained, monkeypatch
):
    compared = []
    monkeypatch.setattr(
        workflow, "check_agreement", lambda agreement, _: compared.append(agreement)
    )
    compute = TrainingComputeSettings(precision="int8")
    change = {"version": "int8", "compute": compute}
    bundle, evaluation = workflow.train(settings.model_copy(update=change))
    assert bundle.stack is not None
    assert evaluation.stack.is_kept
    assert compared[0].argmax_agreement > 0.8


def test_train_with_a_stack_that_gains_nothing_has_the_bundle_of_compare_and_says_so(
    settings, untrained, tmp_path, caplog
):
    caplog.set_level("INFO")
    table = pq.read_table(settings.input_uri)
    order = np.random.default_rng(1).permutation(table.num_rows)
    shuffled = pa.array(table["category"].to_pylist()).take(pa.array(order))
    names = table.schema.names
    table = table.set_column(names.index("category"), "category", shuffled)
    pq.write_table(table, tmp_path / "ads.parquet")
    change = {"input_uri": str(tmp_path / "ads.parquet"), "output_uri": str(tmp_path)}
    bundle, evaluation = workflow.train(settings.model_copy(update=change))
    change |= {"version": "v2", "baseline": "compare"}
    plain, compared = workflow.train(settings.model_copy(update=change))
    assert bundle.stack is None
    assert not evaluation.stack.is_kept
    assert compared.stack is None
    assert bundle.fitted.temperature == plain.fitted.temperature
    assert evaluation.headline == compared.headline
    outcome = evaluation.stack.outcome()
    assert outcome.startswith("The mix is not in the bundle: on valid it gains ")
    assert outcome.endswith("less than 0.5 points of one of them.")
    lines = [record.getMessage() for record in caplog.records]
    assert f"stack     {outcome}" in lines
    assert [line for line in lines if line.startswith("stack     valid accuracy")]
    page = Path(bundle.uri, "evaluation.html").read_text()
    assert outcome in " ".join(page.split())


def test_train_with_a_stack_of_nothing_to_learn_ends_before_anything_is_trained(
    settings, untrained, monkeypatch, tmp_path
):
    def never(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(workflow, "train_seeds", never)
    letters = [f"слово{number} " for number in range(500)]
    table = pq.read_table(settings.input_uri).select(["ad_id", "category"])
    table = table.append_column("description", pa.array(letters))
    pq.write_table(table, tmp_path / "ads.parquet")
    change = {"input_uri": str(tmp_path / "ads.parquet"), "output_uri": str(tmp_path)}
    with pytest.raises(SchemaError, match=r"^baseline: stack cannot learn words"):
        workflow.train(settings.model_copy(update=change))


def test_benchmark_of_finished_bundles_measures_the_three_ways_of_training(
    settings, trained
):
    bundle, evaluation = trained
    arguments = Namespace(input_uri=settings.input_uri, columns="{}")
    found = benchmark.measure(bundle, benchmark.Texts.of(bundle, arguments))
    for way, name in (
        ("network alone", "network alone"),
        ("words alone", "words alone"),
        ("mix", "network + words (`baseline: stack`)"),
    ):
        expected = dict(evaluation.stack.test.named())[way]
        got, _ = found[name]
        assert (got.accuracy, got.macro_f1) == (expected.accuracy, expected.macro_f1)
        assert got.ece == pytest.approx(expected.ece, abs=1e-6)
    assert found["words and letters alone"][0].accuracy > 0.5
