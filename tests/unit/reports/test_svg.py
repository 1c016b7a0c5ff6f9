"""The frame of a figure; what the figures show is tested in test_figures.py."""

from xml.etree import ElementTree

from matplotlib.axes import Axes

from rubert_ood.reports.svg import INK, svg


def _draw(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=INK)
    axes.set(xlabel="x < y & $z")


def test_ink_follows_the_colour_scheme_and_nothing_says_when_it_was_drawn():
    drawn = svg(_draw, width=3.0, height=2.0)
    root = ElementTree.fromstring(drawn)
    assert root.get("width") == "216pt"  # 72 points an inch
    assert root.find(".//{*}metadata") is None
    assert f"var(--ink,{INK})" in drawn
    assert "prefers-color-scheme:dark" in drawn
    assert drawn == svg(_draw, width=3.0, height=2.0)
    texts = {"".join(node.itertext()) for node in root.findall(".//{*}text")}
    assert "x < y & $z" in texts
