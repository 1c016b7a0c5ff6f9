"""Render the reports: HTML files that open offline and ask nothing of the network."""

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rubert_ood.ads.text import EXCERPT_CHARACTERS
from rubert_ood.comparing.document import DiffDocument
from rubert_ood.plain import printable, printable_lines
from rubert_ood.reports import figures
from rubert_ood.reports.curves import Histograms
from rubert_ood.reports.diff_findings import (
    diff_findings,
    most_churned,
    transition_counts,
)
from rubert_ood.reports.evaluation import Evaluation
from rubert_ood.reports.verdict import WEAK_F1, measured_kinds

CHANGED_PAIRS = 50
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
    environment.globals |= {
        "script": script,
        "script_hash": f"sha256-{digest}",
        "WEAK_F1": WEAK_F1,
    }
    environment.globals |= {
        "CHANGED_PAIRS": CHANGED_PAIRS,
        "EXCERPT_CHARACTERS": EXCERPT_CHARACTERS,
    }
    return environment


def _plain(value: object) -> object:
    """Let nothing on a page act, nor stop its encoding: bidi controls, lone surrogates."""
    return (
        printable_lines(value)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _when(iso_time: str) -> str:
    return (
        datetime.fromisoformat(iso_time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def render(template: str, **values: object) -> str:
    """Fill a template of this package."""
    return _environment().get_template(template).render(values)


def evaluation_html(evaluation: Evaluation) -> str:
    """Render an evaluation."""
    return render(
        "evaluation.html.j2", e=evaluation, figures=_evaluation_figures(evaluation)
    )


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
        aurocs[result.detector] = {
            printable(kind): metrics.auroc for kind, metrics in kinds
        }
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
