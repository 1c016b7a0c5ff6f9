"""Fine-tune, fit, evaluate, write a bundle."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rubert_ood import storage
from rubert_ood.ads.dataset import Ads, Dataset, Workers, load_dataset
from rubert_ood.ads.extra_texts import ExtraTexts, load_extra_texts
from rubert_ood.bundle import (
    Bundle,
    BundleContent,
    check_new,
    new_bundle_uri,
    version_name,
    write_bundle,
)
from rubert_ood.classifier.stack import WordModel
from rubert_ood.clock import utc_now
from rubert_ood.ood.agreement import Agreement, agreement_with_fp32, check_agreement
from rubert_ood.ood.decision import check_rule
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs, sample_rows
from rubert_ood.ood.reference import MAX_REFERENCE_ROWS, make_reference
from rubert_ood.progress import StepLog
from rubert_ood.publishing.training_lineage import TrainingLineage, training_lineage
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import evaluation_documents
from rubert_ood.reports.evaluate import Material, evaluate
from rubert_ood.reports.evaluation import Context, Evaluation, TrainingRun
from rubert_ood.reports.model_card import model_card
from rubert_ood.reports.train_page import PAGE, train_html
from rubert_ood.settings import Precision, TrainSettings
from rubert_ood.settings.problems import expect
from rubert_ood.training.baseline import Baseline, baseline_of
from rubert_ood.training.features import Features, Reader, compute_features
from rubert_ood.training.fit_features import (
    fit_features,
    fitting_splits,
    log_fit,
    measured_splits,
)
from rubert_ood.training.idle_settings import warn_of_idle_settings
from rubert_ood.training.preflight import check_training, precision_of_workers
from rubert_ood.training.ray_trainer import TrainedModel
from rubert_ood.training.ray_workers import RayWorkers
from rubert_ood.training.seeds import best_model, train_seeds
from rubert_ood.training.stack import Mixture, try_stack
from rubert_ood.training.words import learn_words, margins_of
from rubert_ood.workflows.promote_trained import check_promotion, promote_trained
from rubert_ood.workflows.register import check_mlflow, register_trained

log = StepLog("bundle")


@dataclass(frozen=True)
class _Run:
    """One training, from the checked input on."""

    settings: TrainSettings
    version: str
    dataset: Dataset
    measured: Dataset
    """Of large splits a sample."""
    extra: ExtraTexts
    baseline: Baseline | None
    words: WordModel | None
    """That may be mixed with the network; None: not asked for."""
    workers: Workers


def train(settings: TrainSettings) -> tuple[Bundle, Evaluation]:
    """Run the training job; return the bundle and its evaluation."""
    expect(settings, TrainSettings)
    with training_lineage(settings) as lineage:
        return _train(settings, lineage)


def _train(
    settings: TrainSettings, lineage: TrainingLineage
) -> tuple[Bundle, Evaluation]:
    started_at_ms = time.time_ns() // 1_000_000
    version = version_name(settings.version)
    bundle_uri = new_bundle_uri(settings.output_uri, version)
    check_new(bundle_uri)
    check_promotion(settings)
    check_mlflow(settings.mlflow)
    warn_of_idle_settings(settings)
    with ray_session(settings), tempfile.TemporaryDirectory() as work_dir:
        workers = RayWorkers()
        dataset = load_dataset(settings, workers)
        _log_data(dataset)
        measured = measured_splits(dataset)
        calibration = measured.calibration or measured.valid
        check_rule(settings.decision, len(calibration))
        check_training(dataset, settings)
        lineage.planned(bundle_uri, {"bundleVersion": version})
        extra = load_extra_texts(settings.evaluation, dataset.cleaner, dataset.labels)
        run = _Run(
            settings,
            version,
            dataset,
            measured,
            extra,
            baseline=_baseline(measured, settings, workers),
            words=_words(dataset, settings, workers),
            workers=workers,
        )
        precision = precision_of_workers(settings.compute)
        trained = train_seeds(dataset, settings, run_name=version, work_dir=work_dir)
        content, evaluation = _fit_and_evaluate(run, trained, precision)
        bundle = write_bundle(bundle_uri, content)
    log.info("%s  fingerprint %s", bundle.uri, bundle.fingerprint[:12])
    for page in ("evaluation.html", PAGE):
        StepLog("report").info("%s", storage.join(bundle.uri, page))
    bundle = register_trained(bundle, settings.mlflow, started_at_ms)
    lineage.ended(bundle.fingerprint, _facts(bundle, evaluation))
    if settings.promote:
        promote_trained(bundle, settings)
    return bundle, evaluation


def _facts(bundle: Bundle, evaluation: Evaluation) -> dict[str, object]:
    context, headline = evaluation.context, evaluation.headline
    return {
        "bundleFingerprint": bundle.fingerprint,
        "registered": bundle.registered,
        "trainAds": context.num_train,
        "testAds": context.num_test,
        "classes": context.num_classes,
        "accuracy": headline.accuracy,
        "macroF1": headline.macro_f1,
    }


def _baseline(
    dataset: Dataset, settings: TrainSettings, workers: Workers
) -> Baseline | None:
    if not settings.evaluation.baseline:
        return None
    baseline = baseline_of(dataset, workers)
    if baseline is None:
        StepLog("baseline").warning("none: too few train ads, no word is in two of them")
        return None
    num_train, sample = baseline.num_train, ""
    if num_train is not None:
        sample = f"  trained on {num_train:,} of {len(dataset.train):,} train ads"
    StepLog("baseline").info(
        f"TF-IDF + LinearSVC  accuracy {baseline.accuracy:.4f}"
        f"  macro-F1 {baseline.macro_f1:.4f}{sample}"
    )
    return baseline


def _words(
    dataset: Dataset, settings: TrainSettings, workers: Workers
) -> WordModel | None:
    if settings.baseline != "stack":
        return None
    return learn_words(dataset.train, len(dataset.labels), workers)


def _fit_and_evaluate(
    run: _Run, models: list[TrainedModel], precision: Precision
) -> tuple[BundleContent, Evaluation]:
    """Fit on the features of the best of the models, and measure what was fitted."""
    trained = best_model(models)
    dataset, settings = run.measured, run.settings
    splits = {**fitting_splits(dataset), "test": dataset.test, **run.extra.splits}
    features = _compute(splits, trained, settings, precision)
    outputs = features.gather({"train": MAX_REFERENCE_ROWS})
    mixture = _mix(run, splits, outputs)
    outputs = mixture.of(outputs)
    fitted = _fit(features, outputs, dataset, settings)
    log_fit(fitted, precision)
    agreement = None
    if precision == "int8" or (precision == "bf16" and not settings.compute.use_gpu):
        agreement = _compare(run, trained, precision, mixture, fitted, outputs["valid"])
    reference = make_reference(outputs["train"], outputs[fitted.calibrated_on])
    evaluation = evaluate(
        fitted,
        Material.of(outputs, extra=run.extra, test_ads=dataset.test),
        reference=reference,
        baseline=run.baseline,
        stack=mixture.report,
        context=_context(run, models, precision),
    )
    content = BundleContent(
        checkpoint_dir=trained.checkpoint_dir,
        fitted=fitted,
        cleaner=dataset.cleaner,
        text=settings.text,
        documents=evaluation_documents(evaluation)
        | {"README.md": model_card(evaluation), PAGE: train_html(evaluation.context)},
        precision=precision,
        agreement=agreement,
        reference=reference,
        stack=mixture.stack,
    )
    return content, evaluation


def _mix(run: _Run, splits: Mapping[str, Ads], outputs: Mapping[str, Outputs]) -> Mixture:
    if run.words is None:
        return Mixture()
    sample = sample_rows(len(splits["train"]), MAX_REFERENCE_ROWS)
    read = {**splits, "train": splits["train"].take(sample)}
    margins = margins_of(run.words, read, run.workers)
    return try_stack(run.words, outputs, margins, run.dataset.labels, run.settings.fit)


def _compute(
    splits: Mapping[str, Ads],
    trained: TrainedModel,
    settings: TrainSettings,
    precision: Precision,
) -> Features:
    reader = Reader(
        checkpoint=trained.checkpoint_uri,
        text=settings.text,
        precision=precision,
    )
    return compute_features(splits, reader, compute=settings.compute, executor="ray")


def _fit(
    features: Features,
    outputs: Mapping[str, Outputs],
    dataset: Dataset,
    settings: TrainSettings,
) -> FittedModel:
    return fit_features(
        features,
        outputs,
        dataset.labels,
        settings=settings.fit,
        decision=settings.decision,
    )


def _compare(
    run: _Run,
    trained: TrainedModel,
    precision: Precision,
    mixture: Mixture,
    fitted: FittedModel,
    valid: Outputs,
) -> Agreement:
    """Fit in fp32 as well, and refuse the bundle when fewer bits answer otherwise on valid."""
    features = _compute(fitting_splits(run.measured), trained, run.settings, "fp32")
    plain = mixture.of(features.gather({"train": MAX_REFERENCE_ROWS}))
    plain_fitted = _fit(features, plain, run.dataset, run.settings)
    agreement = agreement_with_fp32(fitted, valid, plain_fitted, plain["valid"])
    StepLog(precision).info(
        f"best class as in fp32 {agreement.argmax_agreement:.2%}  OOD rate"
        f" {agreement.flag_rate:.2%} (fp32 {agreement.flag_rate_fp32:.2%}) "
        f" mean d2 x{agreement.mean_d2_ratio:.4f}"
    )
    check_agreement(agreement, precision)
    return agreement


def _context(run: _Run, models: list[TrainedModel], precision: Precision) -> Context:
    dataset, settings = run.dataset, run.settings
    best = best_model(models)
    groups = {"optimiser", "text", "compute", "split", "fit", "decision"}
    return Context(
        version=run.version,
        base_model=settings.base_model,
        created_at=utc_now(),
        num_train=len(dataset.train),
        num_valid=len(dataset.valid),
        num_test=len(dataset.test),
        num_calibration=len(dataset.calibration or ()),
        num_classes=len(dataset.labels),
        num_test_texts_seen_in_train=run.measured.num_test_texts_seen_in_train(),
        best_epoch=best.epoch,
        history=best.history,
        seed=best.seed,
        runs=[_run_of(model) for model in models],
        settings=settings.model_dump(mode="json", include=groups)
        | {"precision": precision, "recipe": settings.recipe},
    )


def _run_of(model: TrainedModel) -> TrainingRun:
    return TrainingRun(seed=model.seed, best_epoch=model.epoch, history=model.history)


def _log_data(dataset: Dataset) -> None:
    StepLog("data").info(
        f"{len(dataset.labels)} classes, {len(dataset.train):,} train,"
        f" {len(dataset.valid):,} valid, {len(dataset.test):,} test,"
        f" {len(dataset.calibration or ()):,} calibration ads,"
        f" {len(dataset.cleaner.cities):,} cities"
    )
