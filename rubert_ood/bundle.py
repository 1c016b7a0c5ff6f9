"""A bundle: one folder, local or s3://, that is one model version and holds all that scoring needs.

config.json, model.safetensors, tokenizer*   HF layout; AutoModelForSequenceClassification loads the folder as it is
label_mapping.json                           {"labels": [...]}
temperature.json, ood_threshold.json         T and the decision rule
ood_statistics.safetensors                   class means, precision, sorted d2 of the calibration rows; float64
reference.safetensors                        features of a sample of train and calibration, to compare detectors
text.json                                    the cleaner, max_length, and how longer texts are read
subheads.json, subheads.safetensors          finer classes inside a class, where they were trained
precision.json                               the numbers that it was fitted in and is scored in; int8: against fp32
evaluation.json, evaluation.html, README.md  how good it is, for programs and for people
manifest.json                                sha256 of every other file and a fingerprint over all; written last

Nothing in it is ever unpickled or executed. A bundle that exists is never changed.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from rubert_ood import storage
from rubert_ood.ads.text import TextCleaner
from rubert_ood.bundle_files import (
    MANIFEST,
    check_files,
    fetch,
    put_files,
    read_json,
    read_manifest,
    write_arrays,
    write_json,
    write_text,
)
from rubert_ood.classifier.outputs import Outputs
from rubert_ood.classifier.subheads import SubHeads, from_arrays, to_arrays
from rubert_ood.errors import BundleError
from rubert_ood.ood.decision import Thresholds
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ood.reference import Reference
from rubert_ood.ood.temperature import TemperatureFit
from rubert_ood.settings import DecisionSettings, LongTextSettings, Precision

STATISTICS = "ood_statistics.safetensors"
REFERENCE = "reference.safetensors"
OUTPUT_KINDS = ("logits", "cls", "labels")
"""Arrays of `Outputs`, in its order."""
SUBHEADS, SUBHEAD_ARRAYS = "subheads.json", "subheads.safetensors"


@dataclass(frozen=True)
class Bundle:
    uri: str
    folder: str
    """Local copy; the model and the tokenizer load from here."""
    version: str
    fingerprint: str
    fitted: FittedModel
    cleaner: TextCleaner
    max_length: int
    long_text: LongTextSettings
    precision: Precision
    """What T, statistics and thresholds were fitted in; scoring computes in the same."""
    subheads: SubHeads | None = None
    """Finer classes; parts have the columns sub_label and sub_confidence only where there are some."""


def write_bundle(
    uri: str,
    *,
    checkpoint_dir: str,
    fitted: FittedModel,
    cleaner: TextCleaner,
    max_length: int,
    documents: Mapping[str, str],
    long_text: LongTextSettings | None = None,
    precision: Precision = "fp32",
    agreement: Mapping[str, float] | None = None,
    reference: Reference | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all. An existing one is refused: versions never change.

    `documents` are texts by file name: the evaluation, the report, the model card. `agreement` is what `int8_agreement`
    measured, for int8. Without `long_text` texts are truncated.
    """
    check_new(uri)
    settings: dict[str, Any] = {
        "text.json": {
            "cleaner": cleaner.to_dict(),
            "max_length": max_length,
            "long_text": (long_text or LongTextSettings()).model_dump(),
        },
        "precision.json": {"precision": precision, "agreement": dict(agreement) if agreement else None},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in os.listdir(checkpoint_dir):
            shutil.copyfile(os.path.join(checkpoint_dir, name), os.path.join(folder, name))
        for name, content in settings.items():
            write_json(folder, name, content)
        _write_fitted(folder, fitted)
        for name, text in documents.items():
            write_text(folder, name, text)
        if reference:
            write_arrays(folder, REFERENCE, _reference_arrays(reference))
        put_files(folder, uri)
    return load_bundle(uri)


def derive_bundle(
    bundle: Bundle,
    uri: str,
    *,
    fitted: FittedModel | None = None,
    reference: Reference | None = None,
    subheads: SubHeads | None = None,
    documents: Mapping[str, str] | None = None,
) -> Bundle:
    """Write a new version of a bundle: its files, with what is given here instead of, or beside, its own.

    The bundle stays as it is; the manifest of the new one names it.
    """
    check_new(uri)
    with tempfile.TemporaryDirectory() as folder:
        for name in os.listdir(bundle.folder):
            if name != MANIFEST:
                shutil.copyfile(os.path.join(bundle.folder, name), os.path.join(folder, name))
        if fitted is not None:
            _write_fitted(folder, fitted)
        if reference is not None:
            write_arrays(folder, REFERENCE, _reference_arrays(reference))
        if subheads is not None:
            arrays, description = to_arrays(subheads)
            write_arrays(folder, SUBHEAD_ARRAYS, arrays)
            write_json(folder, SUBHEADS, description)
        for name, text in (documents or {}).items():
            write_text(folder, name, text)
        put_files(folder, uri, derived_from={"version": bundle.version, "fingerprint": bundle.fingerprint})
    return load_bundle(uri)


def check_new(uri: str) -> None:
    """Raise BundleError when a bundle is there already."""
    if storage.exists(storage.join(uri, MANIFEST)):
        raise BundleError(f"{uri}: this bundle exists; give another version")


def _write_fitted(folder: str, fitted: FittedModel) -> None:
    thresholds = fitted.thresholds
    write_json(folder, "label_mapping.json", {"labels": fitted.labels})
    write_json(folder, "temperature.json", asdict(fitted.temperature))
    rule = {
        "threshold": thresholds.threshold,
        "mu": thresholds.mu,
        "sigma": thresholds.sigma,
        "shrinkage": fitted.statistics.shrinkage,
        "calibrated_on": fitted.calibrated_on,
        **fitted.decision.model_dump(),
    }
    write_json(folder, "ood_threshold.json", rule)
    arrays = {
        "means": fitted.statistics.means_CH,
        "precision": fitted.statistics.precision_HH,
        "calibration_d2": thresholds.calibration_d2,
    }
    write_arrays(folder, STATISTICS, arrays)


def load_bundle(uri: str, *, fingerprint: str | None = None) -> Bundle:
    """Fetch a bundle to this node, once, and check every file against the manifest.

    A copy from S3 is checked before it takes its place. With the fingerprint of a bundle that this job has checked
    already, files that lie here are not hashed again.
    Raises BundleError that names the file which is missing or differs.
    """
    uri = storage.absolute(uri.rstrip("/"))
    manifest = read_manifest(uri)
    if fingerprint is not None and manifest["fingerprint"] != fingerprint:
        raise BundleError(f"{uri}: the bundle changed during the job; start again")
    files = manifest["files"]
    folder = fetch(uri, manifest) if storage.is_s3(uri) else uri
    if fingerprint is None:
        try:
            check_files(uri, folder, files)
        except BundleError:
            if not storage.is_s3(uri):
                raise
            shutil.rmtree(folder, ignore_errors=True)  # the copy on this node went bad; the bundle may be whole
            folder = fetch(uri, manifest)
    try:
        return _read(uri, folder, manifest)
    except (KeyError, TypeError, ValueError) as error:  # pydantic's errors are ValueErrors
        what = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        version = manifest.get("code_version", "?")
        raise BundleError(
            f"{uri}: rubert_ood {version} wrote it otherwise than this version reads it ({what}); train again"
        ) from error


def _read(uri: str, folder: str, manifest: dict[str, Any]) -> Bundle:
    text = read_json(folder, "text.json")
    return Bundle(
        uri=uri,
        folder=folder,
        version=manifest["version"],
        fingerprint=manifest["fingerprint"],
        fitted=_read_fitted(folder),
        cleaner=TextCleaner.from_dict(text["cleaner"]),
        max_length=text["max_length"],
        long_text=LongTextSettings(**text["long_text"]),
        precision=read_json(folder, "precision.json")["precision"],
        subheads=_read_subheads(folder) if SUBHEADS in manifest["files"] else None,
    )


def load_reference(bundle: Bundle) -> Reference | None:
    """Read the features that detectors are fitted on; None if the bundle was written without."""
    path = os.path.join(bundle.folder, REFERENCE)
    if not os.path.exists(path):
        return None
    arrays = load_file(path)
    return Reference(
        *(Outputs(*(arrays[f"{part}_{kind}"] for kind in OUTPUT_KINDS)) for part in ("train", "calibration"))
    )


def _reference_arrays(reference: Reference) -> dict[str, np.ndarray]:
    return {
        f"{part}_{kind}": array
        for part in ("train", "calibration")
        for kind, array in zip(OUTPUT_KINDS, astuple(getattr(reference, part)), strict=True)
    }


def _read_fitted(folder: str) -> FittedModel:
    arrays = load_file(os.path.join(folder, STATISTICS))
    rule = read_json(folder, "ood_threshold.json")
    return FittedModel(
        labels=read_json(folder, "label_mapping.json")["labels"],
        temperature=TemperatureFit(**read_json(folder, "temperature.json")),
        statistics=MahalanobisStatistics(arrays["means"], arrays["precision"], rule["shrinkage"]),
        thresholds=Thresholds(rule["threshold"], rule["mu"], rule["sigma"], arrays["calibration_d2"]),
        decision=DecisionSettings(**{name: rule[name] for name in DecisionSettings.model_fields}),
        calibrated_on=rule["calibrated_on"],
    )


def _read_subheads(folder: str) -> SubHeads:
    return from_arrays(load_file(os.path.join(folder, SUBHEAD_ARRAYS)), read_json(folder, SUBHEADS))
