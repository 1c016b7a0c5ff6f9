"""Train sub-heads on the fixed features of a bundle; the bundle with them is a new version."""

from rubert_ood.ads.dataset import clean_subcategories, read_labelled
from rubert_ood.ads.labels import check_subcategories
from rubert_ood.bundle import (
    Bundle,
    check_new,
    derive_bundle,
    new_bundle_uri,
    version_name,
)
from rubert_ood.classifier.subheads import fit_subheads
from rubert_ood.errors import SchemaError
from rubert_ood.pointers.champion import open_bundle
from rubert_ood.progress import StepLog
from rubert_ood.ray_session import ray_session
from rubert_ood.settings import SubheadsSettings
from rubert_ood.training.features import bundle_outputs
from rubert_ood.training.readable import readable_ads

log = StepLog("data")


def subheads(settings: SubheadsSettings) -> Bundle:
    """Run the job; return the new bundle. The old one stays as it is."""
    bundle = open_bundle(settings.bundle_uri)
    version = version_name(settings.version)
    uri = new_bundle_uri(settings.output_uri, version, beside=bundle.uri)
    check_new(uri)
    known = bundle.fitted.labels
    table = read_labelled(
        settings.input_uri, settings.columns, extra=("subcategory",), known=known
    )
    ads, pairs = clean_subcategories(table, bundle.cleaner, bundle.fitted.labels)
    ads = readable_ads(ads, bundle)
    check_subcategories(settings.input_uri, settings.columns.subcategory, pairs)
    if not len(ads):
        raise SchemaError(
            f"{settings.input_uri}: no ad has both text and a sub-category"
            f" (column {settings.columns.subcategory!r}). Fill in both"
        )
    log.info(
        f"trains on the {len(ads):,} of {table.num_rows:,} ads with text and"
        f" a sub-category, bundle {bundle.version}"
    )
    with ray_session(settings):
        outputs = bundle_outputs(
            bundle,
            {"subheads": ads},
            compute=settings.compute,
            executor=settings.executor,
        )
    categories = [pairs[number][0] for number in ads.labels_N]
    names = [pairs[number][1] for number in ads.labels_N]
    fitted = fit_subheads(outputs["subheads"].cls_NH, categories, names, settings)
    for category, head in fitted.heads.items():
        measured = head.measured
        StepLog("subheads").info(
            f"{category}: accuracy {measured['accuracy']:.4f} over"
            f" {len(head.names)} sub-categories, on {measured['num_test']:,}"
            " held-out ads (most frequent one:"
            f" {measured['majority_accuracy']:.4f})"
        )
    derived = derive_bundle(bundle, uri, subheads=fitted)
    StepLog("bundle").info("%s  fingerprint %s", derived.uri, derived.fingerprint[:12])
    return derived
