"""Render the reports: HTML files that open offline and ask nothing of the network."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rubert_ood.ads.text import EXCERPT_CHARACTERS
from rubert_ood.comparing.document import DiffDocument
from rubert_ood.ood.detectors import TITLES
from rubert_ood.plain import count_of, printable, printable_lines
from rubert_ood.reports import figures, good
from rubert_ood.reports.confusions import confusion_matrix, transition_matrix
from rubert_ood.reports.curves import Histograms
from rubert_ood.reports.diff_findings import diff_findings
from rubert_ood.reports.evaluation import (
    EXAMPLES_PER_PAIR,
    NUM_CONFUSIONS,
    Confusion,
    Evaluation,
)
from rubert_ood.reports.facts import evaluation_facts
from rubert_ood.reports.matrix import detector_matrices

CHANGED_PAIRS = 50
MAX_TRANSITIONS = 300
"""Pairs of labels on the page of a diff; diff.json has them all."""


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
    environment.filters |= {"data_uri": _data_uri, "when": _when, "count_of": count_of}
    environment.filters["setting"] = _setting
    script = environment.get_template("page.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {"script": script, "script_hash": f"sha256-{digest}"}
    environment.globals |= {
        "good": good,
        "CHANGED_PAIRS": CHANGED_PAIRS,
        "EXAMPLES_PER_PAIR": EXAMPLES_PER_PAIR,
        "EXCERPT_CHARACTERS": EXCERPT_CHARACTERS,
        "NUM_CONFUSIONS": NUM_CONFUSIONS,
    }
    return environment


def _plain(value: object) -> object:
    """Let nothing on a page act, nor stop its encoding: bidi controls, lone surrogates."""
    return (
        printable_lines(value)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


def _setting(value: object) -> str:
    """Write the value of a setting as its YAML file has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _when(iso_time: str) -> str:
    return (
        datetime.fromisoformat(iso_time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def render(template: str, **values: object) -> str:
    """Fill a template of this package; its sections gather in `contents`."""
    return _environment().get_template(template).render(values, contents=[])


def evaluation_html(evaluation: Evaluation) -> str:
    """Render an evaluation."""
    recommended = evaluation.recommended
    return render(
        "evaluation.html.j2",
        e=evaluation,
        decides=TITLES[evaluation.decision.detector],
        recommended=TITLES[recommended.detector] if recommended else "",
        rows=evaluation_facts(evaluation),
        figures=_evaluation_figures(evaluation),
        matrices=detector_matrices(evaluation.detectors),
        has_tokens=_has_tokens(evaluation),
        confusions=confusion_matrix(evaluation.confusions),
        taken_for=_taken_for(evaluation.confusions),
    )


def _has_tokens(evaluation: Evaluation) -> bool:
    """Say whether a detector of tokens was measured."""
    measured = {result.detector for result in evaluation.detectors}
    return TITLES["mahalanobis++_tokens"] in measured


def _taken_for(confusions: Sequence[Confusion]) -> dict[str, tuple[int, str]]:
    """Return what each class is most often taken for, and the number of that confusion."""
    found: dict[str, tuple[int, str]] = {}
    for number, pair in enumerate(confusions, start=1):
        found.setdefault(pair.true, (number, pair.predicted))
    return found


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
    transitions = document.transitions[:MAX_TRANSITIONS]
    return render(
        "diff.html.j2",
        d=document,
        findings=diff_findings(document),
        transitions=transitions,
        matrix=transition_matrix(transitions),
    )
