import numpy as np
import pytest

from rubert_ood.ood.outputs import Outputs, sample_rows


def test_outputs_take_chooses_the_same_rows_of_every_array() -> None:
    logits_NC, cls_NH = np.arange(12.0).reshape(4, 3), np.arange(20.0).reshape(4, 5)
    taken = Outputs(logits_NC, cls_NH, np.array([7, 8, 9, -1])).take(np.array([3, 1]))
    assert len(taken) == 2
    assert taken.logits_NC.tolist() == [[9, 10, 11], [3, 4, 5]]
    assert taken.cls_NH.tolist() == [[15, 16, 17, 18, 19], [5, 6, 7, 8, 9]]
    assert taken.labels_N.tolist() == [-1, 8]


@pytest.mark.parametrize("num_rows", [0, 1, 5])
def test_sample_rows_of_no_more_than_the_bound_are_all(num_rows: int) -> None:
    assert sample_rows(num_rows, 5).tolist() == list(range(num_rows))


def test_sample_rows_above_the_bound_are_ascending_different_and_repeatable() -> None:
    rows = sample_rows(10_000, 500)
    assert len(rows) == 500
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == sample_rows(10_000, 500).tolist()
    # uniform: the mean of 500 draws from 0..9999 has a standard error of 126
    assert abs(rows.mean() - 5000) < 4 * 126
