"""An explanation has the numbers of `predict`, to the bit."""

import numpy as np
import pytest

from rubert_ood.bundle.bundle import derive_bundle
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.ood.fit import fit
from rubert_ood.predictor import Model
from rubert_ood.settings import DecisionSettings, FitSettings
from rubert_ood.ui.cleaned import UNREAD
from rubert_ood.ui.explain import MAX_CHARACTERS
from rubert_ood.ui.flips import Choice, bundle_choice
from rubert_ood.ui.nearest import NearestAds
from rubert_ood.ui.pages import render
from rubert_ood.ui.state import State


@pytest.fixture(scope="module")
def texts(ads):
    rows = zip(ads["title"].to_pylist(), ads["description"].to_pylist(), strict=True)
    found = [f"{title} {description}" for title, description in rows][:25]
    return [*found, "", "продам", "\u200b", "\u4e2d", "диван " * 200, "x"]


def test_explain_has_the_row_of_predict(state, texts):
    for text in texts:
        expected = state.model.predict([text]).to_dict("records")[0]
        row = state.explained(text).row
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            if row[name] is None:
                assert value is None or np.isnan(value), name
            else:
                np.testing.assert_array_equal(row[name], value, err_msg=name)


def test_explain_decides_as_predict_under_the_thresholds_of_the_bundle(state, texts):
    decided = 0
    for text in texts:
        explanation = state.explained(text)
        if explanation.numbers is None:
            assert explanation.row["status"] == "empty"
            continue
        outcome = state.decided(explanation.numbers, Choice()).outcome
        row = explanation.row
        decided += 1
        assert (outcome.label, outcome.is_ood) == (row["label"], row["is_ood"])
        assert outcome.d2 == row["ood_distance"]
        assert outcome.z == row["ood_z"]
        assert outcome.p == row["ood_p"]
        assert np.float32(outcome.confidence) == np.float32(row["confidence"])
        assert outcome.d2_limit == state.model.d2_limit
    assert decided > 20


def test_explain_lists_the_nearest_class_and_the_best_ones(state, texts):
    explanation = state.explained(texts[0])
    statistics = state.model.bundle.fitted.statistics
    cls_H = state.model.embed([texts[0]])[0].astype(np.float64)
    expected = {}
    for label, mean_H in zip(state.model.labels, statistics.means_CH, strict=True):
        away_H = cls_H - mean_H
        expected[label] = away_H @ statistics.precision_HH @ away_H
    for row in explanation.classes:
        assert row.d2 == pytest.approx(expected[row.label], rel=1e-6)
    assert explanation.nearest.label == min(expected, key=expected.get)
    assert explanation.nearest.d2 == pytest.approx(explanation.row["ood_distance"])
    listed = {row.label for row in explanation.classes if row.probability is not None}
    assert listed == set(explanation.numbers.labels)


def test_explain_of_a_long_ad_shows_where_reading_ends(state):
    text = "диван угловой новый " * 100
    explanation = state.explained(text)
    assert explanation.row["is_cut"]
    unread = [piece for piece in explanation.pieces if piece.kind == UNREAD]
    read = text[: -len(unread[0].text)]
    again = state.model.predict([read]).iloc[0]
    assert again["num_tokens"] == explanation.row["num_tokens"]
    assert not again["is_cut"]


def test_explain_of_an_ad_beyond_all_bounds_is_refused(state):
    with pytest.raises(InputError, match=r"^the ad has 20,001 characters"):
        state.explained("x" * (MAX_CHARACTERS + 1))


@pytest.fixture(scope="module")
def detecting(referenced, reference, tmp_path_factory):
    """The page of a bundle whose `combined` detector decides."""
    fitted = referenced.fitted
    chosen = {"rule": "conformal", "conformal_alpha": 0.1, "detector": "combined"}
    detector = fit(
        fitted.statistics,
        reference.calibration,
        labels=fitted.labels,
        settings=FitSettings(),
        decision=DecisionSettings(**{**fitted.decision.model_dump(), **chosen}),
        train=reference.train,
    )
    uri = str(tmp_path_factory.mktemp("detecting") / "v3")
    bundle = derive_bundle(referenced, uri, fitted=detector)
    return State(Model(bundle).with_network(), NearestAds(bundle))


def test_explain_of_another_detector_shows_its_p_and_no_limit_of_d2(detecting, texts):
    decided = 0
    for text in texts:
        explanation = detecting.explained(text)
        if explanation.numbers is None:
            continue
        decided += 1
        row = explanation.row
        shown = detecting.decided(explanation.numbers, Choice())
        assert (shown.outcome.p, shown.detector) == (row["ood_p"], "combined")
        assert shown.outcome.answer == (row["label"], row["is_ood"])
        assert shown.outcome.is_far == (row["ood_p"] <= 0.1)
        assert shown.histogram.limit_x is shown.outcome.d2_limit is None
        html = render(
            "ad",
            e=explanation,
            nearest=detecting.nearest,
            bundle=detecting.model.bundle,
            d=shown,
            in_bundle=bundle_choice(detecting.model.bundle.fitted).model_dump(),
            flags="",
            yaml="",
        )
        assert f"p of combined is <b>{row['ood_p']:.4f}</b>" in html
        assert "by combined" in html
        assert ">limit<" not in html
        assert "the limit" not in html
    assert decided > 20


def test_explain_of_another_detector_under_the_notebook_rule_is_of_distances(
    detecting, texts
):
    numbers = detecting.explained(texts[0]).numbers
    shown = detecting.decided(numbers, Choice(rule="notebook"))
    outcome = shown.outcome
    calibration = outcome.thresholds.calibration_d2
    as_far = (calibration >= numbers.d2).sum()
    assert outcome.p == (1 + as_far) / (len(calibration) + 1)
    assert shown.detector == "Mahalanobis"
    assert outcome.d2_limit is not None


def test_decided_without_the_p_that_decides_is_refused(detecting, texts):
    numbers = detecting.explained(texts[0]).numbers.model_copy(update={"p": None})
    with pytest.raises(SchemaError, match="this bundle decides by it"):
        detecting.decided(numbers, Choice())
