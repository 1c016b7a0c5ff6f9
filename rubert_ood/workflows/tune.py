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
from rubert_ood.ads.extra_texts import load_extra_texts
from rubert_ood.bundle import (
    Bundle,
    check_new,
    derive_bundle,
    load_bundle,
    load_reference,
    new_bundle_uri,
    version_name,
)
from rubert_ood.bundle.evaluation import read_evaluation
from rubert_ood.errors import InputError, SettingsError
from rubert_ood.ood.decision import check_rule
from rubert_ood.ood.fit import FittedModel, fit
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference, make_reference
from rubert_ood.ood.tuning import ads_needed, choose_decision, measure
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import evaluation_documents
from rubert_ood.reports.model_card import model_card
from rubert_ood.settings import DecisionSettings, GateSettings, TuneSettings
from rubert_ood.training.features import bundle_outputs

log = logging.getLogger(__name__)

MIN_ADS = 100
"""Half of them fits T and thresholds, half chooses: with fewer, both are chance."""


def tune(settings: TuneSettings) -> Bundle:
    """Run the tuning job; return the new bundle."""
    version = version_name(settings.version)
    bundle = load_bundle(settings.bundle_uri)
    uri = new_bundle_uri(settings.output_uri, version, beside=bundle.uri)
    check_new(uri)
    table = read_labelled(settings.input_uri, settings.columns)
    ads = clean_labelled(table, bundle.cleaner, bundle.fitted.labels, traits=True)
    halves = _halves(ads, settings)
    decision = _starting_decision(bundle, settings)
    check_rule(decision, len(halves["calibration"]))
    extra = load_extra_texts(settings.evaluation, bundle.cleaner)
    _check_target(
        settings,
        len(halves["test"])
        + sum(len(texts) for name, texts in extra.parts.items() if name.startswith("ood/")),
    )
    log.info(
        f"data      {len(ads):,} labelled ads: one half fits T and thresholds, the other chooses"
    )
    with ray_session(settings):
        outputs = bundle_outputs(bundle, {**halves, **extra.parts}, settings.compute)
    fitted = fit(
        bundle.fitted.statistics,  # class means and precision stay those of the training
        outputs["calibration"],
        labels=bundle.fitted.labels,
        settings=settings.fit,
        decision=decision,
        calibrated_on="calibration",
    )
    foreign = _foreign(outputs)
    tuned_decision = choose_decision(
        fitted, outputs["test"], foreign, min_precision=settings.min_precision
    )
    tuned = replace(fitted, decision=tuned_decision)
    before = measure(bundle.fitted, outputs["test"], foreign)
    after = measure(tuned, outputs["test"], foreign)
    _log("before", bundle.fitted, before)
    _log("after", tuned, after)
    _warn(tuned, after)
    reference = _reference(bundle, outputs["calibration"])
    evaluation, documents = evaluation_documents(
        tuned,
        outputs,
        extra=extra,
        test=halves["test"],
        reference=reference,
        baseline=None,
        context=_context(version, bundle, settings, ads)
        | {"tuned_for": _in_words(settings, after)},
    )
    target = (
        {"min_precision": settings.min_precision}
        if settings.min_precision
        else {"maximise": "macro_f1"}
    )
    choice = {"target": target, "from": bundle.fingerprint, "before": before, "after": after}
    documents["tuning.json"] = json.dumps(
        choice | {"decision": tuned_decision.model_dump()}, indent=1
    )
    documents["README.md"] = model_card(evaluation)
    derived = derive_bundle(bundle, uri, fitted=tuned, documents=documents, reference=reference)
    log.info("bundle    %s  fingerprint %s", derived.uri, derived.fingerprint[:12])
    log.info("report    %s", storage.join(derived.uri, "evaluation.html"))
    return derived


def _halves(ads: LabelledAds, settings: TuneSettings) -> dict[str, LabelledAds]:
    """Cut the ads in two, stratified where every class has two of them; named as the evaluation
    names its splits."""
    from sklearn.model_selection import train_test_split

    counts = np.bincount(ads.labels_N)
    if len(ads) < MIN_ADS:
        raise InputError(
            f"{settings.input_uri}: {len(ads)} ads with text are too few to tune on; give at least"
            f" {MIN_ADS}"
        )
    stratify = (
        ads.labels_N
        if counts[counts > 0].min() > 1 and (counts > 0).sum() <= len(ads) // 2
        else None
    )
    rows = train_test_split(
        np.arange(len(ads)), test_size=0.5, random_state=settings.seed, stratify=stratify
    )
    return {
        name: LabelledAds(
            [ads.texts[row] for row in half],
            ads.labels_N[half],
            {trait: [values[row] for row in half] for trait, values in ads.traits.items()},
        )
        for name, half in zip(("calibration", "test"), rows, strict=True)
    }


def _starting_decision(bundle: Bundle, settings: TuneSettings) -> DecisionSettings:
    return bundle.fitted.decision.model_copy(
        update={"rule": settings.rule or bundle.fitted.decision.rule}
    )


def _check_target(settings: TuneSettings, num_texts: int) -> None:
    """Raise SettingsError when so few ads cannot show such a precision."""
    needed = ads_needed(settings.min_precision)
    if needed > num_texts:
        raise SettingsError(
            f"min_precision: {settings.min_precision:g} can be told from {needed:,} kept ads or"
            f" more, there are only {num_texts:,} to choose on; give more, or a lower target"
        )


def _foreign(outputs: Mapping[str, Outputs]) -> Outputs | None:
    """Join the foreign texts of all kinds: each text counts once in precision and macro-F1."""
    kinds = [part for name, part in outputs.items() if name.startswith("ood/")]
    if not kinds:
        return None
    return Outputs(
        *(np.concatenate([getattr(part, name) for part in kinds]) for name in vars(kinds[0]))
    )


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
        f"{name:<9} {'  '.join(parts)}  (tau_other {decision.tau_other:g}, gate"
        f" {decision.ood_conf_gate:g}, {decision.rule} rule)"
    )


def _warn(tuned: FittedModel, measures: Mapping[str, Any]) -> None:
    if tuned.decision.ood_conf_gate == 0:
        log.warning(
            "tune      the gate is 0: no ad will be flagged OOD; on these texts flagging did"
            " not pay"
        )
    other = 1 - measures["coverage"]
    if other > GateSettings().max_other_rate:
        log.warning(
            f"tune      {other:.0%} of ads will end as Other: a run needs gate.max_other_rate above"
            " that"
        )


def _in_words(settings: TuneSettings, measures: Mapping[str, Any]) -> str:
    target = (
        f"precision of {settings.min_precision:g}"
        if settings.min_precision
        else "the largest macro-F1"
    )
    return (
        f"Tuned for {target}: {measures['precision']:.3f} of the kept ads are right (95 % interval"
        f" from {measures['precision_low']:.3f}), {measures['coverage']:.1%} of the ads are kept,"
        f" macro-F1 with Other {measures['macro_f1']:.3f}."
    )


def _context(
    version: str, bundle: Bundle, settings: TuneSettings, ads: LabelledAds
) -> dict[str, Any]:
    older = read_evaluation(bundle).get("context", {})
    return {
        name: older[name] for name in ("base_model", "num_train", "num_classes") if name in older
    } | {
        "version": version,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tuned_from": bundle.version,
        "num_test": len(ads) - len(ads) // 2,
        "settings": settings.model_dump(
            mode="json", include={"min_precision", "rule", "fit", "seed"}
        ),
    }
