"""Render the reports: one self-contained HTML file each, that opens offline and asks nothing of the network."""

import base64
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from itertools import accumulate
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rubert_ood.reports import figures

SLOWEST_SHARDS = 10


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rubert_ood.reports"),
        autoescape=True,  # ads are hostile text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def evaluation_html(evaluation: Mapping[str, Any]) -> str:
    """Render an evaluation, as `reports.evaluation.evaluate` made it."""
    kinds = evaluation["ood_kinds"]
    drawn = {
        "reliability": figures.reliability(evaluation["reliability_before"], evaluation["reliability_after"]),
        "pr": figures.curve(evaluation["curves"]["pr"], "recall", "precision"),
        "roc": figures.curve(evaluation["curves"]["roc"], "false positive rate", "true positive rate", diagonal=True),
        "d2": figures.d2_histograms(evaluation["d2_histograms"], evaluation["d2_limit"]),
    }
    if kinds:
        lines = {kind["kind"]: kind["roc"] for kind in kinds}
        drawn["ood_roc"] = figures.curves(lines, "test ads flagged", "OOD texts flagged", diagonal=True)
    return _environment().get_template("evaluation.html.j2").render(e=evaluation, figures=drawn)


def run_html(manifest: Mapping[str, Any], previous: Mapping[str, Any] | None) -> str:
    """Render a scoring run from its manifest, beside the last published run where there is one."""
    drawn = {"confidence": figures.confidence(manifest["confidence_histogram"])}
    shards = sorted(manifest["shards"], key=lambda shard: shard["finished_at"])
    if len(shards) > 1:
        times = [datetime.fromisoformat(shard["finished_at"]) for shard in shards]
        seconds = [(time - times[0]).total_seconds() for time in times]
        drawn["throughput"] = figures.throughput(seconds, list(accumulate(shard["rows_in"] for shard in shards)))
    return (
        _environment()
        .get_template("run.html.j2")
        .render(
            m=manifest,
            figures=drawn,
            classes=_class_rows(manifest, previous),
            previous=previous,
            slowest=sorted(shards, key=lambda shard: -shard["seconds"])[:SLOWEST_SHARDS],
            failed=[check for check in manifest["gate"] if not check["ok"]],
        )
    )


def _class_rows(manifest: Mapping[str, Any], previous: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Give each label its count and share, and its share in the previous run."""
    total = max(sum(manifest["classes"].values()), 1)
    before = previous["classes"] if previous else {}
    total_before = max(sum(before.values()), 1)
    rows = []
    for label in sorted(set(manifest["classes"]) | set(before)):
        count = manifest["classes"].get(label, 0)
        share_before = before.get(label, 0) / total_before if previous else None
        rows.append({"label": label, "count": count, "share": count / total, "share_before": share_before})
    return sorted(rows, key=lambda row: -row["count"])
