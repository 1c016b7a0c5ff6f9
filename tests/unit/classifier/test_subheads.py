import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rubert_ood.classifier.subheads import SubHead, SubHeads, fit_subheads
from rubert_ood.errors import BundleError, SchemaError
from rubert_ood.settings import SubheadsSettings

H = 8
SETTINGS = SubheadsSettings(bundle_uri="b", input_uri="i", regularisation=0.5, seed=3)
COUNTS = {
    "Мебель": {"Диваны": 60, "Столы": 40, "Шкафы": 30, "Пуфы": 3},
    "Животные": {"Кошки": 50, "Собаки": 30},
    "Книги": {"Романы": 80, "Атласы": 5},
}


@pytest.fixture(scope="module")
def ads() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features in random order, with classes that overlap, a scale per feature, and one constant
    feature."""
    rng = np.random.default_rng(0)
    rows = [
        (category, name)
        for category, names in COUNTS.items()
        for name, count in names.items()
        for _ in range(count)
    ]
    rows = [rows[n] for n in rng.permutation(len(rows))]
    centres = {row: rng.normal(size=H) for row in sorted(set(rows))}
    cls_NH = (
        np.array([centres[row] + rng.normal(size=H) for row in rows])
        * 10.0 ** rng.integers(-2, 3, size=H)
        + 5
    )
    cls_NH[:, -1] = 0.1
    categories, names = (np.array(column, object) for column in zip(*rows, strict=True))
    return cls_NH.astype(np.float32), categories, names


@pytest.fixture(scope="module")
def fitted(ads) -> SubHeads:
    return fit_subheads(*ads, SETTINGS)


@pytest.mark.parametrize(
    ("category", "names"),
    [("Мебель", ["Диваны", "Столы", "Шкафы"]), ("Животные", ["Кошки", "Собаки"])],
)
def test_subhead_is_the_logistic_regression_of_sklearn(ads, fitted, category, names):
    cls_NH, categories, subs = ads
    rows = np.flatnonzero((categories == category) & np.isin(subs, names))
    train, test = train_test_split(
        rows, test_size=round(0.2 * len(rows)), stratify=subs[rows], random_state=3
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000))
    model.fit(cls_NH[train].astype(np.float64), subs[train])
    head = fitted.heads[category]
    assert head.names == model.classes_.tolist() == names
    expected = model.predict_proba(cls_NH.astype(np.float64))
    np.testing.assert_allclose(head.probabilities(cls_NH), expected, atol=1e-4)
    majority = max(names, key=lambda name: (subs[train] == name).sum())
    assert head.measured == {
        "num_train": len(train),
        "num_test": len(test),
        "accuracy": model.score(cls_NH[test].astype(np.float64), subs[test]),
        "majority_accuracy": (subs[test] == majority).mean(),
    }
    assert head.measured["accuracy"] > head.measured["majority_accuracy"]
    labels = [category] * len(cls_NH)
    got, confidence_N = fitted.predict(cls_NH, labels)
    np.testing.assert_allclose(confidence_N, expected.max(axis=1), atol=1e-4)
    clear = np.diff(np.sort(expected)[:, -2:]).ravel() > 1e-3
    np.testing.assert_array_equal(
        got[clear], model.classes_[expected.argmax(axis=1)][clear]
    )


def test_subheads_of_too_few_ads_are_named_and_left_out(ads, caplog):
    assert list(fit_subheads(*ads, SETTINGS).heads) == ["Животные", "Мебель"]
    assert (
        "Мебель / Пуфы: leaves out this sub-category, which has only 3 ads" in caplog.text
    )
    assert (
        "Книги / Атласы: leaves out this sub-category, which has only 5 ads"
        in caplog.text
    )
    assert (
        "Книги: trains no sub-head, which needs 2 sub-categories with enough ads"
        " (found 1)"
    ) in caplog.text


def test_subheads_give_nothing_to_ads_without_a_head(ads, fitted):
    cls_NH = ads[0][:4]
    names, confidence_N = fitted.predict(cls_NH, ["Книги", "Животные", "Other", "Мебель"])
    assert [name is None for name in names] == [True, False, True, False]
    assert np.isnan(confidence_N).tolist() == [True, False, True, False]
    empty, nothing = fitted.predict(cls_NH[:0], [])
    assert (empty.shape, nothing.shape) == ((0,), (0,))


def test_subheads_with_nothing_to_train_on_are_one_line(ads):
    settings = SETTINGS.model_copy(update={"min_rows_per_class": 70})
    with pytest.raises(
        SchemaError,
        match="no category has two sub-categories of at least 70 ads",
    ):
        fit_subheads(*ads, settings)


def test_subheads_split_few_ads_of_many_sub_categories():
    names = np.repeat([f"с{n}" for n in range(12)], 2).astype(object)
    cls_NH = np.random.default_rng(0).normal(size=(24, H)).astype(np.float32)
    head = fit_subheads(
        cls_NH,
        ["Мебель"] * 24,
        names,
        SETTINGS.model_copy(update={"min_rows_per_class": 2}),
    ).heads["Мебель"]
    assert (head.measured["num_train"], head.measured["num_test"]) == (12, 12)


def test_subheads_that_are_damaged_are_refused(fitted):
    head = fitted.heads["Животные"]
    for change in (
        {"names": ["Кошки"]},
        {"names": ["Кошки", "Собаки", "Попугаи"]},
        {"weights_SH": head.weights_SH[0]},
        {"biases_S": np.array([0.0, np.nan])},
    ):
        with pytest.raises(BundleError, match="sub-head"):
            dataclasses.replace(head, **change)
    assert isinstance(head, SubHead)
