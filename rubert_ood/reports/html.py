"""Render the reports: one self-contained HTML file each, that opens offline and asks nothing of the
network."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rubert_ood.comparing.document import ChangedLabels, DiffDocument
from rubert_ood.plain import printable, printable_lines
from rubert_ood.reports import figures
from rubert_ood.reports.curves import Histograms
from rubert_ood.reports.diff_findings import diff_findings, most_churned, transition_counts
from rubert_ood.reports.drift import drift, label_shares, rates
from rubert_ood.reports.evaluation import Evaluation
from rubert_ood.reports.verdict import WEAK_F1, measured_kinds
from rubert_ood.runs.receipts import TOKEN_EDGES
from rubert_ood.runs.top_ood import EXCERPT_CHARACTERS

SLOWEST_SHARDS = 10
REJECTING_FILES = 10
CHANGED_PAIRS = 50
SHARDS_PER_STRETCH = 5
"""Shards that end in one stretch of the speed figure, about: fewer, and the bars show chance."""
MAX_STRETCHES = 60
MAX_TRANSITIONS = 300
"""Pairs of labels on the page of a diff; diff.json has them all."""
MAX_MATRIX_LABELS = 20


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rubert_ood.reports"),
        autoescape=True,  # ads are hostile text
        finalize=_plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "when": _when}
    script = environment.get_template("sort.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {"measured_kinds": measured_kinds}
    environment.globals |= {"script": script, "script_hash": f"sha256-{digest}", "WEAK_F1": WEAK_F1}
    environment.globals |= {
        "CHANGED_PAIRS": CHANGED_PAIRS,
        "EXCERPT_CHARACTERS": EXCERPT_CHARACTERS,
    }
    return environment


def _plain(value: Any) -> Any:
    """Let nothing on a page act, nor stop its encoding: bidi controls, lone surrogates of file
    names."""
    return (
        printable_lines(value)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _when(iso_time: str) -> str:
    return datetime.fromisoformat(iso_time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def evaluation_html(evaluation: Evaluation) -> str:
    """Render an evaluation."""
    template = _environment().get_template("evaluation.html.j2")
    return template.render(e=evaluation, figures=_evaluation_figures(evaluation))


def _evaluation_figures(evaluation: Evaluation) -> dict[str, str]:
    """Draw what was measured, under names that an SVG may hold."""
    curves, histograms = evaluation.curves, _named_sets(evaluation.d2_histograms)
    drawn = {
        "reliability": figures.reliability(
            evaluation.reliability_before, evaluation.reliability_after
        ),
        "pr": figures.curve(curves.pr, "recall", "precision"),
        "roc": figures.curve(
            curves.roc, "false positive rate", "true positive rate", diagonal=True
        ),
        "risk": figures.risk_coverage(evaluation.risk_coverage.curve),
        "d2": figures.d2_histograms(histograms, evaluation.d2_limit),
    }
    aurocs = {}
    for result in evaluation.detectors:
        kinds = measured_kinds(result).items()
        aurocs[result.detector] = {printable(kind): metrics.auroc for kind, metrics in kinds}
    if any(aurocs.values()):
        drawn["detectors"] = figures.detectors(aurocs)
    if evaluation.ood_kinds:
        lines = {printable(kind.kind): kind.roc for kind in evaluation.ood_kinds}
        height = figures.ridges_height(len(histograms.counts))
        drawn["ood_roc"] = figures.curves(
            lines, "share of test ads", "share of OOD texts", diagonal=True, height=height
        )
    return drawn


def _named_sets(histograms: Histograms) -> Histograms:
    """Return histograms of d2 under names that an SVG may hold."""
    counts = {printable(name): count for name, count in histograms.counts.items()}
    return replace(histograms, counts=counts)


def run_html(
    manifest: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
    changes: ChangedLabels | None = None,
) -> str:
    """Render a scoring run from its manifest, beside the last published run where there is one.

    changes: what became of the ads that both runs have.
    """
    drawn = {}
    before = previous or {}
    if any(confidence := manifest.get("confidence_histogram") or []):
        drawn["confidence"] = figures.confidence(
            confidence, _same_bins(confidence, before.get("confidence_histogram"))
        )
    if any(lengths := manifest.get("token_histogram") or []):
        drawn["lengths"] = figures.lengths(
            TOKEN_EDGES, lengths, _same_bins(lengths, before.get("token_histogram"))
        )
    shards = manifest.get("shards", [])
    if shards:
        drawn["throughput"] = figures.throughput(*_speed(shards))
    return (
        _environment()
        .get_template("run.html.j2")
        .render(
            m=manifest,
            figures=drawn,
            drift=drift(manifest, previous) if previous else None,
            changes=changes,
            classes=_class_rows(manifest, previous),
            rates=rates(manifest["counts"]),
            rates_before=rates(previous["counts"]) if previous else {},
            previous=previous,
            rejecting=_rejecting_files(shards),
            slowest=sorted(shards, key=lambda shard: -shard["seconds"])[:SLOWEST_SHARDS],
            failed=[check for check in manifest.get("gate", ()) if not check["ok"]],
        )
    )


def _same_bins(now: list[int], before: list[int] | None) -> list[int] | None:
    """Return the histogram of the run before, if that version counted one, and in the same bins."""
    return before if before and len(before) == len(now) else None


def _rejecting_files(shards: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the files with most rejected rows, each {uri, rejected, rows}."""
    files: dict[str, dict[str, Any]] = {}
    for shard in shards:
        file = files.setdefault(shard["uri"], {"uri": shard["uri"], "rejected": 0, "rows": 0})
        file["rejected"] += shard["rows_rejected"]
        file["rows"] += shard["rows_in"]
    worst = sorted(files.values(), key=lambda file: (-file["rejected"], file["uri"]))[
        :REJECTING_FILES
    ]
    return [file for file in worst if file["rejected"]]


