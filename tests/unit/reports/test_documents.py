"""The files of an evaluation and of a comparison."""

import json

import pytest

from rubert_ood import storage
from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.comparing.compare import compare
from rubert_ood.comparing.document import DiffDocument
from rubert_ood.reports.documents import evaluation_documents, write_diff
from rubert_ood.reports.evaluate import Material, evaluate
from rubert_ood.reports.evaluation import Context
from tests.unit.comparing.runs import random_run


def test_an_evaluation_has_one_file_for_programs_and_one_for_people(model, splits):
    material = Material(
        {"test": splits["test"]}, LabelledAds(["x"] * 200, splits["test"].labels_N)
    )
    evaluation = evaluate(model, material, context=Context(version="v9"))
    documents = evaluation_documents(evaluation)
    assert set(documents) == {"evaluation.json", "evaluation.html"}
    assert documents["evaluation.json"] == storage.to_json(evaluation).decode()
    assert json.loads(documents["evaluation.json"])["headline"]["num_test"] == 200
    assert "Evaluation of bundle v9" in documents["evaluation.html"]


@pytest.mark.parametrize("folder", ["diff", "deeper/diff"])
def test_a_diff_is_written_for_programs_and_for_people(tmp_path, folder):
    runs = [random_run(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    document = compare(*runs, executor="local")
    write_diff(document, str(tmp_path / folder))
    written = (tmp_path / folder / "diff.json").read_bytes()
    assert DiffDocument.model_validate_json(written) == document
    assert "What changed from run a to b" in (tmp_path / folder / "diff.html").read_text()
