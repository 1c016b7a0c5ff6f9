"""Which run a new one takes results over from: the last published one, or one that is named."""

from dataclasses import replace

from rubert_ood import storage
from rubert_ood.errors import InputError, SettingsError
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import look
from rubert_ood.reuse.document import (
    FORMAT,
    IndexDocument,
    differences,
    read_document,
    result_identity,
)
from rubert_ood.runs.manifest import find_manifest
from rubert_ood.runs.plan import PLAN_FILE, Plan
from rubert_ood.runs.reuse import ReusedRun
from rubert_ood.settings import CatalogueSettings

log = StepLog("reuse")
MIN_CHECKED = 200
"""Texts of an index that are checked, about, if all of them are met again."""


def with_reuse(plan: Plan, settings: CatalogueSettings) -> Plan:
    """Name in a new plan the run whose results it takes over; a plan that is saved keeps its own.

    Raises SettingsError, one line that names what differs, when the settings name a run that
    does not fit. The last published run is skipped with a log line if it does not fit.
    """
    saved = storage.join(plan.run_uri, "_run", PLAN_FILE)
    if settings.reuse == "never" or storage.exists(saved):
        return plan
    if settings.reuse != "auto":
        named = storage.absolute(settings.reuse)
        try:
            return replace(plan, reuse=_fitting(plan, named, settings))
        except InputError as error:
            raise SettingsError(
                f"reuse: {error}. Set it to auto, which finds a run by itself, or to never"
            ) from error
    place = look(plan.output_uri)
    if place.pointer is None or place.names(plan.run_uri):
        return plan
    published = storage.join(place.root_uri, place.pointer.path)
    try:
        return replace(plan, reuse=_fitting(plan, published, settings))
    except InputError as error:
        log.info("scores every text, because %s", error)
        return plan


def say_reuse(plan: Plan, settings: CatalogueSettings) -> None:
    """Say which run is reused, and where the settings name another one than the plan does."""
    if plan.reuse is None:
        return
    log.info("takes over the results of %s for the same texts", plan.reuse.run_uri)
    if settings.reuse == "never":
        log.warning(
            "reuse: never has no effect, because the plan of this run"
            " reuses results. Choose another run_id to score all"
        )


def _fitting(plan: Plan, run_uri: str, settings: CatalogueSettings) -> ReusedRun:
    """Return a run as a plan names it; InputError that says why its results do not fit."""
    manifest = find_manifest(run_uri)
    if run_uri == plan.run_uri:
        raise InputError(f"{run_uri} is the planned run itself")
    if manifest is None:
        raise InputError(f"{run_uri} is not the folder of a run")
    if manifest.index is None:
        raise InputError(f"{run_uri} has no index of its texts")
    document, sha256 = read_document(run_uri)
    if sha256 != manifest.index.sha256:
        raise InputError(f"the index of {run_uri} is not the one in its manifest")
    reason = _difference(plan, document, settings)
    if reason:
        raise InputError(f"{run_uri} {reason}")
    fraction = max(settings.reuse_check_fraction, MIN_CHECKED / max(document.texts, 1))
    return ReusedRun(
        run_uri=run_uri,
        run_id=document.run_id,
        index_sha256=sha256,
        check_fraction=min(fraction, 1.0),
    )


def _difference(plan: Plan, document: IndexDocument, settings: CatalogueSettings) -> str:
    if document.format > FORMAT:
        return "has an index of a later version of rubert_ood"
    different = differences(result_identity(plan), document.identity)
    if different:
        return f"was scored with another {', '.join(different)}"
    if plan.run_id in (document.run_id, *document.layout.names):
        return f"has results under the same run_id {plan.run_id}"
    if settings.embedding and document.layout.hidden_size is None:
        return "has no embeddings"
    return ""
