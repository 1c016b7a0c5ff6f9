"""The arrays of a bundle: names, dtypes and shapes are looked at before a number is read."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from safetensors import safe_open


@dataclass(frozen=True)
class Layout:
    """What an array is: its dtype as safetensors spells it, and its shape."""

    dtype: str
    shape: tuple[int | None, ...]
    """None where any length will do."""

    def __str__(self) -> str:
        sizes = ["any" if size is None else str(size) for size in self.shape]
        return f"{self.dtype} ({', '.join(sizes)})"

    def fits(self, other: "Layout") -> bool:
        """Say whether an array laid out like `other` may stand here; None takes any size."""
        pairs = zip(self.shape, other.shape, strict=False)
        same = all(wanted in (None, found) for wanted, found in pairs)
        return self.dtype == other.dtype and len(self.shape) == len(other.shape) and same


def layouts(folder: str, name: str) -> dict[str, Layout]:
    """Read the header of a safetensors file. Raises SafetensorError or OSError if it is damaged."""
    with safe_open(os.path.join(folder, name), "np") as file:
        names = file.keys()
        slices = {name: file.get_slice(name) for name in names}
        return {
            name: Layout(part.get_dtype(), tuple(part.get_shape()))
            for name, part in slices.items()
        }


def check_layouts(found: Mapping[str, Layout], expected: Mapping[str, Layout]) -> None:
    """Raise ValueError that names the first array which is missing, unknown or otherwise."""
    for key in sorted(expected.keys() - found.keys()):
        raise ValueError(
            f"it lacks the array {key!r}"
            f" ({len(expected.keys() - found.keys()):,} missing in all)"
        )
    for key in sorted(found.keys() - expected.keys()):
        raise ValueError(
            f"it has an unknown array {key!r}"
            f" ({len(found.keys() - expected.keys()):,} unknown in all)"
        )
    for key, wanted in expected.items():
        if not wanted.fits(found[key]):
            raise ValueError(
                f"the array {key} is {found[key]}, where {wanted} is expected"
            )


def read_arrays(
    folder: str, name: str, expected: Mapping[str, Layout]
) -> dict[str, np.ndarray]:
    """Read the arrays. Raises ValueError unless they are as expected and every number is finite."""
    check_layouts(layouts(folder, name), expected)
    return read_named(folder, name, expected)


def read_named(folder: str, name: str, keys: Iterable[str]) -> dict[str, np.ndarray]:
    """Read some arrays of a file. Raises ValueError unless every number is finite."""
    with safe_open(os.path.join(folder, name), "np") as file:
        arrays = {key: file.get_tensor(key) for key in keys}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"the array {key} holds NaN or infinite numbers")
    return arrays