def diff_html(document: DiffDocument) -> str:
    """Render the differences of two runs."""
    transitions = document.transitions
    labels = most_churned(transitions, MAX_MATRIX_LABELS)
    names, counts = list(map(printable, labels)), transition_counts(transitions, labels)
    drawn = {"transitions": figures.transition_matrix(names, counts)} if labels else {}
    return (
        _environment()
        .get_template("diff.html.j2")
        .render(
            d=document,
            figures=drawn,
            findings=diff_findings(document),
            transitions=transitions[:MAX_TRANSITIONS],
            num_labels_drawn=len(labels),
        )
    )


def _speed(shards: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Return edges (seconds since the first shard began) and ads per second between them, by when
    shards ended."""
    ended = np.array([datetime.fromisoformat(shard["finished_at"]).timestamp() for shard in shards])
    began = ended - [shard["seconds"] for shard in shards]
    ended_s = ended - began.min()
    num_stretches = min(max(len(shards) // SHARDS_PER_STRETCH, 1), MAX_STRETCHES)
    edges_s = np.linspace(0.0, max(ended_s.max(), 1e-3), num_stretches + 1)
    ads, _ = np.histogram(ended_s, edges_s, weights=[shard["rows_in"] for shard in shards])
    return edges_s.tolist(), (ads / np.diff(edges_s)).tolist()


def _class_rows(
    manifest: Mapping[str, Any], previous: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Give each label its count and share, its share in the previous run and the difference; most
    frequent first."""
    now, before = label_shares(manifest), label_shares(previous) if previous else {}
    rows = []
    for label in sorted(set(now) | set(before)):
        share, share_before = now.get(label, 0.0), before.get(label, 0.0)
        change = share - share_before
        count = manifest["classes"].get(label, 0)
        rows.append(
            {
                "label": label,
                "count": count,
                "share": share,
                "share_before": share_before,
                "change": change,
            }
        )
    return sorted(rows, key=lambda row: -row["count"])
