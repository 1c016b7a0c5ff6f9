"""The widget of a notebook, driven by its callbacks."""

import sys

import pandas as pd
import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.predictor import Model
from rubert_ood.widget import BAR_PX, answer_html, make_widget


@pytest.fixture(scope="module")
def model(bundle):
    return Model(bundle)


def test_widget_shows_what_predict_gives_when_the_button_is_clicked(model):
    text, button, answer = model.widget().children
    assert answer.value == ""
    text.value = "Продам угловой диван, новый"
    button.click()
    row = model.predict(text.value).iloc[0]
    assert answer.value == answer_html(row)
    assert f"<b>{row['label']}</b>" in answer.value
    assert f"confidence {row['confidence']:.1%}" in answer.value
    assert f"d2 {row['ood_distance']:,.1f}" in answer.value
    for label, score in zip(row["topk_labels"], row["topk_scores"], strict=True):
        assert f"<td>{label}</td>" in answer.value
        assert f"width:{round(BAR_PX * score)}px" in answer.value
    assert not button.disabled


def test_widget_of_a_text_with_nothing_to_read_says_so(model):
    text, button, answer = model.widget().children
    text.value = "продам"
    button.click()
    assert answer.value == "<p><b>Other</b>: there is nothing to read in this text.</p>"


def test_widget_after_an_error_frees_its_button_and_keeps_no_older_answer(caplog):
    class Broken:
        def predict(self, ads: str) -> pd.DataFrame:
            raise ValueError("broken")

    _, button, answer = make_widget(Broken()).children
    answer.value = "of the text before"
    button.click()  # ipywidgets logs what went wrong
    assert "broken" in caplog.text
    assert (button.disabled, answer.value) == (False, "")


def test_answer_html_escapes_labels():
    row = {"label": "<b>", "status": "ok", "confidence": 0.5, "ood_distance": 1.0}
    row |= {"ood_z": 0.0, "ood_p": 0.5, "is_ood": True, "is_cut": True}
    row |= {"topk_labels": ["<b>"], "topk_scores": [0.5]}
    shown = answer_html(pd.Series(row))
    assert "<b>&lt;b&gt;</b> (out of domain)" in shown
    assert "Only its beginning was read." in shown


def test_widget_without_ipywidgets_names_the_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(SettingsError) as caught:
        model.widget()
    assert str(caught.value) == (
        "widget: it needs the extra `notebook`: pip install 'rubert_ood[notebook]'"
    )
