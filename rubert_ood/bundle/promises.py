"""What the decision of a bundle promises, as the bundle keeps it. Older bundles promise nothing."""

from pathlib import Path

from pydantic import Field

from rubert_ood.bundle.files import Document, write_json
from rubert_ood.ood.promise import Promise

PROMISES = "promises.json"
FORMAT = 1


class PromisesDocument(Document):
    """promises.json: what holds of ads like those that tested it, all of it at once."""

    format: int = FORMAT
    promises: list[Promise] = Field(min_length=1)


def write_promises(folder: str, promises: tuple[Promise, ...]) -> None:
    """Put the promises into a folder; without any, what another decision promised there goes."""
    if promises:
        document = PromisesDocument(promises=list(promises))
        write_json(folder, PROMISES, document.model_dump())
    else:
        Path(folder, PROMISES).unlink(missing_ok=True)
