"""Figures as SVG that read on white and on black paper.

They have no background, and ink that follows the colour scheme.
"""

import io
from collections.abc import Callable
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#8a8f98"
NO_METADATA = ("Date", "Creator", "Format", "Type")
COLOURS = (
    "#3b82c4",
    "#d9822b",
    "#43a060",
    "#d0527a",
    "#8f75d1",
    "#2a9d9d",
    "#a08a2c",
    "#c466ab",
    "#7d8b99",
    "#ad6c45",
)
SCHEME = (
    "<style>svg{--ink:#5b6472}@media screen and"
    " (prefers-color-scheme:dark){svg{--ink:#a8b1bf}}</style>"
)
"""An <img> has no access to the styles of its page, but it does know the reader's colour scheme."""
STYLE: Any = {  # matplotlib's stubs want every key as a literal
    # a tenth of the size of outlines, and every script that the reader has fonts for
    "svg.fonttype": "none",
    "svg.hashsalt": "rubert_ood",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # names of kinds are the user's, and may hold a $
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(linestyle=["-", "--", ":"]) * cycler(color=COLOURS),
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.2,
    "lines.linewidth": 1.6,
}


def svg(draw: Callable[[Axes], None], *, width: float, height: float) -> str:
    """Draw one pair of axes; width and height in inches."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(
            text, format="svg", transparent=True, metadata=dict.fromkeys(NO_METADATA)
        )
    return (
        text.getvalue()
        .replace("<defs>", f"{SCHEME}<defs>", 1)
        .replace(INK, f"var(--ink,{INK})")
    )
