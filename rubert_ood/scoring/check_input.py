"""The first step of a run: load the bundle, check the input, and say what would be scored."""

from rubert_ood.bundle import Bundle
from rubert_ood.plain import count_of
from rubert_ood.pointers.champion import open_named, resolve
from rubert_ood.progress import StepLog
from rubert_ood.runs.plan import BundleName, Plan
from rubert_ood.scoring.begun import as_begun
from rubert_ood.scoring.planning import make_plan
from rubert_ood.settings import DaySettings

log = StepLog("plan")


def check_input(
    settings: DaySettings, named: BundleName | None = None
) -> tuple[Plan, Bundle]:
    """Load the bundle, make the plan, and say what is in it.

    The champion is resolved here, once: an unfinished run keeps the bundle of its plan. With
    `named` it was resolved before, and each run has this bundle.
    """
    bundle = open_named(named or resolve(settings.bundle_uri), settings.require_signature)
    plan = make_plan(settings, bundle)
    if bundle.alias and named is None:
        plan, bundle = as_begun(plan, bundle, settings)
    log.info(
        f"{count_of(plan.num_rows, 'ad')} in {count_of(len(plan.shards), 'shard')},"
        f" {count_of(len(plan.quarantined), 'quarantined file')},"
        f" bundle {plan.bundle.version}"
    )
    for promise in plan.bundle.promises:
        log.info("the bundle promises: %s", promise.in_words().removesuffix("."))
    for file in plan.quarantined:
        log.warning("quarantines a file: %s", file.reason)
    for uri in plan.empty_files:
        log.warning("%s: this file has no rows", uri)
    run_log = StepLog("run")
    run_log.info("%s", plan.run_uri)
    if "run_date" not in settings.model_fields_set:
        day, zone = settings.run_date, settings.run_timezone
        run_log.info("run_date is %s: today in %s (run_timezone)", day, zone)
    return plan, bundle
