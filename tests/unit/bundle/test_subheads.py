"""Sub-heads written into a folder and read back."""

import json
import os

import numpy as np
import pytest
from pydantic import ValidationError

from rubert_ood.bundle.documents import SubheadsDocument
from rubert_ood.bundle.subheads import check_categories, read_subheads, write_subheads
from rubert_ood.classifier.subheads import SubHead, SubHeads

H = 4


@pytest.fixture
def subheads() -> SubHeads:
    rng = np.random.default_rng(0)
    heads = {
        "Мебель": SubHead(
            ["Диваны", "Столы", "Шкафы"],
            rng.normal(size=(3, H)),
            rng.normal(size=3),
            {"num_train": 80, "accuracy": 0.75},
        ),
        "Животные": SubHead(
            ["Кошки", "Собаки"], rng.normal(size=(2, H)), rng.normal(size=2)
        ),
    }
    return SubHeads(heads, {"min_rows_per_class": 20, "regularisation": 0.5})


def _described(folder) -> SubheadsDocument:
    return SubheadsDocument.model_validate_json((folder / "subheads.json").read_bytes())


def test_subheads_that_are_written_come_back(subheads, tmp_path):
    write_subheads(str(tmp_path), subheads)
    assert set(os.listdir(tmp_path)) == {"subheads.json", "subheads.safetensors"}
    back = read_subheads(str(tmp_path), _described(tmp_path), H)
    assert list(back.heads) == list(subheads.heads)
    assert back.settings == subheads.settings
    for category, head in subheads.heads.items():
        found = back.heads[category]
        assert (found.names, found.measured) == (head.names, head.measured)
        np.testing.assert_array_equal(found.weights_SH, head.weights_SH)
        np.testing.assert_array_equal(found.biases_S, head.biases_S)
    written = json.loads((tmp_path / "subheads.json").read_text())
    assert written["categories"][0]["measured"]["num_train"] == 80


def test_arrays_of_another_width_are_refused(subheads, tmp_path):
    write_subheads(str(tmp_path), subheads)
    with pytest.raises(
        ValueError,
        match=r"the array 0\.weights is F64 \(3, 4\), where F64 \(3, 5\) is expected",
    ):
        read_subheads(str(tmp_path), _described(tmp_path), H + 1)


def test_a_category_that_is_not_a_class_is_refused(subheads, tmp_path):
    write_subheads(str(tmp_path), subheads)
    check_categories(_described(tmp_path), ["Животные", "Мебель", "Шины"])
    with pytest.raises(ValueError, match="'Мебель' is not a class of this bundle"):
        check_categories(_described(tmp_path), ["Животные"])


def test_a_subhead_of_one_name_is_not_written(subheads, tmp_path):
    content = {
        "settings": {},
        "categories": [{"category": "а", "names": ["б"], "measured": {}}],
    }
    with pytest.raises(ValidationError, match="at least 2 items"):
        SubheadsDocument.model_validate(content)
