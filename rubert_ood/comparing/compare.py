"""Compare two runs ad by ad, and write what differs: for `diff`, for a backfill, and for the report
of every run."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # its module loads Ray
    from rubert_ood.comparing.join import Run

log = logging.getLogger(__name__)


def compare_runs(a_uri: str, b_uri: str) -> dict[str, Any]:
    """Return the differences of two runs, with what each of them is; Ray must have been started."""
    from rubert_ood.comparing.join import diff_runs, read_run

    a, b = read_run(a_uri), read_run(b_uri)
    document = {"a": _side(a), "b": _side(b), **diff_runs(a, b), "evaluations": None}
    ads = document["ads"]
    churn = (
        "no ad is in both"
        if document["churn_rate"] is None
        else f"{document['churn_rate']:.2%} changed their label"
    )
    log.info(
        f"diff      {ads['both']:,} ads in both, {ads['only_a']:,} only in A, {ads['only_b']:,}"
        f" only in B: {churn}"
    )
    return document


def _side(run: "Run") -> dict[str, Any]:
    names = {"run_uri", "run_id", "run_date", "bundle", "outcome"}
    return {"rows": run.num_rows, **run.manifest.model_dump(include=names)}


def changed_labels(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the report of run B shows of a comparison; None when no ad is in both."""
    if not document["ads"]["both"]:
        return None
    pairs = [
        {
            "from": transition["from"],
            "to": transition["to"],
            "count": transition["count"],
            "examples": [example["ad_id"] for example in transition["examples"]],
        }
        for transition in document["transitions"]
    ]
    return {
        "num_both": document["ads"]["both"],
        "churn_rate": document["churn_rate"],
        "pairs": pairs,
    }
