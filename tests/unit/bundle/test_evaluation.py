"""What other jobs read of evaluation.json, of every version."""

import json
from pathlib import Path

import pytest

from rubert_ood.bundle.evaluation import EvaluationSummary, read_evaluation


class _Bundle:
    """The two things of a bundle that are looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = str(folder), str(folder)


def _read(folder: Path, content: str) -> EvaluationSummary | None:
    (folder / "evaluation.json").write_text(content)
    return read_evaluation(_Bundle(folder))


@pytest.mark.parametrize("number", [{}, {"format": 1}, {"format": 7, "more": []}])
def test_an_evaluation_of_any_format_gives_what_is_used_again(tmp_path, number):
    written = {
        "context": {"version": "v1", "base_model": "b", "num_train": 9},
        "headline": {"accuracy": 0.5, "mean_d2": {"train": 1.0}},
        "per_class": [{"label": "Мебель", "f1": 0.5, "support": 4}],
        "labels": ["Мебель"],
    }
    found = _read(tmp_path, json.dumps(written | number))
    assert (found.context.base_model, found.context.num_train) == ("b", 9)
    assert found.context.num_classes is None
    assert (found.headline.accuracy, found.headline.macro_f1) == (0.5, None)
    assert found.f1_by_class() == {"Мебель": 0.5}


def test_a_bundle_without_an_evaluation_says_nothing(tmp_path, caplog):
    assert read_evaluation(_Bundle(tmp_path)) is None
    assert caplog.text == ""


@pytest.mark.parametrize("content", ["", "[]", '{"headline": 5}', '{"labels": [null]}'])
def test_an_evaluation_that_cannot_be_read_is_left_out_with_a_warning(
    tmp_path, caplog, content
):
    assert _read(tmp_path, content) is None
    assert "ignores evaluation.json, which is damaged: " in caplog.text
