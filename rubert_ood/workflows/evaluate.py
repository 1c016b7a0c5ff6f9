"""Measure a bundle on labelled ads."""

from rubert_ood import storage
from rubert_ood.ads.dataset import clean_labelled, read_labelled
from rubert_ood.ads.extra_texts import load_extra_texts
from rubert_ood.bundle import load_reference
from rubert_ood.errors import InputError
from rubert_ood.plain import count_of
from rubert_ood.pointers.champion import open_bundle
from rubert_ood.progress import StepLog
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.documents import evaluation_documents
from rubert_ood.reports.evaluate import Material, evaluate
from rubert_ood.reports.evaluation import Context, Evaluation
from rubert_ood.settings import EvaluateSettings
from rubert_ood.training.features import bundle_outputs
from rubert_ood.training.readable import readable_ads

log = StepLog("data")


def evaluate_bundle(settings: EvaluateSettings) -> Evaluation:
    """Run the evaluation job; return the evaluation."""
    bundle = open_bundle(settings.bundle_uri)
    known = bundle.fitted.labels
    table = read_labelled(settings.input_uri, settings.columns, known=known)
    ads = readable_ads(clean_labelled(table, bundle.cleaner, known, traits=True), bundle)
    if not len(ads):
        raise InputError(
            f"{settings.input_uri}: no ad has text after cleaning. Use other labelled ads"
        )
    log.info(
        f"measures the bundle {bundle.version} on {count_of(len(ads), 'labelled ad')}"
    )
    extra = load_extra_texts(settings.evaluation, bundle.cleaner, known)
    with ray_session(settings):
        outputs = bundle_outputs(
            bundle,
            {"test": ads, **extra.splits},
            compute=settings.compute,
            executor=settings.executor,
        )
    evaluation = evaluate(
        bundle.fitted,
        Material.of(outputs, extra=extra, test_ads=ads),
        reference=load_reference(bundle),
        context=Context(
            version=bundle.version,
            fingerprint=bundle.fingerprint,
            num_test=len(ads),
            stack_weight=bundle.stack.weight if bundle.stack else None,
        ),
    )
    for name, text in evaluation_documents(evaluation).items():
        storage.put_bytes(storage.join(settings.output_uri, name), text.encode())
    headline = evaluation.headline
    StepLog("evaluate").info(
        f"accuracy {headline.accuracy:.4f}  macro-F1 {headline.macro_f1:.4f}"
    )
    output_uri = storage.absolute(settings.output_uri)
    StepLog("report").info("%s", storage.join(output_uri, "evaluation.html"))
    return evaluation
