"""Render the reports: one self-contained HTML file each, that opens offline and asks nothing of the network."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from rubert_ood.reports import figures
from rubert_ood.reports.verdict import WEAK_F1

SLOWEST_SHARDS = 10
SHARDS_PER_STRETCH = 5
"""Shards that end in one stretch of the speed figure, about: fewer, and the bars show chance."""
MAX_STRETCHES = 60


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rubert_ood.reports"),
        autoescape=True,  # ads are hostile text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "when": _when}
    script = environment.get_template("sort.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {"script": script, "script_hash": f"sha256-{digest}", "WEAK_F1": WEAK_F1}
    return environment


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _when(iso_time: str) -> str:
    return datetime.fromisoformat(iso_time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


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
        height = figures.ridges_height(len(evaluation["d2_histograms"]["counts"]))
        drawn["ood_roc"] = figures.curves(
            lines, "share of test ads", "share of OOD texts", diagonal=True, height=height
        )
    return _environment().get_template("evaluation.html.j2").render(e=evaluation, figures=drawn)


def run_html(manifest: Mapping[str, Any], previous: Mapping[str, Any] | None) -> str:
    """Render a scoring run from its manifest, beside the last published run where there is one."""
    drawn = {}
    if any(manifest.get("confidence_histogram", ())):
        drawn["confidence"] = figures.confidence(manifest["confidence_histogram"])
    shards = manifest.get("shards", [])
    if shards:
        drawn["throughput"] = figures.throughput(*_speed(shards))
    return (
        _environment()
        .get_template("run.html.j2")
        .render(
            m=manifest,
            figures=drawn,
            classes=_class_rows(manifest, previous),
            rates=_rates(manifest["counts"]),
            rates_before=_rates(previous["counts"]) if previous else {},
            previous=previous,
            slowest=sorted(shards, key=lambda shard: -shard["seconds"])[:SLOWEST_SHARDS],
            failed=[check for check in manifest.get("gate", ()) if not check["ok"]],
        )
    )


def _rates(counts: Mapping[str, int]) -> dict[str, float | None]:
    """Return the shares that tell how a run went; None without rows to take a share of."""
    rows_in, scored = counts["rows_in"], counts["rows_scored"]
    rates: dict[str, float | None] = {
        "ood": counts["rows_ood"] / scored if scored else None,
        "other": counts["rows_other"] / scored if scored else None,
        "rejected": counts["rows_rejected"] / rows_in if rows_in else None,
        "cut": counts["rows_cut"] / scored if scored and "rows_cut" in counts else None,
        "folded": 1 - counts["unique_texts"] / scored if scored else None,
    }
    return rates


def _speed(shards: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Return edges (seconds since the first shard began) and ads per second between them, by when shards ended."""
    ended = np.array([datetime.fromisoformat(shard["finished_at"]).timestamp() for shard in shards])
    began = ended - [shard["seconds"] for shard in shards]
    ended_s = ended - began.min()
    num_stretches = min(max(len(shards) // SHARDS_PER_STRETCH, 1), MAX_STRETCHES)
    edges_s = np.linspace(0.0, max(ended_s.max(), 1e-3), num_stretches + 1)
    ads, _ = np.histogram(ended_s, edges_s, weights=[shard["rows_in"] for shard in shards])
    return edges_s.tolist(), (ads / np.diff(edges_s)).tolist()


def _class_rows(manifest: Mapping[str, Any], previous: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Give each label its count and share, its share in the previous run and the difference; most frequent first."""
    now, before = _shares(manifest["classes"]), _shares(previous["classes"]) if previous else {}
    rows = []
    for label in sorted(set(now) | set(before)):
        share, share_before = now.get(label, 0.0), before.get(label, 0.0)
        change = share - share_before
        count = manifest["classes"].get(label, 0)
        rows.append({"label": label, "count": count, "share": share, "share_before": share_before, "change": change})
    return sorted(rows, key=lambda row: -row["count"])


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    total = max(sum(counts.values()), 1)
    return {label: count / total for label, count in counts.items()}
