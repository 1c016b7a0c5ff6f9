"""A bundle: one folder, local or s3://, that is one model version and holds all that scoring needs.

config.json, model.safetensors, tokenizer*   HF layout, for AutoModelForSequenceClassification
special_ids.json                             which token ids are not of texts; for tokenizer.json
label_mapping.json                           {"labels": [...]}
temperature.json, ood_threshold.json         T and the decision rule
ood_statistics.safetensors                   class means, precision matrix, calibration d2; float64
detector.safetensors                         the detector that decides, if not Mahalanobis
reference.safetensors                        features of train and calibration rows, for detectors
text.json                                    the cleaner, and how texts are read
subheads.json, subheads.safetensors          finer classes inside a class, where they were trained
stack.json, stack.safetensors                words that are added to the logits, where they gain
promises.json                                what its decision promises, and of how many rows
precision.json                               its numeric precision; int8: compared with fp32
evaluation.json, evaluation.html, README.md  how good it is, for programs and for people
train.html                                   how its training went, where it comes from one
manifest.json                                sha256 of every other file, fingerprint over all; last

Nothing in it is ever unpickled or executed. A bundle that exists is never changed.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from rubert_ood import storage
from rubert_ood.ads.text import TextCleaner
from rubert_ood.bundle.content import (
    PRECISION,
    TEXT,
    BundleReader,
)
from rubert_ood.bundle.documents import TextDocument
from rubert_ood.bundle.files import (
    MANIFEST,
    Origin,
    check_files,
    fetch,
    put_files,
    read_manifest,
    write_json,
    write_text,
)
from rubert_ood.bundle.reference import (
    REFERENCE,
    read_calibration,
    write_reference,
)
from rubert_ood.bundle.stack import write_stack
from rubert_ood.bundle.subheads import write_subheads
from rubert_ood.bundle.tokenizer import write_tokenizer
from rubert_ood.bundle.write_fitted import write_fitted
from rubert_ood.classifier.stack import Stack
from rubert_ood.classifier.subheads import SubHeads
from rubert_ood.classifier.tokenizer import TextTokenizer, load_tokenizer
from rubert_ood.errors import BundleError, SettingsError
from rubert_ood.ood.agreement import Agreement
from rubert_ood.ood.fit import FittedModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.settings import Precision, TextSettings
from rubert_ood.storage.hub import is_hub

BUNDLES = "bundles"
CHAMPION = "champion"
"""What stands in a URI for whichever bundle of a folder is promoted (pointers/champion.py)."""
CHAMPION_FILE = f"{CHAMPION}.json"


@dataclass(frozen=True)
class Bundle:
    """A fitted model with all that reads and judges a text, checked, on the local disk."""

    uri: str
    folder: str
    """Local copy; the model and the tokenizer load from here."""
    version: str
    fingerprint: str
    fitted: FittedModel
    cleaner: TextCleaner
    text: TextSettings
    """How texts are read."""
    precision: Precision
    """What T, statistics and thresholds were fitted in; scoring computes in the same."""
    subheads: SubHeads | None = None
    """Finer classes; parts have the columns sub_label and sub_confidence only where there are
    some."""
    stack: Stack | None = None
    """What words add to the logits of the network; T is fitted on the sum."""
    alias: str = ""
    """The URI by which it was asked for, where that is of a pointer to it."""
    registered: str = ""
    """Its version in an MLflow registry, where it was asked for by one."""
    own_tokenizer: TextTokenizer | None = field(default=None, compare=False, repr=False)
    """None: an older bundle, which transformers reads."""

    def tokenizer(self) -> TextTokenizer:
        """Return its tokenizer, the same each time unless transformers reads it anew."""
        return self.own_tokenizer or load_tokenizer(self.folder)


@dataclass(frozen=True)
class BundleContent:
    """What a new bundle is made of."""

    checkpoint_dir: str
    """Local, in HF layout."""
    fitted: FittedModel
    cleaner: TextCleaner
    text: TextSettings
    documents: Mapping[str, str]
    """By file name: the evaluation, the report, the model card."""
    precision: Precision = "fp32"
    agreement: Agreement | None = None
    """Of int8, or of bf16 on a CPU, with fp32."""
    reference: Reference | None = None
    stack: Stack | None = None


def write_bundle(uri: str, content: BundleContent) -> Bundle:
    """Write a bundle, whole or not at all. An existing one is refused: versions never change."""
    check_new(uri)
    text = TextDocument.of(content.cleaner.to_dict(), content.text)
    agreement = asdict(content.agreement) if content.agreement else None
    with tempfile.TemporaryDirectory() as folder:
        for name in os.listdir(content.checkpoint_dir):
            source = os.path.join(content.checkpoint_dir, name)
            shutil.copyfile(source, os.path.join(folder, name))
        write_tokenizer(folder)
        write_json(folder, TEXT, text.model_dump())
        write_json(
            folder, PRECISION, {"precision": content.precision, "agreement": agreement}
        )
        write_fitted(folder, content.fitted)
        for name, document in content.documents.items():
            write_text(folder, name, document)
        if content.reference:
            write_reference(folder, content.reference)
        if content.stack:
            write_stack(folder, content.stack)
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
    """Write a new version of a bundle: its files, and what is given instead or beside.

    The bundle stays as it is; the manifest of the new one names it.
    """
    check_new(uri)
    with tempfile.TemporaryDirectory() as folder:
        for name in os.listdir(bundle.folder):
            if name != MANIFEST:
                shutil.copyfile(
                    os.path.join(bundle.folder, name), os.path.join(folder, name)
                )
        if fitted is not None:
            write_fitted(folder, fitted)
        if reference is not None:
            write_reference(folder, reference)
        if subheads is not None:
            write_subheads(folder, subheads)
        for name, text in (documents or {}).items():
            write_text(folder, name, text)
        put_files(
            folder,
            uri,
            derived_from=Origin(version=bundle.version, fingerprint=bundle.fingerprint),
        )
    return load_bundle(uri)


def check_new(uri: str) -> None:
    """Raise BundleError when a bundle is there already, or none can be written there."""
    if is_hub(uri):
        raise BundleError(
            f"{uri}: a new bundle cannot be written to the hub. Set output_uri, and use"
            " `rubert-ood push` afterwards"
        )
    if storage.exists(storage.join(uri, MANIFEST)):
        raise BundleError(f"{uri}: this bundle exists already. Choose another version")


def new_bundle_uri(
    output_uri: str | None,
    version: str,
    *,
    beside: str = "",
) -> str:
    """Return where a new bundle goes: OUTPUT/bundles/VERSION.

    Without OUTPUT beside the bundle that it comes from, whose URI is `beside`.

    OUTPUT may be the folder of bundles itself, by its name. Raises SettingsError for the version
    `champion`, and the name of its pointer.
    """
    if version in (CHAMPION, CHAMPION_FILE):
        raise SettingsError(
            f"version: the name {version} is reserved for the promoted"
            " bundle. Choose another name"
        )
    if output_uri is None:
        return storage.join(beside.rpartition("/")[0], version)
    return storage.join(bundles_folder(output_uri), version)


def bundles_folder(output_uri: str) -> str:
    """Return OUTPUT/bundles; OUTPUT may be that folder itself, by its name."""
    root = storage.absolute(output_uri)
    return root if root.rpartition("/")[2] == BUNDLES else storage.join(root, BUNDLES)


def version_name(given: str | None) -> str:
    """Return the version of a new bundle: the one that was asked for, or the UTC time."""
    return given or datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")


def load_bundle(
    uri: str | os.PathLike[str],
    *,
    fingerprint: str | None = None,
) -> Bundle:
    """Fetch a bundle to this node, once; check every file, and that together they make sense.

    `fingerprint` is that of the bundle that the job began with. The files are hashed in every
    process that loads them (0.5 s for a BERT-base): a folder may have changed since the driver
    looked. Raises BundleError that names the file which is missing, differs or does not make sense.
    """
    uri = storage.absolute(uri)
    manifest = read_manifest(uri)
    if fingerprint is not None and manifest.fingerprint != fingerprint:
        raise BundleError(
            f"{uri}: the bundle changed while the job was running. Start the job again"
        )
    folder = fetch(uri, manifest) if storage.is_remote(uri) else uri
    try:
        check_files(uri, folder, manifest)
    except BundleError:
        if not storage.is_remote(uri):
            raise
        # the copy on this node went bad; the bundle may be whole
        shutil.rmtree(folder, ignore_errors=True)
        folder = fetch(uri, manifest)
    content = BundleReader(
        uri, folder, manifest.files, code_version=manifest.code_version
    ).content()
    return Bundle(
        uri=uri,
        folder=folder,
        version=manifest.version,
        fingerprint=manifest.fingerprint,
        fitted=content.fitted,
        cleaner=content.cleaner,
        text=content.text.settings(),
        precision=content.precision,
        subheads=content.subheads,
        stack=content.stack,
        own_tokenizer=content.tokenizer,
    )


def load_calibration(bundle: Bundle) -> Outputs | None:
    """Read the calibration ads of a bundle, a sample of at most 20,000; None if it has none."""
    files = os.listdir(bundle.folder)
    if REFERENCE not in files:
        return None
    fitted = bundle.fitted
    reader = BundleReader(bundle.uri, bundle.folder, files)
    with reader.reading(REFERENCE):
        return read_calibration(
            bundle.folder, fitted.labels, fitted.statistics.means_CH.shape[1]
        )


def load_reference(bundle: Bundle) -> Reference | None:
    """Read the features that detectors are fitted on; None if the bundle was written without."""
    reader = BundleReader(bundle.uri, bundle.folder, os.listdir(bundle.folder))
    return reader.reference(
        bundle.fitted.labels, bundle.fitted.statistics.means_CH.shape[1]
    )
