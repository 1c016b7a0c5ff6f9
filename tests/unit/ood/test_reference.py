import numpy as np

from rubert_ood.ood import reference as module
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import make_reference


def outputs(num: int) -> Outputs:
    rng = np.random.default_rng(num)
    return Outputs(
        rng.normal(size=(num, 3)), rng.normal(size=(num, 5)), rng.integers(0, 3, num)
    )


TRAIN, VALID = outputs(600), outputs(300)


def test_the_reference_is_bounded_and_repeatable(monkeypatch):
    monkeypatch.setattr(module, "MAX_REFERENCE_ROWS", 350)
    reference, again = make_reference(TRAIN, VALID), make_reference(TRAIN, VALID)
    assert (len(reference.train), len(reference.calibration)) == (350, 300)
    np.testing.assert_array_equal(reference.train.cls_NH, again.train.cls_NH)
    rows = [
        int(np.flatnonzero((TRAIN.cls_NH == row).all(axis=1))[0])
        for row in reference.train.cls_NH
    ]
    assert rows == sorted(set(rows))
    np.testing.assert_array_equal(reference.train.labels_N, TRAIN.labels_N[rows])
