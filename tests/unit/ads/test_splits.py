import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from rubert_ood.ads.splits import hashed_rows, share_of, stratified_rows
from rubert_ood.errors import SchemaError
from rubert_ood.settings import SplitSettings

LABELS = ["Авто", "Мебель", "Шины", "Ёлки"]
CODES = np.random.default_rng(0).choice(4, 3_000, p=[0.6, 0.3, 0.08, 0.02])


@pytest.mark.parametrize("fraction", [0.0, 0.1])
def test_stratified_rows_are_those_of_sklearn_on_the_names_in_its_order(fraction):
    names = np.array(sorted(LABELS), dtype=object)[CODES]
    settings = SplitSettings(calibration_fraction=fraction, seed=3)
    rest, test = train_test_split(
        np.arange(3_000), test_size=0.2, stratify=names, random_state=3
    )
    expected = [test]
    if fraction:
        rest, calibration = train_test_split(
            rest, test_size=fraction, stratify=names[rest], random_state=3
        )
        expected.append(calibration)
    train, valid = train_test_split(
        rest, test_size=0.1, stratify=names[rest], random_state=3
    )
    found = stratified_rows(CODES.astype(np.int32), sorted(LABELS), settings)
    for ours, theirs in zip(found, [train, valid, *expected], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_stratified_rows_of_a_class_that_is_too_small_name_it():
    codes = np.array([0] * 50 + [1])
    with pytest.raises(SchemaError) as caught:
        stratified_rows(codes, ["Авто", "Шины"], SplitSettings())
    line = str(caught.value)
    assert line.startswith("51 ads cannot be split by class: ")
    assert line.endswith(
        "The smallest of 2 classes, 'Шины', has 1: add ads of it, or drop it"
    )


@pytest.mark.parametrize("length", [0, 80])
def test_stratified_rows_by_a_column_of_texts_tell_no_text(length):
    """A wrong `columns.category` makes a class of each ad: no phone, no list of all of them."""
    texts = [
        f"Диван, {number:02d} звоните 8 (916) 123-45-{number:02d}{'!' * length}"
        for number in range(60)
    ]
    with pytest.raises(SchemaError) as caught:
        stratified_rows(np.arange(60), texts, SplitSettings())
    line = str(caught.value)
    assert "звоните" not in line
    assert f"The smallest of 60 classes, (a text of {len(texts[0])} characters)," in line
    assert len(line) < 300


def test_hashed_rows_have_the_shares_of_the_settings_and_each_row_once():
    shares = np.array([share_of(str(number), 42) for number in range(20_000)])
    settings = SplitSettings(calibration_fraction=0.25, valid_fraction=0.5)
    train, valid, test, calibration = hashed_rows(shares, settings)
    sizes = [len(rows) / 20_000 for rows in (test, calibration, valid, train)]
    np.testing.assert_allclose(sizes, [0.2, 0.2, 0.3, 0.3], atol=0.01)
    joined = np.concatenate([train, valid, test, calibration])
    assert sorted(joined.tolist()) == list(range(20_000))
    assert len(hashed_rows(shares, SplitSettings())) == 3


def test_hashed_rows_do_not_move_when_others_come():
    names = [f"id-{number}" for number in range(2_000)]
    few, all_ = (
        hashed_rows(np.array([share_of(name, 1) for name in given]), SplitSettings())
        for given in (names[1_000:], names)
    )
    for part, whole in zip(few, all_, strict=True):
        assert {*(part + 1_000).tolist()} == {
            row for row in whole.tolist() if row >= 1_000
        }


def test_share_of_a_name_depends_on_the_seed():
    assert share_of("7", 1) == share_of("7", 1) != share_of("7", 2)
    assert 0 <= share_of("\ud800", 1) < 1
