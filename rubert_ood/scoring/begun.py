"""Resume a run with the bundle with which it began, even if another one was promoted since."""

from collections.abc import Iterator
from dataclasses import replace

from rubert_ood import storage
from rubert_ood.bundle import Bundle
from rubert_ood.errors import BundleError, SettingsError
from rubert_ood.pointers.champion import load_signed
from rubert_ood.progress import StepLog
from rubert_ood.runs.manifest import find_manifest
from rubert_ood.runs.plan import BundleName, Plan, PlanIdentity, find_identity
from rubert_ood.scoring.planning import make_plan
from rubert_ood.settings import DaySettings
from rubert_ood.storage.listing import list_folders

log = StepLog("plan")

OF_THE_BUNDLE = {"bundle", "precision", "shards"}
"""Parts of the identity of a plan that another bundle may change."""
DONE = ("published", "refused", "rolled_back")
"""Outcomes after which the same command, with another champion, is another run."""


def as_begun(plan: Plan, bundle: Bundle, settings: DaySettings) -> tuple[Plan, Bundle]:
    """Return the plan, and the bundle, with which the same work was begun and not finished.

    A run is begun once it has a plan. Where none was, or its bundle is gone or does not fit the
    settings of now, the given ones are returned: the run is planned with the champion of now.
    """
    own = find_identity(plan.run_uri)
    if own is not None and own.fingerprint == plan.fingerprint:
        return plan, bundle
    for run_uri, begun, name in _begun_today(plan, settings):
        try:
            key = settings.require_signature
            older = load_signed(name.uri, key, fingerprint=name.fingerprint)
            older = replace(older, alias=name.alias, registered=name.registered)
            same = make_plan(settings, older)
        except (BundleError, SettingsError) as error:
            log.warning("does not resume an unfinished run of today: %s", error)
            continue
        if (same.run_uri, same.fingerprint) == (run_uri, begun.fingerprint):
            log.info(
                "resumes with bundle %s, which %s named when this run was planned",
                name.version,
                name.alias,
            )
            return same, older
    return plan, bundle


def _begun_today(
    plan: Plan, settings: DaySettings
) -> Iterator[tuple[str, PlanIdentity, BundleName]]:
    """Yield the unfinished runs of the day that differ by the bundle at most, and their bundles;
    under a run_id only that run: another one is not resumed."""
    for run_uri in _folders(plan.run_uri.rpartition("/")[0]):
        if settings.run_id and run_uri != plan.run_uri:
            continue
        begun = find_identity(run_uri)
        if begun is None or begun.bundle is None or not _is_same_work(begun, plan):
            continue
        manifest = find_manifest(run_uri)
        if manifest is None or manifest.outcome not in DONE:
            yield run_uri, begun, begun.bundle


def _folders(day: str) -> list[str]:
    return list_folders(day) if storage.exists(day) else []


def _is_same_work(begun: PlanIdentity, plan: Plan) -> bool:
    if begun.bundle is None or begun.bundle.alias != plan.bundle.alias:
        return False
    for name, value in plan.identity.items():
        if name not in OF_THE_BUNDLE and begun.identity.get(name) != value:
            return False
    return True
