"""The page of a repository, read as the hub reads it."""

import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from rubert_ood.bundle import derive_bundle
from rubert_ood.ood.promise import Promise
from rubert_ood.sharing.page import hub_name, page_of

EVALUATION = """{
 "context": {"base_model": "DeepPavlov/rubert-base-cased", "num_train": 12345},
 "headline": {"accuracy": 0.95304, "macro_f1": 0.9401, "ece_after": 0.0123}
}"""


@pytest.fixture
def evaluated(bundle, tmp_path):
    documents = {"evaluation.json": EVALUATION}
    return derive_bundle(bundle, str(tmp_path / "v2"), documents=documents)


def test_page_has_the_head_that_the_hub_reads(evaluated):
    card = ModelCard(page_of(evaluated, "acme/ads", "apache-2.0"))
    head = card.data.to_dict()
    assert head["license"] == "apache-2.0"
    assert head["language"] == "ru"
    assert head["base_model"] == "DeepPavlov/rubert-base-cased"
    assert head["pipeline_tag"] == "text-classification"
    assert head["library_name"] == "transformers"
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {"accuracy": 0.953, "f1": 0.9401}


def test_page_says_numbers_fingerprint_and_limits(evaluated):
    text = page_of(evaluated, "acme/ads", "mit")
    rows = dict(re.findall(r"^\| (.+?) \| ([0-9.]+) \|$", text, re.M))
    assert rows == {"accuracy": "0.9530", "macro-F1": "0.9401", "ECE after T": "0.0123"}
    assert evaluated.fingerprint in text
    assert "fine-tuned from [DeepPavlov/rubert-base-cased]" in text
    assert "on 12,345 ads" in text
    assert "a confidence below 0.36 is labelled" in text
    assert "It reads 64 tokens at once. The rest of a longer text is not read." in text
    assert text.rstrip().endswith("Животные, Квартиры, Мебель, Одежда, Шины и диски")
    assert "license is stated" not in text


def test_page_without_license_and_evaluation_says_so(bundle):
    text = page_of(bundle, "acme/ads", None)
    head = ModelCard(text).data.to_dict()
    assert {"license", "base_model", "model-index"}.isdisjoint(head)
    assert "**No license is stated.**" in text
    assert "The bundle has no evaluation." in text


def test_page_shows_what_others_wrote_as_it_is(bundle):
    labels = ["<script>alert(1)</script>", "[a](http://b)", "c\nd", "e", "f"]
    hostile = replace(
        bundle, version="a\n---\n# b", fitted=replace(bundle.fitted, labels=labels)
    )
    text = page_of(hostile, "acme/ads", "mit")
    assert "<script>" not in text
    assert "[a](" not in text
    assert text.count("\n---\n") == 1
    assert "c\\\\nd" in text.replace("c\\nd", "c\\\\nd")


def test_page_repeats_the_promises_of_the_bundle(bundle):
    promise = Promise("precision", 0.98, 0.95, 400, 1)
    fitted = replace(bundle.fitted, promises=(promise,))
    text = page_of(replace(bundle, fitted=fitted), "acme/ads", "mit")
    assert f"- {promise.in_words()}\n" in text


@pytest.mark.parametrize(
    ("base_model", "name"),
    [
        ("DeepPavlov/rubert-base-cased", "DeepPavlov/rubert-base-cased"),
        ("bert-base-cased", "bert-base-cased"),
        ("/models/rubert", None),
        ("s3://models/rubert", None),
        ("output/pretrained/v1", None),
        (None, None),
    ],
)
def test_hub_name_of_a_folder_or_an_object_is_none(base_model, name):
    assert hub_name(base_model) == name


def test_hub_name_of_a_folder_that_looks_like_one_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "rubert").mkdir(parents=True)
    assert hub_name("models/rubert") is None
