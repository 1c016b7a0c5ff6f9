"""The documents of an evaluation and of a comparison: JSON for programs, a page for people."""

from rubert_ood import storage
from rubert_ood.bundle.evaluation import EVALUATION
from rubert_ood.comparing.document import DiffDocument
from rubert_ood.progress import StepLog
from rubert_ood.reports.evaluation import Evaluation
from rubert_ood.reports.html import diff_html, evaluation_html

log = StepLog("report")


def evaluation_documents(evaluation: Evaluation) -> dict[str, str]:
    """Return the texts of evaluation.json and evaluation.html, by file name."""
    return {
        EVALUATION: storage.to_json(evaluation).decode(),
        "evaluation.html": evaluation_html(evaluation),
    }


def write_diff(document: DiffDocument, output_uri: str) -> None:
    """Write diff.json, for programs, and diff.html, for people."""
    storage.put_json(storage.join(output_uri, "diff.json"), document)
    storage.put_bytes(storage.join(output_uri, "diff.html"), diff_html(document).encode())
    log.info("%s", storage.join(storage.absolute(output_uri), "diff.html"))
