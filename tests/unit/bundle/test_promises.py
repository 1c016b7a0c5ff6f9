"""Promises of a bundle go with the decision that they are about."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rubert_ood.bundle import derive_bundle, load_bundle
from rubert_ood.errors import BundleError
from rubert_ood.ood.promise import Promise
from rubert_ood.pointers.champion import name_of
from rubert_ood.runs.plan import BundleName
from tests.unit.bundle.signed import edit, sign

PROMISES = (
    Promise("precision", 0.98, 0.95, 1240, 12),
    Promise("flagged", 0.01, 0.95, 900, 3),
)


@pytest.fixture
def promising(bundle, tmp_path):
    fitted = replace(bundle.fitted, promises=PROMISES)
    return derive_bundle(bundle, str(tmp_path / "v2"), fitted=fitted)


def test_promises_are_read_as_written_and_older_bundles_have_none(bundle, promising):
    assert promising.fitted.promises == PROMISES
    assert bundle.fitted.promises == ()
    assert not Path(bundle.folder, "promises.json").exists()


def test_runs_name_what_the_bundle_promises(bundle, promising):
    name = name_of(promising)
    assert name.promises == list(PROMISES)
    assert BundleName.model_validate_json(name.model_dump_json()) == name
    older = json.loads(name.model_dump_json())
    del older["promises"]
    assert BundleName.model_validate_json(json.dumps(older)).promises == []
    assert name_of(bundle).promises == []


def test_promises_stay_with_their_decision_and_go_with_it(promising, tmp_path):
    same = derive_bundle(promising, str(tmp_path / "same"))
    assert same.fitted.promises == PROMISES
    fitted = replace(promising.fitted, promises=())
    other = derive_bundle(promising, str(tmp_path / "other"), fitted=fitted)
    assert load_bundle(other.uri).fitted.promises == ()
    assert not Path(other.folder, "promises.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": 1.5}, "level and confidence of a promise lie between 0 and 1"),
        ({"kind": "everything"}, "kind: expected 'precision'"),
        ({"sure": True}, "unknown key|Unexpected"),
    ],
)
def test_promises_that_make_no_sense_are_refused(promising, changes, message):
    folder = Path(promising.folder)
    content = json.loads((folder / "promises.json").read_text())
    content["promises"][0].update(changes)
    edit(folder, "promises.json", promises=content["promises"])
    sign(folder)
    with pytest.raises(BundleError, match=rf"promises\.json: .*({message})"):
        load_bundle(promising.uri)
