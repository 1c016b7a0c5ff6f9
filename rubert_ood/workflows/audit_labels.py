"""Find labels that are probably wrong."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubert_ood import storage
from rubert_ood.ads.csv_table import to_csv
from rubert_ood.ads.labelled_ads import LabelledAds
from rubert_ood.auditing.audit import Audit, audit
from rubert_ood.auditing.folds import (
    cut_folds,
    feature_judge,
    out_of_fold,
    word_judge,
)
from rubert_ood.auditing.material import AuditAds, read_ads
from rubert_ood.bundle import Bundle
from rubert_ood.errors import SchemaError
from rubert_ood.plain import count_of, safe_cell
from rubert_ood.pointers.champion import open_bundle
from rubert_ood.progress import StepLog
from rubert_ood.ray_session import ray_session
from rubert_ood.reports.audit_page import audit_html
from rubert_ood.runs.part import to_parquet
from rubert_ood.settings import AuditLabelsSettings
from rubert_ood.settings.problems import expect
from rubert_ood.training.features import bundle_outputs

log = StepLog("audit")

NUM_NAMED = 5


def audit_labels(settings: AuditLabelsSettings) -> Audit:
    """Write the page and the tables of an audit; return what it found."""
    expect(settings, AuditLabelsSettings)
    bundle = open_bundle(settings.bundle_uri) if settings.bundle_uri else None
    cleaner = bundle.cleaner if bundle else None
    ads = read_ads(settings.input_uri, settings.columns, cleaner)
    if len(ads.labels) < 2:
        raise SchemaError(
            f"{settings.input_uri}: an audit needs ads of two classes. Add ads of"
            " other classes"
        )
    num_classes = len(ads.labels)
    folds = cut_folds(ads.keys_N, ads.labels_N, settings.folds, settings.seed)
    if bundle is None:
        judge = word_judge(ads.texts, ads.labels_N, num_classes)
    else:
        judge = feature_judge(_features(bundle, ads, settings), ads.labels_N, num_classes)
    probabilities_NC = out_of_fold(folds, judge, ads.labels_N, num_classes)
    found = audit(ads, probabilities_NC, settings.folds)
    _write(found, bundle, settings)
    _say(found)
    return found


def _features(
    bundle: Bundle, ads: AuditAds, settings: AuditLabelsSettings
) -> NDArray[np.float32]:
    """Return the CLS features of the ads, float32 (N, H)."""
    splits = {"audit": LabelledAds(ads.texts, ads.labels_N)}
    with ray_session(settings):
        outputs = bundle_outputs(
            bundle, splits, compute=settings.compute, executor=settings.executor
        )
    return outputs["audit"].cls_NH


def _write(found: Audit, bundle: Bundle | None, settings: AuditLabelsSettings) -> None:
    judge = "TF-IDF of words and letters with a linear SVM"
    if bundle is not None:
        judge = f"a linear head on the CLS features of the bundle {bundle.version}"
    page = audit_html(
        found,
        source=settings.input_uri,
        judge=judge,
        folds=settings.folds,
        max_suspects=settings.max_suspects,
    )
    output_uri = storage.absolute(settings.output_uri)
    for name, data in (
        ("suspects.parquet", to_parquet(found.suspects)),
        ("suspects.csv", to_csv(_safe(found.suspects))),
        ("audit.html", page.encode()),
    ):
        storage.put_bytes(storage.join(output_uri, name), data)
    StepLog("report").info("%s", storage.join(output_uri, "audit.html"))


def _safe(table: pa.Table) -> pa.Table:
    """Return the suspects without a cell that a spreadsheet would compute."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            cells = [text and safe_cell(text) for text in table[field.name].to_pylist()]
            table = table.set_column(place, field, pa.array(cells, field.type))
    return table


def _say(found: Audit) -> None:
    suspects = count_of(found.suspects.num_rows, "suspect")
    log.info(
        f"{suspects} among {count_of(found.num_ads, 'ad')},"
        f" {count_of(len(found.conflicts), 'text')} of several labels"
    )
    for pair in found.pairs[:NUM_NAMED]:
        log.info("%s -> %s: %s", pair.label, pair.suggested, f"{pair.count:,}")
    if found.small_classes:
        classes = count_of(len(found.small_classes), "class", "classes")
        names = ", ".join(map(repr, found.small_classes[:NUM_NAMED]))
        more = ", ..." if len(found.small_classes) > NUM_NAMED else ""
        log.warning("cannot judge %s of too few texts: %s%s", classes, names, more)
    if found.num_unreadable:
        ads = count_of(found.num_unreadable, "ad")
        log.warning("leaves out %s: no readable text is left after cleaning", ads)
