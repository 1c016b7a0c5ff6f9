import dataclasses
import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rubert_ood import __version__, storage
from rubert_ood.bundle import (
    BundleContent,
    load_bundle,
    load_calibration,
    load_reference,
    new_bundle_uri,
    write_bundle,
)
from rubert_ood.errors import BundleError, OutputError
from rubert_ood.ood.agreement import Agreement
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.settings import DecisionSettings, TextSettings
from rubert_ood.storage import folders
from rubert_ood.storage.retry import explained

FILES = {
    "README.md",
    "config.json",
    "evaluation.json",
    "label_mapping.json",
    "model.safetensors",
    "ood_statistics.safetensors",
    "ood_threshold.json",
    "precision.json",
    "special_ids.json",
    "temperature.json",
    "text.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(bundle.folder, tmp_path / "v1"))


def _write(bundle, uri, checkpoint_dir, **options):
    return write_bundle(
        str(uri),
        BundleContent(
            checkpoint_dir=checkpoint_dir,
            fitted=bundle.fitted,
            cleaner=bundle.cleaner,
            **{
                "text": bundle.text,
                "documents": {"README.md": "Карточка\n", "evaluation.json": "{}"},
                **options,
            },
        ),
    )


def test_load_bundle_gives_the_precision_that_was_written(
    bundle, small_checkpoint, tmp_path
):
    assert bundle.precision == "fp32"
    agreement = Agreement(0.995, 0.01, 0.011, 1.0)
    uri = str(tmp_path / "v2")
    quantised = _write(
        bundle, uri, small_checkpoint, precision="int8", agreement=agreement
    )
    assert quantised.precision == "int8"
    assert json.loads((tmp_path / "v2" / "precision.json").read_text()) == {
        "precision": "int8",
        "agreement": dataclasses.asdict(agreement),
    }
    assert quantised.fingerprint != bundle.fingerprint


@pytest.mark.parametrize("with_tokens", [(False, False), (True, True), (False, True)])
def test_load_bundle_gives_the_reference_exactly(
    bundle, small_checkpoint, tmp_path, with_tokens
):
    """The train ads of a bundle that was tuned may be those of an older version."""
    assert load_reference(bundle) is None
    rng = np.random.default_rng(0)
    parts = []
    for num, has_tokens in zip((7, 3), with_tokens, strict=True):
        cls_NH, tokens_NH = rng.normal(size=(2, num, 32)).astype(np.float32)
        logits_NC = rng.normal(size=(num, 5)).astype(np.float32)
        tokens_NH = tokens_NH if has_tokens else None
        parts.append(Outputs(logits_NC, cls_NH, np.arange(num) % 5, tokens_NH))
    assert load_calibration(bundle) is None
    newer = _write(bundle, tmp_path / "v2", small_checkpoint, reference=Reference(*parts))
    got = load_reference(newer)
    alone = load_calibration(newer)
    np.testing.assert_array_equal(alone.logits_NC, parts[1].logits_NC)
    np.testing.assert_array_equal(alone.labels_N, parts[1].labels_N)
    for ours, theirs in zip((got.train, got.calibration), parts, strict=True):
        assert ours.arrays().keys() == theirs.arrays().keys()
        for name, array in ours.arrays().items():
            np.testing.assert_array_equal(array, theirs.arrays()[name])
            assert array.dtype == theirs.arrays()[name].dtype


def test_load_bundle_gives_how_long_texts_are_read(bundle, small_checkpoint, tmp_path):
    text = TextSettings(max_length=64, mode="window", stride=10, max_windows=3)
    windowed = _write(bundle, tmp_path / "v2", small_checkpoint, text=text)
    assert windowed.text == text
    assert windowed.fingerprint != bundle.fingerprint


def test_how_texts_are_read_keeps_its_names_in_the_bundle(
    bundle, small_checkpoint, tmp_path
):
    """Those of 0.2.0, whose bundles are read and which reads ours."""
    text = TextSettings(max_length=64, mode="window", stride=10, max_windows=3)
    _write(bundle, tmp_path / "v2", small_checkpoint, text=text)
    document = json.loads((tmp_path / "v2" / "text.json").read_text("utf-8"))
    assert list(document) == ["cleaner", "max_length", "long_text"]
    assert document["max_length"] == 64
    assert document["long_text"] == {"mode": "chunk", "stride": 10, "max_chunks": 3}


@pytest.mark.parametrize(
    ("output_uri", "expected"),
    [
        (None, "s3://b/models/v2"),
        ("s3://b/out", "s3://b/out/bundles/v2"),
        ("s3://b/out/", "s3://b/out/bundles/v2"),
        ("s3://b/out/bundles", "s3://b/out/bundles/v2"),
        ("/out/bundles/", "/out/bundles/v2"),
    ],
)
def test_new_bundle_uri_is_below_the_output_or_beside_the_older_bundle(
    output_uri, expected
):
    assert new_bundle_uri(output_uri, "v2", beside="s3://b/models/v1") == expected


def _edit_manifest(folder: Path, change) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _fingerprint(files: dict) -> str:
    return hashlib.sha256(
        "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(files)).encode()
    ).hexdigest()


def test_load_bundle_gives_every_fitted_number_exactly(bundle, fitted):
    got = load_bundle(bundle.uri).fitted
    assert got.labels == fitted.labels
    assert got.temperature == fitted.temperature
    assert got.decision == fitted.decision
    assert got.statistics.shrinkage == fitted.statistics.shrinkage
    for name in ("threshold", "mu", "sigma"):
        assert getattr(got.thresholds, name) == getattr(fitted.thresholds, name)
    for ours, theirs in (
        (got.statistics.means_CH, fitted.statistics.means_CH),
        (got.statistics.precision_HH, fitted.statistics.precision_HH),
        (got.thresholds.calibration_d2, fitted.thresholds.calibration_d2),
    ):
        assert ours.dtype == np.float64
        np.testing.assert_array_equal(ours, theirs)


def test_load_bundle_gives_the_text_settings(bundle, ads):
    got = load_bundle(bundle.uri)
    assert got.text == TextSettings(max_length=64)
    assert got.cleaner.to_dict() == bundle.cleaner.to_dict()
    assert got.cleaner.cities == sorted(
        {city.lower() for city in ads["city"].to_pylist()}
    )
    assert got == dataclasses.replace(bundle, fitted=got.fitted, cleaner=got.cleaner)


def test_write_bundle_makes_a_folder_that_transformers_loads(
    bundle, small_checkpoint, ad_texts, one_by_one
):
    ours = one_by_one(bundle.folder, ad_texts[:20], 64)
    theirs = one_by_one(small_checkpoint, ad_texts[:20], 64)
    np.testing.assert_array_equal(ours[0], theirs[0])
    network = AutoModelForSequenceClassification.from_pretrained(bundle.folder)
    assert [
        network.config.id2label[number] for number in range(5)
    ] == bundle.fitted.labels
    assert isinstance(network, torch.nn.Module)
    assert AutoTokenizer.from_pretrained(bundle.folder).cls_token == "[CLS]"


def test_write_bundle_writes_these_files_and_keys(bundle, fitted):
    folder = Path(bundle.folder)
    assert set(os.listdir(folder)) == FILES | {"manifest.json"}
    assert json.loads((folder / "label_mapping.json").read_text("utf-8")) == {
        "labels": fitted.labels
    }
    assert "Животные" in (folder / "label_mapping.json").read_text("utf-8")
    temperature = json.loads((folder / "temperature.json").read_text())
    assert set(temperature) == {"temperature", "nll_before", "nll_after", "at_bound"}
    assert temperature["temperature"] == fitted.temperature.temperature
    rule = json.loads((folder / "ood_threshold.json").read_text())
    fitted_on = {"threshold", "mu", "sigma", "shrinkage", "calibrated_on"}
    assert set(rule) == fitted_on | set(DecisionSettings.model_fields) - {"detector"}
    assert (rule["threshold"], rule["z_thr"], rule["top_k"]) == (
        fitted.thresholds.threshold,
        0.5,
        3,
    )
    arrays = load_file(folder / "ood_statistics.safetensors")
    assert {name: array.shape for name, array in arrays.items()} == {
        "means": (5, 32),
        "precision": (32, 32),
        "calibration_d2": (100,),
    }
    assert (folder / "README.md").read_text("utf-8") == "Карточка\n"


def test_bundle_manifest_describes_every_file(bundle):
    folder = Path(bundle.folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == FILES
    for name, entry in manifest["files"].items():
        data = (folder / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    assert (
        manifest["fingerprint"] == bundle.fingerprint == _fingerprint(manifest["files"])
    )
    assert (manifest["version"], manifest["code_version"], manifest["format"]) == (
        "v1",
        __version__,
        3,
    )


def test_bundle_holds_neither_pickle_nor_archive(bundle):
    for path in Path(bundle.folder).iterdir():
        data = path.read_bytes()
        assert not data.startswith((b"\x80", b"PK")), path
        if path.suffix == ".safetensors":  # 8 bytes of header length, then JSON
            assert data[8:9] == b"{", path
        else:
            data.decode("utf-8")


def test_bundle_of_the_same_content_has_the_same_fingerprint(
    bundle, small_checkpoint, tmp_path
):
    assert (
        _write(bundle, tmp_path / "v2", small_checkpoint).fingerprint
        == bundle.fingerprint
    )
    loose = dataclasses.replace(
        bundle.fitted,
        decision=bundle.fitted.decision.model_copy(update={"tau_other": 0.51}),
    )
    other = _write(
        dataclasses.replace(bundle, fitted=loose), tmp_path / "v3", small_checkpoint
    )
    assert other.fingerprint != bundle.fingerprint


@pytest.mark.parametrize("name", sorted(FILES))
def test_load_bundle_names_a_file_with_one_changed_byte(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} differs from the manifest"):
        load_bundle(str(copy))


@pytest.mark.parametrize("name", sorted(FILES))
def test_load_bundle_names_a_missing_file(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(str(copy))


def test_load_bundle_of_an_earlier_version_is_one_line(copy):
    text = json.loads((copy / "text.json").read_text("utf-8"))
    del text["long_text"]
    (copy / "text.json").write_text(json.dumps(text))
    data = (copy / "text.json").read_bytes()

    def describe(manifest):
        manifest["files"]["text.json"] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
        }
        manifest |= {
            "fingerprint": _fingerprint(manifest["files"]),
            "code_version": "0.1.9",
        }

    _edit_manifest(copy, describe)
    with pytest.raises(
        BundleError,
        match=(
            r"rubert_ood 0\.1\.9 wrote it in a form .*it lacks 'long_text'.*Train"
            " again"
        ),
    ):
        load_bundle(str(copy))


def test_load_bundle_names_a_file_that_grew(copy):
    with (copy / "text.json").open("a") as file:
        file.write("\n")
    with pytest.raises(BundleError, match=r"text\.json differs"):
        load_bundle(str(copy))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no bundle is here"),
        ("", r"manifest\.json: it does not hold JSON"),
        ("{", r"manifest\.json: it does not hold JSON"),
        ("[]", r"manifest\.json: expected an object"),
        (
            "{}",
            (
                r"manifest\.json: it lacks 'format', .* and 3 more. Restore it, or"
                " train again"
            ),
        ),
        ('{"format": 3, "files": {"a": 1}}', "it lacks 'version'"),
        (
            '{"format": 1, "files": {}}',
            "the bundle has format 1, and this version reads formats 3",
        ),
        ('{"format": [3], "files": {}}', r"the bundle has format \[3\]"),
        ("[" * 100_000, r"manifest\.json: it does not hold JSON"),
        (
            (
                '{"format": 3, "version": "v1", "created_at": "", "code_version": "",'
                ' "fingerprint": "0", "files": {}}'
            ),
            "own fingerprint",
        ),
    ],
)
def test_load_bundle_of_a_folder_without_a_manifest_is_refused(copy, content, message):
    path = copy / "manifest.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(BundleError, match=message) as error:
        load_bundle(str(copy))
    assert str(copy) in str(error.value)


def test_load_bundle_of_a_folder_that_is_missing_names_it(tmp_path):
    with pytest.raises(BundleError, match="no bundle is here"):
        load_bundle(str(tmp_path / "nothing"))


def test_load_bundle_that_may_not_be_read_does_not_say_that_none_is_there(
    copy, monkeypatch
):
    def denied(uri):
        with explained(uri):
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(storage, "read_bytes", denied)
    with pytest.raises(BundleError) as caught:
        load_bundle(str(copy))
    assert str(caught.value) == (
        f"{copy}/manifest.json: access is denied. Check its owner and its mode"
    )


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/b", "..", ".hidden", "", "a\nb", "a\n"]
)
def test_load_bundle_with_a_file_outside_the_folder_is_refused(copy, name):
    """Even with a manifest that agrees with itself."""

    def plant(manifest):
        manifest["files"][name] = manifest["files"]["README.md"]
        manifest["fingerprint"] = _fingerprint(manifest["files"])

    (copy.parent / "x").write_text("Карточка\n", "utf-8")
    _edit_manifest(copy, plant)
    with pytest.raises(BundleError, match="Restore the bundle"):
        load_bundle(str(copy))


