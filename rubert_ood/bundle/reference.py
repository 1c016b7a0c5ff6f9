"""The sample that detectors are fitted on, as a bundle keeps it.

Shapes: C classes, H hidden.
"""

from collections.abc import Collection, Mapping

import numpy as np

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


def reference_layout(
    found: Collection[str], num_classes: int, hidden: int
) -> dict[str, Layout]:
    """Return what the arrays of a file must be, by name, if it has these names.

    A bundle of version 0.3 or older has no token means.
    """
    expected = {}
    for split in SPLITS:
        expected[f"{split}_logits"] = Layout("F32", (None, num_classes))
        expected[f"{split}_cls"] = Layout("F32", (None, hidden))
        expected[f"{split}_labels"] = Layout("I64", (None,))
        if f"{split}_tokens" in found:
            expected[f"{split}_tokens"] = Layout("F32", (None, hidden))
    return expected


def read_reference(folder: str, labels: list[str], hidden: int) -> Reference:
    """Read the file. Raises ValueError when its arrays do not fit each other or the classes."""
    expected = reference_layout(layouts(folder, REFERENCE), len(labels), hidden)
    arrays = read_arrays(folder, REFERENCE, expected)
    return Reference(*(_split(name, arrays, len(labels)) for name in SPLITS))


def _split(split: str, arrays: Mapping[str, np.ndarray], num_classes: int) -> Outputs:
    """Return one split; its arrays must fit each other and the classes."""
    own = {}
    for name, array in arrays.items():
        if name.startswith(f"{split}_"):
            own[name.removeprefix(f"{split}_")] = array
    lengths = {len(array) for array in own.values()}
    if len(lengths) > 1 or lengths == {0}:
        raise ValueError(
            f"the arrays of the {split} split have different numbers of rows, or none"
        )
    if own["labels"].min() < -1 or own["labels"].max() >= num_classes:
        raise ValueError(
            f"the labels of the {split} split do not fit {num_classes} classes"
        )
    return Outputs.of(own)


def read_calibration(folder: str, labels: list[str], hidden: int) -> Outputs:
    """Read the calibration ads alone. Raises ValueError as `read_reference` does."""
    found = layouts(folder, REFERENCE)
    check_layouts(found, reference_layout(found, len(labels), hidden))
    names = [name for name in found if name.startswith("calibration_")]
    return _split("calibration", read_named(folder, REFERENCE, names), len(labels))


def write_reference(folder: str, reference: Reference) -> None:
    """Put the sample of both splits into one safetensors file."""
    arrays = {}
    for split in SPLITS:
        for name, array in getattr(reference, split).arrays().items():
            arrays[f"{split}_{name}"] = array
    write_arrays(folder, REFERENCE, arrays)
