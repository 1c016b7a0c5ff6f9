"""A stack written into a bundle and read back: never another one without a word."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rubert_ood.bundle import derive_bundle, load_bundle
from rubert_ood.bundle.files import put_files
from rubert_ood.errors import BundleError


def signed_anew(bundle, folder: Path, change) -> str:
    """Change the files of a copy, and write a manifest that is right for them."""
    shutil.copytree(bundle.folder, folder / "changed")
    (folder / "changed" / "manifest.json").unlink()
    change(folder / "changed")
    put_files(str(folder / "changed"), str(folder / "signed"))
    return str(folder / "signed")


def test_a_stack_that_is_written_comes_back_to_the_bit(stacked, stack, ad_texts):
    back = load_bundle(stacked.uri).stack
    assert (back.weight, back.words.num_train) == (1.25, 300)
    assert back.words.ngrams == stack.words.ngrams
    np.testing.assert_array_equal(back.logits(ad_texts), stack.logits(ad_texts))
    manifest = json.loads(Path(stacked.folder, "manifest.json").read_text())
    files = manifest["files"]
    assert manifest["format"] == 4  # one that knows no stack shall not score without it
    assert {"stack.json", "stack.safetensors"} <= set(files)
    assert not [name for name in files if name.endswith((".pkl", ".joblib"))]


def test_a_bundle_without_a_stack_has_neither_file_and_another_fingerprint(
    bundle, stacked, tmp_path
):
    assert bundle.stack is None
    assert json.loads(Path(bundle.folder, "manifest.json").read_text())["format"] == 3
    assert not list(Path(bundle.folder).glob("stack*"))
    heavier = load_bundle(signed_anew(stacked, tmp_path, _edit(weight=1.5)))
    assert heavier.stack.weight == 1.5
    found = {each.fingerprint for each in (bundle, stacked, heavier)}
    assert len(found) == 3


def test_a_bundle_that_is_derived_keeps_its_stack(stacked, stack, tmp_path, ad_texts):
    derived = derive_bundle(stacked, str(tmp_path / "v2"), documents={"README.md": "2"})
    np.testing.assert_array_equal(
        derived.stack.logits(ad_texts[:50]), stack.logits(ad_texts[:50])
    )


def _edit(**values):
    def change(folder: Path) -> None:
        path = folder / "stack.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def _array(name, make):
    def change(folder: Path) -> None:
        arrays = load_file(folder / "stack.safetensors")
        save_file(arrays | {name: make(arrays[name])}, folder / "stack.safetensors")

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / "stack.json").unlink(), "stack.json"),
        (lambda folder: (folder / "stack.safetensors").unlink(), "stack.safetensors"),
        (_edit(weight=-1.0), "stack.json: weight"),
        (_edit(weight="1"), "stack.json: weight"),
        (_edit(ngrams=["диван", "диван"]), "stands in it twice"),
        (_edit(ngrams=["диван"]), "stack.safetensors: the array idf is F32"),
        (_edit(code="x"), "unknown key 'code'"),
        (_array("weights", lambda a: a[:, :4].copy()), "weights is F32"),
        (_array("idf", lambda a: a * np.float32(np.nan)), "NaN or infinite"),
        (_array("probes", lambda a: a[:-1].copy()), "probes is F32"),
        (_array("probes", lambda a: a[:0].copy()), "probes is F32"),
        (_array("biases", lambda a: a.astype(np.float64)), "biases is F64"),
    ],
)
def test_a_stack_that_does_not_fit_its_bundle_is_refused(
    stacked, tmp_path, change, reason
):
    uri = signed_anew(stacked, tmp_path, change)
    with pytest.raises(BundleError) as refused:
        load_bundle(uri)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_stack_whose_n_grams_changed_places_is_refused_before_it_scores(
    stacked, tmp_path
):
    def change(folder: Path) -> None:
        ngrams = json.loads((folder / "stack.json").read_text())["ngrams"]
        _edit(ngrams=ngrams[::-1])(folder)

    bundle = load_bundle(signed_anew(stacked, tmp_path, change))
    with pytest.raises(BundleError, match="reads words otherwise"):
        bundle.stack.logits(["диван"])
