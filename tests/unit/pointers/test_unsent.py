"""The note of what MLflow lacks: there from before the question until all was sent."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from rubert_ood.pointers.unsent import (
    NO_ANSWER_YET,
    forget_unsent,
    note_unsent,
    unsent_uri,
)
from rubert_ood.settings import MlflowSettings

BOTH = MlflowSettings(experiment="shop", register_as="ads")


@pytest.fixture
def noted(bundle, tmp_path):
    there = replace(bundle, uri=f"{tmp_path}/bundles/v1")
    note_unsent(there, BOTH, "rubert-ood register")
    return there


def test_note_unsent_lies_beside_the_bundle_and_says_what_sends_the_rest(noted, tmp_path):
    path = tmp_path / "bundles" / "_unsent" / "v1.json"
    assert unsent_uri(noted.uri) == str(path)
    note = json.loads(path.read_bytes())
    assert note["fingerprint"] == noted.fingerprint
    assert (note["reason"], note["command"]) == (NO_ANSWER_YET, "rubert-ood register")
    note_unsent(noted, BOTH, "rubert-ood register", "no answer")
    assert json.loads(path.read_bytes())["reason"] == "no answer"


@pytest.mark.parametrize(
    ("settings", "stays"),
    [
        (BOTH, False),
        (MlflowSettings(experiment="shop"), True),
        (MlflowSettings(experiment="other", register_as="ads"), True),
    ],
)
def test_forget_unsent_removes_the_note_only_where_all_of_it_was_sent(
    noted, settings, stays
):
    forget_unsent(noted, settings)
    assert Path(unsent_uri(noted.uri)).exists() == stays


def test_forget_unsent_without_a_note_or_on_the_hub_does_nothing(
    bundle, tmp_path, caplog
):
    for uri in (f"{tmp_path}/v1", "hf://shop/ads@0123abc"):
        forget_unsent(replace(bundle, uri=uri), BOTH)
    assert caplog.messages == []
    assert os.listdir(tmp_path) == []


def test_note_unsent_that_cannot_be_written_is_one_warning(bundle, tmp_path, caplog):
    (tmp_path / "bundles").write_text("a file where a folder should be")
    note_unsent(replace(bundle, uri=f"{tmp_path}/bundles/v1"), BOTH, "x")
    (line,) = caplog.messages
    assert line.startswith(
        "mlflow    could not note beside the bundle what MLflow lacks: "
    )
