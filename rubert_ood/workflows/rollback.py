"""Publish the run before the present one again."""

from rubert_ood import storage
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import Pointer
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.settings import RollbackSettings
from rubert_ood.settings.problems import expect

log = StepLog("rollback")


def rollback(settings: RollbackSettings) -> Pointer:
    """Let the pointer name the run that was published before the present one."""
    expect(settings, RollbackSettings)
    pointer = roll_back(storage.absolute(settings.output_uri), settings.reason)
    log.info("%s is taken back; published is %s", pointer.taken_back[0], pointer.path)
    return pointer
