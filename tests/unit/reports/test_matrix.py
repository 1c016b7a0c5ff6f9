"""Detectors against kinds: every number in its place, and the best of each row marked."""

from rubert_ood.ood.comparison import DetectorResult, KindMetrics
from rubert_ood.ood.metrics import OodMetrics
from rubert_ood.reports.matrix import DetectorMatrix, detector_matrices


def result(name: str, talk: float, news: float, left_out: float | None) -> DetectorResult:
    """A detector whose every measure is the number given, FPR95 one less it."""
    kinds = {}
    for kind, value in (("talk", talk), ("news", news)):
        kinds[kind] = KindMetrics(value, value, value, 1 - value, caught=value)
    rest = None
    if left_out is not None:
        rest = OodMetrics(left_out, left_out, left_out, 1 - left_out)
    return DetectorResult(name, 0.01, kinds, rest)


def best(matrix: DetectorMatrix) -> dict[str, list[str]]:
    """The detectors that are marked, by kind."""
    marked = {}
    for row in matrix.rows:
        pairs = zip(matrix.detectors, row.cells, strict=True)
        marked[row.kind] = [name for name, cell in pairs if cell.is_best]
    return marked


def test_matrices_mark_the_best_detector_of_each_kind():
    results = [result("Mahalanobis", 0.9, 0.8, 0.7), result("MSP", 0.6, 0.95, 0.75)]
    found = {matrix.measure.key: matrix for matrix in detector_matrices(results)}
    assert list(found) == ["auroc", "fpr95", "caught", "aupr_out", "aupr_in"]
    wanted = {"talk": ["Mahalanobis"], "news": ["MSP"], "classes left out": ["MSP"]}
    for key in ("auroc", "aupr_out", "aupr_in", "fpr95"):
        assert best(found[key]) == wanted
    values = [[cell.value for cell in row.cells] for row in found["auroc"].rows]
    assert values == [[0.9, 0.6], [0.8, 0.95], [0.7, 0.75]]


def test_share_that_is_flagged_has_no_row_of_classes_left_out():
    found = detector_matrices([result("a", 0.9, 0.8, 0.7), result("b", 0.6, 0.9, 0.7)])
    assert best(found[2]) == {"talk": ["a"], "news": ["b"]}


def test_detectors_that_differ_beyond_the_digits_shown_are_both_best():
    found = detector_matrices(
        [result("a", 0.98001, 0.5, None), result("b", 0.98004, 0.4, None)]
    )
    assert best(found[0]) == {"talk": ["a", "b"], "news": ["a"]}


def test_nothing_measured_makes_no_matrix():
    assert detector_matrices([]) == []
    assert detector_matrices([DetectorResult("a", 0.0, {}, None)]) == []
