"""A text field in a notebook, and what a model answers (needs the extra `notebook`)."""

from html import escape
from typing import TYPE_CHECKING, Protocol

import pandas as pd

from rubert_ood.errors import SettingsError
from rubert_ood.plain import printable_lines

if TYPE_CHECKING:
    from ipywidgets import VBox

NEEDS_EXTRA = "widget: it needs the extra `notebook`: pip install 'rubert_ood[notebook]'"
PLACEHOLDER = "Продам угловой диван, Москва, 8 912 345-67-89"
BAR_PX = 300


class Predicts(Protocol):
    """What answers."""

    def predict(self, ads: str) -> pd.DataFrame:
        """Return the row of a text."""


def make_widget(model: Predicts) -> "VBox":
    """Return a text field, a button, and the place of the answer.

    Raises SettingsError where ipywidgets is missing.
    """
    try:
        import ipywidgets
    except ModuleNotFoundError as error:
        raise SettingsError(NEEDS_EXTRA) from error
    wide = ipywidgets.Layout(width="100%", height="6rem")
    text = ipywidgets.Textarea(description="Ad", placeholder=PLACEHOLDER, layout=wide)
    button = ipywidgets.Button(description="Classify", button_style="primary")
    answer = ipywidgets.HTML()

    def classify(_: object) -> None:
        button.disabled, answer.value = True, ""
        try:
            answer.value = answer_html(model.predict(text.value).iloc[0])
        finally:
            button.disabled = False

    button.on_click(classify)
    return ipywidgets.VBox([text, button, answer])


def answer_html(row: pd.Series) -> str:
    """Lay a row of `predict` out: label, numbers, and a bar for each of the best classes."""
    label = _shown(row["label"])
    if row["status"] == "empty":
        return f"<p><b>{label}</b>: there is nothing to read in this text.</p>"
    numbers = (
        f"confidence {row['confidence']:.1%}, d2 {row['ood_distance']:,.1f},"
        f" z {row['ood_z']:.2f}, p {row['ood_p']:.4f}"
    )
    domain = "out of domain" if row["is_ood"] else "in domain"
    cut = " Only its beginning was read." if row["is_cut"] else ""
    return (
        f"<p><b>{label}</b> ({domain})<br>{numbers}.{cut}</p><table>{_bars(row)}</table>"
    )


def _bars(row: pd.Series) -> str:
    labels, scores = row["topk_labels"], row["topk_scores"]
    lines = []
    for label, score in zip(labels, scores, strict=True):
        width = round(BAR_PX * float(score))
        bar = f'<div style="width:{width}px;height:.8em;background:#4b8bd0"></div>'
        lines.append(
            f"<tr><td>{_shown(label)}</td><td>{bar}</td><td>{score:.1%}</td></tr>"
        )
    return "".join(lines)


def _shown(text: object) -> str:
    return escape(printable_lines(str(text)))
