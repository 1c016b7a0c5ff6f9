"""The detectors against the kinds of OOD text, a matrix for each measure."""

from collections.abc import Sequence
from dataclasses import dataclass

from rubert_ood.ood.comparison import DetectorResult
from rubert_ood.reports.verdict import measured_kinds


@dataclass(frozen=True)
class Measured:
    """One measure of a detector on a kind of text."""

    key: str
    title: str
    pattern: str
    note: str
    """What the number is, and which side is good."""
    larger_is_better: bool = True


MEASURES = (
    Measured(
        "auroc",
        "AUROC",
        "{:.3f}",
        "The chance that a text scores above a test ad. 0.5 is a guess, 1 is perfect.",
    ),
    Measured(
        "fpr95",
        "FPR95",
        "{:.1%}",
        "Share of test ads flagged when 95% of the texts are. 0% is perfect.",
        larger_is_better=False,
    ),
    Measured(
        "caught",
        "Flagged",
        "{:.1%}",
        "Share of the texts with a conformal p of at most alpha. 100% is perfect.",
    ),
    Measured(
        "aupr_out",
        "AUPR out",
        "{:.3f}",
        "Area below precision and recall, texts as positives. 1 is perfect.",
    ),
    Measured(
        "aupr_in",
        "AUPR in",
        "{:.3f}",
        "Area below precision and recall, test ads as positives. 1 is perfect.",
    ),
)


@dataclass(frozen=True)
class Cell:
    """What one detector reaches on one kind."""

    value: float | None
    is_best: bool = False
    """No other detector is better on this kind, as far as the digits shown tell."""


@dataclass(frozen=True)
class MatrixRow:
    """All detectors on one kind."""

    kind: str
    cells: list[Cell]


@dataclass(frozen=True)
class DetectorMatrix:
    """All detectors on all kinds, by one measure."""

    measure: Measured
    detectors: list[str]
    rows: list[MatrixRow]


def detector_matrices(results: Sequence[DetectorResult]) -> list[DetectorMatrix]:
    """Return a matrix for each measure; empty when nothing was measured."""
    if not results or not measured_kinds(results[0]):
        return []
    return [_matrix(results, measure) for measure in MEASURES]


def _matrix(results: Sequence[DetectorResult], measure: Measured) -> DetectorMatrix:
    rows = []
    for kind in measured_kinds(results[0]):
        values = []
        for result in results:
            values.append(getattr(measured_kinds(result)[kind], measure.key, None))
        if any(value is not None for value in values):
            rows.append(MatrixRow(kind, _cells(values, measure)))
    return DetectorMatrix(measure, [result.detector for result in results], rows)


def _cells(values: Sequence[float | None], measure: Measured) -> list[Cell]:
    known = [value for value in values if value is not None]
    best = max(known) if measure.larger_is_better else min(known)
    shown = measure.pattern.format(best)
    cells = []
    for value in values:
        is_best = value is not None and measure.pattern.format(value) == shown
        cells.append(Cell(value, is_best))
    return cells
