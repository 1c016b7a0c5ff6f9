import numpy as np
import pytest

from rubert_ood.auditing.folds import cut_folds, feature_judge, out_of_fold
from rubert_ood.errors import SchemaError


def test_folds_hold_each_ad_once_and_a_text_in_one_alone() -> None:
    rng = np.random.default_rng(0)
    keys_N = np.array([f"k{n}" for n in rng.integers(0, 60, 100)], object)
    labels_N = rng.integers(0, 3, 100)
    folds = cut_folds(keys_N, labels_N, 5, seed=1)
    held = np.concatenate([fold for _, fold in folds])
    assert sorted(held.tolist()) == list(range(100))
    for others, fold in folds:
        assert not set(keys_N[others]) & set(keys_N[fold])
        assert len(others) + len(fold) == 100


def test_folds_of_too_few_texts_are_refused() -> None:
    with pytest.raises(SchemaError, match="2 different texts"):
        cut_folds(np.array(["a", "b", "a"], object), np.zeros(3, np.int64), 5, seed=1)


def test_folds_that_leave_one_class_to_learn_from_are_refused() -> None:
    keys_N = np.array([f"k{n}" for n in range(11)], object)
    labels_N = np.append(np.zeros(10, np.int64), 1)
    with pytest.raises(SchemaError, match="all ads beside one fold are of one class"):
        cut_folds(keys_N, labels_N, 5, seed=1)


@pytest.mark.filterwarnings("error")
def test_folds_of_a_small_class_are_cut_without_a_warning() -> None:
    keys_N = np.array([f"k{n}" for n in range(21)], object)
    labels_N = np.append(np.arange(20) % 2, 2)
    assert len(cut_folds(keys_N, labels_N, 5, seed=1)) == 5


def test_probabilities_of_features_are_out_of_fold_and_whole() -> None:
    rng = np.random.default_rng(0)
    labels_N = np.arange(90) % 3
    cls_NH = (rng.normal(size=(90, 4)) + 2 * np.eye(3, 4)[labels_N]).astype(np.float32)
    keys_N = np.array([str(n) for n in range(90)], object)
    judge = feature_judge(cls_NH, labels_N, 3)
    folds = cut_folds(keys_N, labels_N, 5, 1)
    p_NC = out_of_fold(folds, judge, labels_N, 3)
    np.testing.assert_allclose(p_NC.sum(axis=1), 1)
    assert (p_NC.argmax(axis=1) == labels_N).mean() > 0.8
    others, fold = folds[0]
    spoiled = labels_N.copy()
    spoiled[fold] = (labels_N[fold] + 1) % 3
    again = feature_judge(cls_NH, spoiled, 3)(others, fold)
    np.testing.assert_array_equal(again, judge(others, fold))
