"""Fine-tune, fit, evaluate, write a bundle."""

import logging
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rubert_ood import storage
from rubert_ood.ads.dataset import Dataset, LabelledAds, load_dataset
from rubert_ood.ads.extra_texts import load_extra_texts
from rubert_ood.bundle import Bundle, check_new, new_bundle_uri, version_name, write_bundle
from rubert_ood.ood.agreement import check_agreement, int8_agreement
from rubert_ood.ood.decision import check_rule
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import MAX_REFERENCE_ROWS, make_reference
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import evaluation_documents
from rubert_ood.reports.model_card import model_card
from rubert_ood.settings import Precision, SplitSettings, TrainSettings
from rubert_ood.training.baseline import baseline_metrics
from rubert_ood.training.features import StoredFeatures, compute_features
from rubert_ood.training.fine_tune import TrainedModel, fine_tune
from rubert_ood.training.fit_features import fit_features
from rubert_ood.training.preflight import check_training, precision_of_workers

log = logging.getLogger(__name__)


def train(settings: TrainSettings) -> tuple[Bundle, dict[str, Any]]:
    """Run the training job; return the bundle and its evaluation."""
    version = version_name(settings.version)
    bundle_uri = new_bundle_uri(settings.output_uri, version)
    check_new(bundle_uri)
    _warn_of_idle_settings(settings)
    dataset = load_dataset(settings)
    _log_data(dataset)
    check_rule(
        settings.decision,
        len(dataset.valid if dataset.calibration is None else dataset.calibration),
    )
    check_training(dataset, settings)
    extra = load_extra_texts(settings.evaluation, dataset.cleaner)
    baseline = (
        baseline_metrics(dataset.train, dataset.test) if settings.evaluation.baseline else None
    )
    if baseline:
        log.info(
            "baseline  TF-IDF + LinearSVC  accuracy %(accuracy).4f  macro-F1 %(macro_f1).4f",
            baseline,
        )
    with ray_session(settings), tempfile.TemporaryDirectory() as work_dir:
        precision = precision_of_workers(settings.compute)
        trained = fine_tune(dataset, settings, run_name=version, work_dir=work_dir)
        features = _compute(
            {**_splits(dataset), "test": dataset.test, **extra.parts}, trained, settings, precision
        )
        outputs = features.gather({"train": MAX_REFERENCE_ROWS})
        fitted = _fit(features, outputs, dataset.labels, settings)
        _log_fit(fitted, precision)
        reference = make_reference(outputs["train"], outputs[fitted.calibrated_on])
        agreement = (
            _compare_int8(fitted, outputs, dataset, trained, settings)
            if precision == "int8"
            else None
        )
        evaluation, documents = evaluation_documents(
            fitted,
            outputs,
            extra=extra,
            test=dataset.test,
            reference=reference,
            baseline=baseline,
            context=_context(version, settings, dataset, trained, precision),
        )
        documents["README.md"] = model_card(evaluation)
        bundle = write_bundle(
            bundle_uri,
            checkpoint_dir=trained.checkpoint_dir,
            fitted=fitted,
            cleaner=dataset.cleaner,
            text=settings.text,
            documents=documents,
            precision=precision,
            agreement=agreement,
            reference=reference,
        )
    log.info("bundle    %s  fingerprint %s", bundle.uri, bundle.fingerprint[:12])
    log.info("report    %s", storage.join(bundle.uri, "evaluation.html"))
    return bundle, evaluation


def _log_data(dataset: Dataset) -> None:
    log.info(
        f"data      {len(dataset.labels)} classes, {len(dataset.train):,} train,"
        f" {len(dataset.valid):,} valid, {len(dataset.test):,} test,"
        f" {len(dataset.calibration or ()):,} calibration ads, {len(dataset.cleaner.cities):,}"
        " cities"
    )


def _log_fit(fitted: FittedModel, precision: Precision) -> None:
    log.info(
        "fit       T"
        f" {fitted.temperature.temperature:.3f}"
        f"{' at its bound' if fitted.temperature.at_bound else ''}"
        f"  d2 threshold {fitted.thresholds.threshold:,.1f}  {fitted.calibrated_on} d2"
        f" {fitted.thresholds.mu:,.1f} +- {fitted.thresholds.sigma:,.1f}  in {precision}"
    )


def _warn_of_idle_settings(settings: TrainSettings) -> None:
    """Name what was set and changes nothing."""
    idle = [
        (
            "text",
            {"stride", "max_windows"},
            "mode truncate",
            settings.text.mode == "truncate",
        ),
        ("decision", {"alpha", "z_thr"}, "rule conformal", settings.decision.rule == "conformal"),
        ("split", {*SplitSettings.model_fields}, "train_uri", settings.input_uri is None),
    ]
    for group, names, reason, is_idle in idle:
        for name in sorted(names & getattr(settings, group).model_fields_set) if is_idle else []:
            log.warning("settings  %s.%s: no effect with %s", group, name, reason)


def _splits(dataset: Dataset) -> dict[str, LabelledAds]:
    """Return the parts that are fitted on."""
    calibration = {} if dataset.calibration is None else {"calibration": dataset.calibration}
    return {"train": dataset.train, "valid": dataset.valid, **calibration}


def _compute(
    parts: Mapping[str, LabelledAds],
    trained: TrainedModel,
    settings: TrainSettings,
    precision: Precision,
) -> StoredFeatures:
    return compute_features(
        parts,
        trained.checkpoint_uri,
        text=settings.text,
        compute=settings.compute,
        precision=precision,
    )


def _fit(
    features: StoredFeatures,
    outputs: Mapping[str, Outputs],
    labels: list[str],
    settings: TrainSettings,
) -> FittedModel:
    return fit_features(
        features, outputs, labels, settings=settings.fit, decision=settings.decision
    )


def _compare_int8(
    fitted: FittedModel,
    outputs: Mapping[str, Outputs],
    dataset: Dataset,
    trained: TrainedModel,
    settings: TrainSettings,
) -> dict[str, float]:
    """Fit in fp32 as well, and refuse the bundle when int8 answers otherwise on valid."""
    features = _compute(_splits(dataset), trained, settings, "fp32")
    plain = features.gather({"train": 0})
    agreement = int8_agreement(
        fitted,
        (outputs["valid"].logits_NC, outputs["valid"].cls_NH),
        _fit(features, plain, dataset.labels, settings),
        (plain["valid"].logits_NC, plain["valid"].cls_NH),
    )
    log.info(
        "int8      argmax as in fp32 %(argmax_agreement).4f  OOD rate %(flag_rate).4f (fp32"
        " %(flag_rate_fp32).4f)  mean d2 x%(mean_d2_ratio).4f",
        agreement,
    )
    check_agreement(agreement)
    return agreement


def _context(
    version: str,
    settings: TrainSettings,
    dataset: Dataset,
    trained: TrainedModel,
    precision: Precision,
) -> dict[str, Any]:
    return {
        "version": version,
        "base_model": settings.base_model,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "num_train": len(dataset.train),
        "num_valid": len(dataset.valid),
        "num_test": len(dataset.test),
        "num_calibration": len(dataset.calibration or ()),
        "num_classes": len(dataset.labels),
        "num_test_texts_seen_in_train": dataset.num_test_texts_seen_in_train(),
        "best_epoch": trained.epoch,
        "history": trained.history,
        "settings": settings.model_dump(
            mode="json",
            include={"optimiser", "text", "compute", "split", "fit", "decision"},
        )
        | {"precision": precision},
    }
