"""Texts to begin with are there for every bundle, and are the bundle's own where it has some."""

import dataclasses
import json

from rubert_ood.ui.samples import samples


def test_samples_of_a_bundle_without_hard_cases_are_made_up(bundle):
    found = samples(bundle)
    assert list(found) == [
        "Ads (made up)",
        "Hard cases (made up)",
        "Out-of-domain texts (made up)",
    ]
    for texts in found.values():
        assert len(texts) >= 10
        assert all(sample.text.strip() and sample.note for sample in texts)


def test_samples_take_the_hard_cases_of_the_evaluation(bundle, tmp_path):
    cases = [{"text": "Диван\nновый " + "x" * 100, "expected": "Мебель", "label": "?"}]
    text = json.dumps({"hard_cases": cases})
    (tmp_path / "evaluation.json").write_text(text, encoding="utf-8")
    other = dataclasses.replace(bundle, folder=str(tmp_path))
    [sample] = samples(other)["Hard cases of this bundle's evaluation"]
    assert sample.text == cases[0]["text"]
    assert sample.note == "expected: Мебель"
    assert sample.title.startswith("Диван новый xxx")
    assert len(sample.title) <= 71


def test_samples_pass_over_an_evaluation_that_cannot_be_read(bundle, tmp_path):
    (tmp_path / "evaluation.json").write_text("{")
    other = dataclasses.replace(bundle, folder=str(tmp_path))
    assert "Hard cases (made up)" in samples(other)
