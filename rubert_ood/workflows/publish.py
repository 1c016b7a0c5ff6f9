"""Apply the gate to a run that is there, and swap the pointer."""

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import look
from rubert_ood.publishing.publish import publish_run
from rubert_ood.reuse.build import with_index
from rubert_ood.runs.manifest import Manifest, read_manifest
from rubert_ood.runs.plan import load_plan
from rubert_ood.runs.verify import complete_manifest, verify_run
from rubert_ood.settings import PublishSettings
from rubert_ood.settings.problems import expect
from rubert_ood.tables.follow import follow_pointer
from rubert_ood.tables.wanted import known_tables

log = StepLog("published")


def publish(settings: PublishSettings) -> Manifest:
    """Verify a run, and publish what is counted from its receipts again."""
    expect(settings, PublishSettings)
    plan = load_plan(settings.run_uri)
    verified = verify_run(plan)
    counted = complete_manifest(plan, verified)
    counted = with_index(plan, counted)
    publish_run(counted, settings.gate, force=settings.force)
    follow_pointer(plan.output_uri, known_tables(plan.output_uri, settings.tables))
    catalogue = look(plan.output_uri)
    if catalogue.pointer and not catalogue.names(plan.run_uri):
        raise PublicationRefusedError(
            f"{plan.run_uri}: this run was published before"
            f" {catalogue.pointer.path}, which readers see now. Run `publish"
            " --force REASON` to go back to it"
        )
    log.info("%s", plan.run_uri)
    return read_manifest(plan.run_uri)