def test_bundle_manifest_that_follows_a_changed_file_has_another_fingerprint(copy):
    (copy / "README.md").write_text("Другая\n", "utf-8")

    def follow(manifest):
        data = (copy / "README.md").read_bytes()
        manifest["files"]["README.md"] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
        }

    _edit_manifest(copy, follow)
    with pytest.raises(BundleError, match="own fingerprint"):
        load_bundle(str(copy))


def test_a_bundle_that_changed_during_the_job_is_refused(bundle):
    assert (
        load_bundle(bundle.uri, fingerprint=bundle.fingerprint).fingerprint
        == bundle.fingerprint
    )
    with pytest.raises(BundleError, match="changed while the job was running"):
        load_bundle(bundle.uri, fingerprint="0" * 64)


def test_write_bundle_never_changes_an_existing_bundle(bundle, small_checkpoint, copy):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(
        BundleError, match=r"this bundle exists already. Choose another version"
    ):
        _write(bundle, copy, small_checkpoint)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_load_bundle_with_a_slash_at_the_end_is_the_same_bundle(bundle):
    assert load_bundle(bundle.uri + "/").fingerprint == bundle.fingerprint
    assert load_bundle(bundle.uri + "/").version == "v1"


@pytest.mark.parametrize("broken", ["os.rename", "shutil.copyfile"])
def test_write_bundle_that_fails_half_way_leaves_no_bundle(
    bundle, small_checkpoint, tmp_path, monkeypatch, broken
):
    module, function = (os, "rename") if broken == "os.rename" else (shutil, "copyfile")
    whole = getattr(module, function)
    uri = tmp_path / "bundles" / "v1"

    def fail(source, target, **options):
        # the copy breaks at the last file of all, the manifest
        if function == "rename" or str(target).endswith("manifest.json"):
            raise OSError("disk full")
        return whole(source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(
            folders.os if function == "rename" else folders.shutil, function, fail
        )
        with pytest.raises(OutputError, match="disk full"):
            _write(bundle, uri, small_checkpoint)
    assert list(uri.parent.iterdir()) == []
    with pytest.raises(BundleError, match="no bundle is here"):
        load_bundle(str(uri))
    assert (
        _write(bundle, uri, small_checkpoint).fingerprint == bundle.fingerprint
    )  # and the next attempt succeeds
