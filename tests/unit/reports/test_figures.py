import re
import xml.etree.ElementTree as ElementTree

import pytest

from rubert_ood.ood.metrics import ReliabilityBin
from rubert_ood.reports import figures
from rubert_ood.reports.curves import Histograms

POINTS = [[0.0, 0.0], [0.2, 0.9], [1.0, 1.0]]
BINS = [
    ReliabilityBin(lower=0.0, upper=0.5, count=0, confidence=None, accuracy=None),
    ReliabilityBin(lower=0.5, upper=1.0, count=7, confidence=0.8, accuracy=0.7),
]
HISTOGRAMS = Histograms([1.0, 10.0, 100.0], {"test": [3, 1], "OOD: болтовня": [0, 5]})
DRAWINGS = {
    "curve": lambda: figures.curve(POINTS, "recall", "precision"),
    "curves": lambda: figures.curves(
        {"новости": POINTS, "cost $5 & <b>$6": POINTS}, "x", "y", diagonal=True
    ),
    "reliability": lambda: figures.reliability(BINS, BINS),
    "risk_coverage": lambda: figures.risk_coverage(POINTS),
    "d2_histograms": lambda: figures.d2_histograms(HISTOGRAMS, 50.0),
    "confidence": lambda: figures.confidence([0, 2, 8]),
    "confidence of two runs": lambda: figures.confidence([0, 2, 8], [5, 5, 0]),
    "lengths": lambda: figures.lengths([0, 1, 2, 3, 4, 6], [0, 0, 5, 0, 3, 0]),
    "lengths of two runs": lambda: figures.lengths(
        [0, 1, 2, 3, 4, 6], [0, 0, 5, 0, 3, 0], [1, 0, 0, 0, 0, 0]
    ),
    "throughput": lambda: figures.throughput([0.0, 10.0, 20.0], [5.0, 7.0]),
}


def words(svg: str) -> set[str]:
    return {
        "".join(node.itertext()).strip()
        for node in ElementTree.fromstring(svg).findall(".//{*}text")
    }


@pytest.mark.parametrize("name", DRAWINGS)
def test_figure_is_small_repeatable_and_fits_both_colour_schemes(name):
    svg = DRAWINGS[name]()
    assert svg == DRAWINGS[name]()
    assert len(svg) < 100_000
    root = ElementTree.fromstring(svg)  # well-formed
    assert root.find(".//{*}metadata") is None
    colours = set(re.findall(r"(?:fill|stroke): (#\w+|var\([^)]*\))", svg))
    assert "var(--ink,#8a8f98)" in colours
    assert not {"#000000", "#ffffff"} & colours  # would vanish on black or on white paper
    assert "prefers-color-scheme:dark" in svg


def test_names_are_drawn_as_they_are():
    assert {"новости", "cost $5 & <b>$6"} <= words(DRAWINGS["curves"]())
    assert {"test", "OOD: болтовня", "limit 50"} <= words(DRAWINGS["d2_histograms"]())


def test_lengths_show_the_bins_that_are_used_by_either_run():
    assert {"2", "3", "4"} <= words(DRAWINGS["lengths"]())
    assert not {"0", "1", "6"} & words(DRAWINGS["lengths"]())
    assert {"0", "1", "2", "3", "4", "before"} <= words(DRAWINGS["lengths of two runs"]())
    assert "before" not in words(DRAWINGS["lengths"]())


def test_shares_have_the_height_that_they_say():
    assert {"0%", "20%", "80%"} <= words(
        DRAWINGS["confidence"]()
    )  # 8 of 10 in the last bin


@pytest.mark.parametrize(
    ("edges", "ticks"),
    [([30.0, 60.0, 150.0], {"50", "100"}), ([2.0, 50.0, 5e4], {"10", "1,000", "10,000"})],
)
def test_d2_axis_has_plain_numbers_however_narrow(edges, ticks):
    drawn = words(figures.d2_histograms(Histograms(edges, {"test": [1, 2]}), 70.0))
    assert ticks <= drawn
    assert not any("$" in word for word in drawn)


@pytest.mark.parametrize(
    ("end_s", "unit"), [(100, "seconds"), (1000, "minutes"), (20_000, "hours")]
)
def test_time_axis_has_a_unit_that_fits(end_s, unit):
    assert f"{unit} since the first shard began" in words(
        figures.throughput([0.0, end_s], [1.0])
    )
