"""The sample that detectors are fitted on, as a bundle keeps it.

Shapes: C classes, H hidden.
"""

from dataclasses import astuple

from rubert_ood.bundle.arrays import (
    Layout,
    check_layouts,
    layouts,
    read_arrays,
    read_named,
)
from rubert_ood.bundle.files import write_arrays
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference

REFERENCE = "reference.safetensors"
SPLITS = ("train", "calibration")
KINDS = ("logits", "cls", "labels")
"""Arrays of `Outputs`, in its order."""


def reference_layout(num_classes: int, hidden: int) -> dict[str, Layout]:
    """Return what the arrays of the file must be, by name."""
    expected = {}
    for split in SPLITS:
        expected[f"{split}_logits"] = Layout("F32", (None, num_classes))
        expected[f"{split}_cls"] = Layout("F32", (None, hidden))
        expected[f"{split}_labels"] = Layout("I64", (None,))
    return expected


def read_reference(folder: str, labels: list[str], hidden: int) -> Reference:
    """Read the file. Raises ValueError when its arrays do not fit each other or the classes."""
    arrays = read_arrays(folder, REFERENCE, reference_layout(len(labels), hidden))
    found = []
    for split in SPLITS:
        outputs = Outputs(*[arrays[f"{split}_{kind}"] for kind in KINDS])
        _check(split, outputs, len(labels))
        found.append(outputs)
    return Reference(*found)


def _check(split: str, outputs: Outputs, num_classes: int) -> None:
    lengths = {len(outputs.logits_NC), len(outputs.cls_NH), len(outputs.labels_N)}
    if len(lengths) > 1 or lengths == {0}:
        raise ValueError(
            f"the arrays of the {split} split have different numbers of rows, or none"
        )
    if outputs.labels_N.min() < -1 or outputs.labels_N.max() >= num_classes:
        raise ValueError(
            f"the labels of the {split} split do not fit {num_classes} classes"
        )


def read_calibration(folder: str, labels: list[str], hidden: int) -> Outputs:
    """Read the calibration ads alone. Raises ValueError as `read_reference` does."""
    expected = reference_layout(len(labels), hidden)
    check_layouts(layouts(folder, REFERENCE), expected)
    arrays = read_named(folder, REFERENCE, [f"calibration_{kind}" for kind in KINDS])
    outputs = Outputs(*arrays.values())
    _check("calibration", outputs, len(labels))
    return outputs


def write_reference(folder: str, reference: Reference) -> None:
    """Put the sample of both splits into one safetensors file."""
    arrays = {}
    for split in SPLITS:
        outputs = astuple(getattr(reference, split))
        for kind, array in zip(KINDS, outputs, strict=True):
            arrays[f"{split}_{kind}"] = array
    write_arrays(folder, REFERENCE, arrays)
