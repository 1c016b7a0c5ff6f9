"""The curves of a training."""

import re

from rubert_ood.reports.training_figures import MEASURES, shown_measures, training_figure
from tests.unit.reports.test_train_page import run


def _lines(svg: str) -> int:
    return len(re.findall(r'<g id="line2d_\d+">\s*<path d="[^"]*" clip-path', svg))


def test_training_figure_has_lines_and_a_ring_for_each_seed():
    runs = [run(42, 0.5, 0.7, 0.6), run(7, 0.4, 0.6)]
    loss = training_figure(runs, MEASURES[0])
    assert "seed 42" in loss
    assert "seed 7" in loss
    alone = training_figure(runs[:1], MEASURES[0])
    assert "seed 42" not in alone
    assert len(re.findall("stroke-dasharray", loss)) > len(
        re.findall("stroke-dasharray", training_figure(runs, MEASURES[1]))
    )  # valid beside train
    assert training_figure(runs, MEASURES[0]) == loss


def test_shown_measures_are_those_that_all_runs_know():
    new, old = run(1, 0.5), run(2, 0.5, more=False)
    assert shown_measures([new]) == list(MEASURES)
    assert shown_measures([new, old]) == list(MEASURES[:2])
