"""What an export says of itself: export.json."""

from pydantic import Field, TypeAdapter

from rubert_ood import storage
from rubert_ood.runs.plan import BundleName
from rubert_ood.runs.record import Count, Day, Moment, PlainName, Record, parse

FILE = "export.json"
FORMAT = 1


class Task(Record):
    """An ad to annotate."""

    task: Count
    """Its number in the export, from 1."""
    key: str
    """Hash of its id and text, in older exports of its id alone."""
    ad_id: str
    title: str
    description: str
    city: str = ""
    kind: str
    """Why it was picked (annotating/mix.py)."""
    copies: Count = 1
    """Of the random control: ads that were drawn and have this text."""
    weight: float = 0.0
    """Of the random control: ads of the run that it stands for."""
    label: str
    """What the run says: a class, or Other."""
    best: str
    """The best class, whatever the label."""
    confidence: float | None = None
    is_ood: bool = False
    ood_distance: float | None = None
    ood_p: float | None = None
    sub_label: str = ""
    sub_confidence: float | None = None


class Export(Record):
    """An export for annotation."""

    format: int = FORMAT
    name: PlainName
    created_at: Moment
    code_version: str
    run_uri: str
    run_id: str
    run_date: Day
    bundle: BundleName
    labels: list[str]
    """Classes of the bundle."""
    sub_labels: dict[str, list[str]] = Field({})
    """Finer classes by class."""
    num_rows: Count
    """Ads of the run."""
    num_eligible: Count
    """Ads with text that were not exported before: what the random control stands for."""
    num_drawn: Count
    """Ads of the random control; those of one text share a task."""
    taken: dict[str, int]
    """By kind."""
    skipped: dict[str, int]
    """Rows without text, rows exported before, candidates exported before in other words, near-
    duplicates, candidates whose text was not found."""
    tasks: list[Task]


EXPORT = TypeAdapter(Export)


def read_export(export_uri: str) -> Export:
    """Read an export; InputError where it is missing or damaged."""
    uri = storage.join(storage.absolute(export_uri), FILE)
    return parse(uri, storage.read_bytes(uri), EXPORT)
