"""Publish the run before the present one again, or make the bundle before it the champion."""

from rubert_ood import storage
from rubert_ood.bundle import bundles_folder
from rubert_ood.errors import RubertOodError
from rubert_ood.pointers import champion
from rubert_ood.pointers.champion import Champion
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import Pointer
from rubert_ood.publishing.rollback import roll_back
from rubert_ood.settings import RollbackSettings
from rubert_ood.settings.problems import expect
from rubert_ood.tables.follow import follow_pointer
from rubert_ood.tables.wanted import known_tables

log = StepLog("rollback")


def rollback(settings: RollbackSettings) -> Pointer | Champion:
    """Roll back to the run that was published before, or to the previous champion."""
    expect(settings, RollbackSettings)
    if settings.bundles:
        return _roll_back_champion(settings)
    root_uri = storage.absolute(settings.output_uri)
    pointer = roll_back(root_uri, settings.reason)
    log.info("rolled back %s, readers now see %s", pointer.taken_back[0], pointer.path)
    run_uri = storage.join(root_uri, pointer.path)
    output_uri = run_uri.rsplit("/", 2)[0]  # the root may be the folder of a day
    try:
        follow_pointer(output_uri, known_tables(output_uri, settings.tables))
    except RubertOodError as error:  # started again, this would take one more run back
        log.warning("the run is rolled back, but tables may not follow: %s", error)
    return pointer


def _roll_back_champion(settings: RollbackSettings) -> Champion:
    root_uri = bundles_folder(settings.output_uri)
    now, taken_back = champion.roll_back(root_uri, settings.reason)
    log.info("rolled back the bundle %s, the champion is now %s", taken_back, now.version)
    return now
