"""Choose the thresholds of a bundle for a stated target, and write them as a new version."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from rubert_ood import storage
from rubert_ood.ads.dataset import LabelledAds, clean_labelled, read_labelled
from rubert_ood.bundle import Bundle, check_new, derive_bundle, load_bundle, load_reference
from rubert_ood.classifier.features import compute_features
from rubert_ood.classifier.outputs import Outputs
from rubert_ood.cluster import ray_session
from rubert_ood.errors import InputError
from rubert_ood.ood.fit import FittedModel, fit
from rubert_ood.ood.reference import Reference, make_reference
from rubert_ood.ood.tuning import choose_decision, measure
from rubert_ood.reports.model_card import model_card
from rubert_ood.settings import TuneSettings
from rubert_ood.workflows.evaluation import evaluation_documents, load_extra_texts

log = logging.getLogger(__name__)


def tune(settings: TuneSettings) -> Bundle:
    """Run the tuning job; return the new bundle."""
    version = settings.version or datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")
    bundle = load_bundle(settings.bundle_uri)
    uri = storage.join(bundle.uri.rpartition("/")[0], version)
    check_new(uri)
    table = read_labelled(settings.input_uri, settings.columns)
    ads = clean_labelled(table, bundle.cleaner, bundle.fitted.labels, traits=True)
    halves = _halves(ads, settings)
    extra = load_extra_texts(settings.evaluation, bundle.cleaner)
    log.info(f"data      {len(ads):,} labelled ads: one half fits T and thresholds, the other chooses")
    with ray_session(settings):
        outputs = compute_features(
            {**halves, **extra.parts},
            bundle.uri,
            max_length=bundle.max_length,
            long_text=bundle.long_text,
            workers=settings.workers,
            precision=bundle.precision,
        ).gather()
    fitted = _refit(bundle, outputs["calibration"], settings)
    foreign = _foreign(outputs)
    decision = choose_decision(fitted, outputs["test"], foreign, min_precision=settings.min_precision)
    tuned = replace(fitted, decision=decision)
    before, after = (measure(model, outputs["test"], foreign) for model in (bundle.fitted, tuned))
    _log("before", bundle.fitted, before)
    _log("after", tuned, after)
    reference = _reference(bundle, outputs["calibration"])
    evaluation, documents = evaluation_documents(
        tuned,
        outputs,
        extra=extra,
        test=halves["test"],
        reference=reference,
        baseline=None,
        context=_context(version, bundle, settings, ads),
    )
    target = {"min_precision": settings.min_precision} if settings.min_precision else {"maximise": "macro_f1"}
    choice = {"target": target, "from": bundle.fingerprint, "before": before, "after": after}
    documents["tuning.json"] = json.dumps(choice | {"decision": decision.model_dump()}, indent=1)
    documents["README.md"] = model_card(evaluation)
    derived = derive_bundle(bundle, uri, fitted=tuned, documents=documents, reference=reference)
    log.info("bundle    %s  fingerprint %s", derived.uri, derived.fingerprint[:12])
    log.info("report    %s", storage.join(derived.uri, "evaluation.html"))
    return derived


def _halves(ads: LabelledAds, settings: TuneSettings) -> dict[str, LabelledAds]:
    """Cut the ads in two, stratified where every class has two of them; named as the evaluation names its splits."""
    from sklearn.model_selection import train_test_split

    counts = np.bincount(ads.labels_N)
    if len(ads) < 4:
        raise InputError(f"{settings.input_uri}: {len(ads)} ads with text are too few to tune on; give some hundred")
    stratify = ads.labels_N if counts[counts > 0].min() > 1 and (counts > 0).sum() <= len(ads) // 2 else None
    rows = train_test_split(np.arange(len(ads)), test_size=0.5, random_state=settings.seed, stratify=stratify)
    return {
        name: LabelledAds(
            [ads.texts[row] for row in half],
            ads.labels_N[half],
            {trait: [values[row] for row in half] for trait, values in ads.traits.items()},
        )
        for name, half in zip(("calibration", "test"), rows, strict=True)
    }


def _refit(bundle: Bundle, calibration: Outputs, settings: TuneSettings) -> FittedModel:
    """Fit T and the thresholds anew; the class means and the precision stay those of the training."""
    rule = settings.rule or bundle.fitted.decision.rule
    return fit(
        bundle.fitted.statistics,
        calibration,
        labels=bundle.fitted.labels,
        settings=settings.fit,
        decision=bundle.fitted.decision.model_copy(update={"rule": rule}),
        calibrated_on="calibration",
    )


def _foreign(outputs: Mapping[str, Outputs]) -> Outputs | None:
    """Join the foreign texts of all kinds: each text counts once in precision and macro-F1."""
    kinds = [part for name, part in outputs.items() if name.startswith("ood/")]
    if not kinds:
        return None
    return Outputs(*(np.concatenate([getattr(part, name) for part in kinds]) for name in vars(kinds[0])))


def _reference(bundle: Bundle, calibration: Outputs) -> Reference | None:
    older = load_reference(bundle)
    return make_reference(older.train, calibration) if older else None


def _log(name: str, model: FittedModel, measures: Mapping[str, Any]) -> None:
    parts = [
        f"{key} {measures[key]:.4f}"
        for key in ("precision", "coverage", "macro_f1", "foreign_kept")
        if measures[key] is not None
    ]
    decision = model.decision
    log.info(
        f"{name:<9} {'  '.join(parts)}  (tau_other {decision.tau_other:g}, gate {decision.ood_conf_gate:g}, "
        f"{decision.rule} rule)"
    )


def _context(version: str, bundle: Bundle, settings: TuneSettings, ads: LabelledAds) -> dict[str, Any]:
    older = storage.read_json(storage.join(bundle.folder, "evaluation.json")).get("context", {})
    return {name: older[name] for name in ("base_model", "num_train", "num_classes") if name in older} | {
        "version": version,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tuned_from": bundle.version,
        "num_test": len(ads) - len(ads) // 2,
        "settings": settings.model_dump(mode="json", include={"min_precision", "rule", "fit", "seed"}),
    }
