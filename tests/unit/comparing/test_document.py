"""diff.json as records: the keys that outside readers know, and what the report of a run shows."""

import json

import pytest

from rubert_ood import storage
from rubert_ood.comparing.compare import compare
from rubert_ood.comparing.document import DiffDocument, changed_labels
from tests.unit.comparing.runs import random_run


@pytest.fixture
def two_runs(tmp_path):
    return random_run(tmp_path / "a", seed=1), random_run(tmp_path / "b", seed=2)


def test_diff_json_keeps_its_keys_and_is_read_back(two_runs):
    document = compare(*two_runs, executor="local")
    content = json.loads(storage.to_json(document))
    assert list(content) == [
        *(
            "format",
            "a",
            "b",
            "ads",
            "repeated",
            "changed",
            "churn_rate",
            "texts",
            "transitions",
        ),
        *("ood", "other", "confidence", "labels", "evaluations"),
    ]
    assert set(content["transitions"][0]) == {"from", "to", "count", "examples"}
    example = content["ood"]["became_examples"][0]
    assert {"ad_id", "from", "to", "distance", "same_text"} <= set(example)
    assert DiffDocument.model_validate_json(storage.to_json(document)) == document
    del content["format"]  # as 0.3.0 wrote it
    assert DiffDocument.model_validate_json(json.dumps(content)) == document


def test_changed_labels_are_none_where_no_ad_is_in_both(two_runs):
    document = compare(*two_runs, executor="local")
    changes = changed_labels(document)
    assert (changes.num_both, changes.churn_rate) == (
        document.ads.both,
        document.churn_rate,
    )
    assert [pair.count for pair in changes.pairs] == [
        row.count for row in document.transitions
    ]
    assert changes.pairs[0].examples == [
        ad.ad_id for ad in document.transitions[0].examples
    ]
    assert changed_labels(document.model_copy(update={"churn_rate": None})) is None
