"""What is said of the arrays of a safetensors file before a number is read."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from rubert_ood.bundle.arrays import Layout, check_layouts, layouts, read_arrays

EXPECTED = {"means": Layout("F64", (2, None)), "labels": Layout("I64", (None,))}


def _write(folder, **changes) -> str:
    arrays = {"means": np.ones((2, 3)), "labels": np.arange(4)} | changes
    save_file(arrays, folder / "a.safetensors")
    return str(folder)


def test_layouts_are_those_of_the_header(tmp_path):
    found = layouts(_write(tmp_path), "a.safetensors")
    assert found == {"means": Layout("F64", (2, 3)), "labels": Layout("I64", (4,))}
    assert str(EXPECTED["means"]) == "F64 (2, any)"


def test_arrays_that_fit_are_read(tmp_path):
    arrays = read_arrays(_write(tmp_path), "a.safetensors", EXPECTED)
    np.testing.assert_array_equal(arrays["labels"], np.arange(4))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"means": Layout("F64", (2, 3))},
            r"it lacks the array 'labels' \(1 missing in all\)",
        ),
        ({**EXPECTED, "more": Layout("F64", (1,))}, "unknown array 'more'"),
        ({**EXPECTED, "means": Layout("F32", (2, 3))}, "means is F32"),
        ({**EXPECTED, "means": Layout("F64", (3, 3))}, r"means is F64 \(3, 3\)"),
        ({**EXPECTED, "means": Layout("F64", (2,))}, r"means is F64 \(2\)"),
    ],
)
def test_an_array_laid_out_otherwise_is_named(found, message):
    with pytest.raises(ValueError, match=message):
        check_layouts(found, EXPECTED)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    folder = _write(tmp_path, means=np.array([[1.0], [np.inf]]))
    with pytest.raises(ValueError, match="the array means holds NaN or infinite numbers"):
        read_arrays(folder, "a.safetensors", EXPECTED)
