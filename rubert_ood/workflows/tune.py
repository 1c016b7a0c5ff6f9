"""Choose the thresholds of a bundle for a stated target, and write them as a new version."""

from collections.abc import Mapping

import numpy as np

from rubert_ood import storage
from rubert_ood.ads.dataset import LabelledAds, clean_labelled, read_labelled
from rubert_ood.ads.extra_texts import ExtraTexts, load_extra_texts
from rubert_ood.bundle import (
    Bundle,
    check_new,
    derive_bundle,
    new_bundle_uri,
    version_name,
)
from rubert_ood.bundle.evaluation import read_evaluation
from rubert_ood.clock import utc_now
from rubert_ood.ood.decision import check_rule
from rubert_ood.ood.fit import FittedModel, fit
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import make_reference
from rubert_ood.ood.tuning import measure
from rubert_ood.pointers.champion import open_bundle
from rubert_ood.progress import StepLog
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import evaluation_documents
from rubert_ood.reports.evaluate import Material, evaluate
from rubert_ood.reports.evaluation import Context
from rubert_ood.reports.model_card import model_card
from rubert_ood.reports.tuning import (
    Tuning,
    in_words,
    log_measures,
    say_promises,
    target_of,
    warn_of_tuned,
)
from rubert_ood.settings import DecisionSettings, TuneSettings
from rubert_ood.training.class_limits import (
    say_class_limits,
    train_shares,
    with_class_limits,
)
from rubert_ood.training.features import bundle_outputs
from rubert_ood.training.promising import (
    ads_needed,
    choose,
    each_text_once,
    promised_rule,
    rows_to_choose_on,
)
from rubert_ood.training.readable import readable_ads
from rubert_ood.training.tuning import (
    check_target,
    halves,
    reference_for,
    starting_decision,
)

log = StepLog("data")


def tune(settings: TuneSettings) -> Bundle:
    """Run the tuning job; return the new bundle."""
    version = version_name(settings.version)
    bundle = open_bundle(settings.bundle_uri)
    uri = new_bundle_uri(settings.output_uri, version, beside=bundle.uri)
    check_new(uri)
    known = bundle.fitted.labels
    table = read_labelled(settings.input_uri, settings.columns, known=known)
    ads = readable_ads(clean_labelled(table, bundle.cleaner, known, traits=True), bundle)
    extra = load_extra_texts(settings.evaluation, bundle.cleaner, known)
    if settings.confidence:
        ads, extra = each_text_once(ads, extra)
    splits = halves(ads, settings)
    num_calibration = len(splits["calibration"])
    decision = starting_decision(bundle.fitted.decision, settings)
    decision = promised_rule(decision, settings, num_calibration)
    older = reference_for(bundle, decision.detector)
    check_rule(decision, num_calibration)
    check_target(settings, _num_texts(splits, extra))
    shares_C = train_shares(bundle, older) if settings.per_class else None
    log.info(
        f"fits T and thresholds on one half of {len(ads):,} labelled ads,"
        " chooses on the other"
    )
    with ray_session(settings):
        outputs = bundle_outputs(
            bundle,
            {**splits, **extra.splits},
            compute=settings.compute,
            executor=settings.executor,
        )
    kept = {"train": older.train} if older else {}
    tuned, tuning = _tune(bundle, {**outputs, **kept}, settings, decision, shares_C)
    reference = make_reference(older.train, outputs["calibration"]) if older else None
    evaluation = evaluate(
        tuned,
        Material.of(outputs, extra=extra, test_ads=splits["test"]),
        reference=reference,
        context=_context(version, bundle, settings, tuning, num_test=len(splits["test"])),
    )
    documents = evaluation_documents(evaluation)
    documents["tuning.json"] = storage.to_json(tuning).decode()
    documents["README.md"] = model_card(evaluation)
    derived = derive_bundle(
        bundle, uri, fitted=tuned, documents=documents, reference=reference
    )
    StepLog("bundle").info("%s  fingerprint %s", derived.uri, derived.fingerprint[:12])
    report_uri = storage.join(storage.absolute(derived.uri), "evaluation.html")
    StepLog("report").info("%s", report_uri)
    return derived


def _num_texts(splits: Mapping[str, LabelledAds], extra: ExtraTexts) -> int:
    """Count the ads and OOD texts to choose on."""
    ood = [texts for name, texts in extra.splits.items() if name.startswith("ood/")]
    return len(splits["test"]) + sum(len(texts) for texts in ood)


def _tune(
    bundle: Bundle,
    outputs: Mapping[str, Outputs],
    settings: TuneSettings,
    decision: DecisionSettings,
    shares_C: np.ndarray | None,
) -> tuple[FittedModel, Tuning]:
    """Fit T and thresholds on one half, choose on the other.

    The statistics stay those of the training. shares_C: of the classes among the train ads, where
    each gets a limit of its own.
    """
    fitted = fit(
        bundle.fitted.statistics,
        outputs["calibration"],
        labels=bundle.fitted.labels,
        settings=settings.fit,
        decision=decision,
        calibrated_on="calibration",
        train=outputs.get("train"),
    )
    if shares_C is not None:
        fitted = with_class_limits(fitted, outputs["calibration"], shares_C, settings)
        say_class_limits(fitted)
    order, test = rows_to_choose_on(outputs, settings)
    tuned = choose(fitted, order, test, settings)
    ads, ood = test.ads, test.ood
    before, after = measure(bundle.fitted, ads, ood), measure(tuned, ads, ood)
    log_measures("before", bundle.fitted, before)
    log_measures("after", tuned, after)
    warn_of_tuned(tuned, after)
    needed = ads_needed(settings, after, test)
    say_promises(tuned.promises, needed)
    tuning = Tuning(
        target=target_of(settings),
        origin=bundle.fingerprint,
        before=before,
        after=after,
        decision=tuned.decision,
        promises=list(tuned.promises),
        ads_needed=needed,
    )
    return tuned, tuning


def _context(
    version: str,
    bundle: Bundle,
    settings: TuneSettings,
    tuning: Tuning,
    *,
    num_test: int,
) -> Context:
    older = read_evaluation(bundle)
    origin = older.context.model_dump() if older else {}
    return Context(
        **origin,
        version=version,
        created_at=utc_now(),
        tuned_from=bundle.version,
        tuned_for=in_words(settings, tuning.after, tuning.promises),
        num_test=num_test,
        stack_weight=bundle.stack.weight if bundle.stack else None,
        settings=settings.model_dump(
            mode="json",
            include={
                "min_precision",
                "max_flagged",
                "confidence",
                "per_class",
                "rule",
                "detector",
                "fit",
                "seed",
            },
        ),
    )
