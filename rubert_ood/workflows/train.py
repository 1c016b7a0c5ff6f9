"""Fine-tune, fit, evaluate, write a bundle."""

import logging
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rubert_ood import storage
from rubert_ood.ads.dataset import Dataset, LabelledAds, load_dataset
from rubert_ood.bundle import MANIFEST, Bundle, write_bundle
from rubert_ood.classifier.baseline import baseline_metrics
from rubert_ood.classifier.features import Features, gather_features
from rubert_ood.classifier.training import TrainedModel, fine_tune
from rubert_ood.cluster import ray_session
from rubert_ood.errors import BundleError
from rubert_ood.ood.agreement import check_agreement, int8_agreement
from rubert_ood.ood.fit import FittedModel, fit
from rubert_ood.reports.model_card import model_card
from rubert_ood.settings import Precision, TrainSettings
from rubert_ood.workflows.evaluation import evaluation_documents, load_extra_texts

log = logging.getLogger(__name__)


def train(settings: TrainSettings) -> tuple[Bundle, dict[str, Any]]:
    """Run the training job; return the bundle and its evaluation."""
    version = settings.version or datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")
    bundle_uri = storage.join(storage.absolute(settings.output_uri), "bundles", version)
    if storage.exists(storage.join(bundle_uri, MANIFEST)):
        raise BundleError(f"{bundle_uri}: this bundle exists; give another version")
    precision = settings.precision or ("bf16" if settings.workers.use_gpu else "fp32")
    dataset = load_dataset(settings)
    log.info(
        f"data      {len(dataset.labels)} classes, {len(dataset.train):,} train, {len(dataset.valid):,} valid, "
        f"{len(dataset.test):,} test ads, {len(dataset.cleaner.cities):,} cities"
    )
    extra = load_extra_texts(settings.evaluation, dataset.cleaner)
    baseline = baseline_metrics(dataset.train, dataset.test) if settings.evaluation.baseline else None
    if baseline:
        log.info("baseline  TF-IDF + LinearSVC  accuracy %(accuracy).4f  macro-F1 %(macro_f1).4f", baseline)
    with ray_session(settings), tempfile.TemporaryDirectory() as work_dir:
        trained = fine_tune(dataset, settings, run_name=version, work_dir=work_dir)
        parts = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test, **extra.parts}
        features = _gather(parts, trained, settings, precision)
        fitted = _fit(features, dataset.labels, settings)
        log.info(
            f"fit       T {fitted.temperature.temperature:.3f}{' at its bound' if fitted.temperature.at_bound else ''}"
            f"  d2 threshold {fitted.thresholds.threshold:,.1f}"
            f"  valid d2 {fitted.thresholds.mu:,.1f} +- {fitted.thresholds.sigma:,.1f}  in {precision}"
        )
        agreement = _compare_int8(fitted, features, dataset, trained, settings) if precision == "int8" else None
        evaluation, documents = evaluation_documents(
            fitted,
            features,
            extra=extra,
            test=dataset.test,
            baseline=baseline,
            context=_context(version, settings, dataset, trained, precision),
        )
        documents["README.md"] = model_card(evaluation)
        bundle = write_bundle(
            bundle_uri,
            checkpoint_dir=trained.checkpoint_dir,
            fitted=fitted,
            cleaner=dataset.cleaner,
            max_length=settings.optimiser.max_length,
            documents=documents,
            long_text=settings.long_text,
            precision=precision,
            agreement=agreement,
        )
    log.info("bundle    %s  fingerprint %s", bundle.uri, bundle.fingerprint[:12])
    log.info("report    %s", storage.join(bundle.uri, "evaluation.html"))
    return bundle, evaluation


def _gather(
    parts: Mapping[str, LabelledAds], trained: TrainedModel, settings: TrainSettings, precision: Precision
) -> dict[str, Features]:
    return gather_features(
        parts,
        trained.checkpoint_uri,
        max_length=settings.optimiser.max_length,
        long_text=settings.long_text,
        workers=settings.workers,
        precision=precision,
    )


def _fit(features: Mapping[str, Features], labels: list[str], settings: TrainSettings) -> FittedModel:
    return fit(
        train_cls_NH=features["train"].cls_NH,
        train_labels_N=features["train"].labels_N,
        valid_logits_NC=features["valid"].logits_NC,
        valid_cls_NH=features["valid"].cls_NH,
        valid_labels_N=features["valid"].labels_N,
        labels=labels,
        settings=settings.fit,
        decision=settings.decision,
    )


def _compare_int8(
    fitted: FittedModel,
    features: Mapping[str, Features],
    dataset: Dataset,
    trained: TrainedModel,
    settings: TrainSettings,
) -> dict[str, float]:
    """Fit in fp32 as well, and refuse the bundle when int8 answers otherwise on valid."""
    plain = _gather({"train": dataset.train, "valid": dataset.valid}, trained, settings, "fp32")
    valid, plain_valid = features["valid"], plain["valid"]
    agreement = int8_agreement(
        fitted,
        (valid.logits_NC, valid.cls_NH),
        _fit(plain, dataset.labels, settings),
        (plain_valid.logits_NC, plain_valid.cls_NH),
    )
    log.info(
        "int8      argmax as in fp32 %(argmax_agreement).4f  OOD rate %(flag_rate).4f (fp32 %(flag_rate_fp32).4f)"
        "  mean d2 x%(mean_d2_ratio).4f",
        agreement,
    )
    check_agreement(agreement)
    return agreement


def _context(
    version: str, settings: TrainSettings, dataset: Dataset, trained: TrainedModel, precision: Precision
) -> dict[str, Any]:
    return {
        "version": version,
        "base_model": settings.base_model,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "num_train": len(dataset.train),
        "num_valid": len(dataset.valid),
        "num_test": len(dataset.test),
        "num_classes": len(dataset.labels),
        "num_test_texts_seen_in_train": dataset.num_test_texts_seen_in_train(),
        "best_epoch": trained.epoch,
        "history": trained.history,
        "settings": settings.model_dump(
            mode="json", include={"optimiser", "long_text", "workers", "split", "fit", "decision"}
        )
        | {"precision": precision},
    }
