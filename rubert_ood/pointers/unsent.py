"""What MLflow was not sent of a training: a note beside the bundle, BUNDLES/_unsent/VERSION.json.

It is there before MLflow is asked, and goes when all was sent. So a server that fails, or a process
that is killed meanwhile, leaves a trace behind the log.
"""

from pydantic import TypeAdapter

from rubert_ood import storage
from rubert_ood.bundle import Bundle
from rubert_ood.clock import utc_now
from rubert_ood.errors import RubertOodError
from rubert_ood.progress import StepLog
from rubert_ood.runs.record import Moment, Record, parse
from rubert_ood.settings import MlflowSettings
from rubert_ood.storage import hub
from rubert_ood.storage.folders import remove_files

log = StepLog("mlflow")

FORMAT = 1
FOLDER = "_unsent"
NO_ANSWER_YET = "the training ended before MLflow had all of it"


class Unsent(Record):
    """Why a training is not in MLflow, and how it gets there."""

    format: int = FORMAT
    fingerprint: str
    """Of the bundle."""
    experiment: str
    register_as: str | None = None
    noted_at: Moment
    reason: str
    command: str
    """That sends the rest."""


UNSENT = TypeAdapter(Unsent)


def unsent_uri(bundle_uri: str) -> str:
    """Return where the note of a bundle lies, if there is one."""
    root_uri, _, version = bundle_uri.rpartition("/")
    return storage.join(root_uri, FOLDER, f"{version}.json")


def note_unsent(
    bundle: Bundle, settings: MlflowSettings, command: str, reason: str = NO_ANSWER_YET
) -> None:
    """Write the note; a failure is one line of the log."""
    note = Unsent(
        fingerprint=bundle.fingerprint,
        experiment=settings.experiment or "",
        register_as=settings.register_as,
        noted_at=utc_now(),
        reason=reason,
        command=command,
    )
    try:
        storage.put_json(unsent_uri(bundle.uri), note)
    except RubertOodError as error:
        log.warning("could not note beside the bundle what MLflow lacks: %s", error)


def forget_unsent(bundle: Bundle, settings: MlflowSettings) -> None:
    """Remove the note where all that it asks for was sent; a failure is one line of the log."""
    if hub.is_hub(bundle.uri):
        return
    uri = unsent_uri(bundle.uri)
    try:
        data = storage.read_optional(uri)
        if data is not None and _is_done(parse(uri, data, UNSENT), settings):
            remove_files([uri])
    except RubertOodError as error:
        log.warning("could not remove the note of what MLflow lacked: %s", error)


def _is_done(note: Unsent, settings: MlflowSettings) -> bool:
    is_registered = note.register_as in (None, settings.register_as)
    return note.experiment == settings.experiment and is_registered
