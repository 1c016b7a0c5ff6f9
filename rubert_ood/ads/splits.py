"""Which rows of one labelled table go into which split.

Shapes: N rows, C classes.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from rubert_ood.ads.labels import shown
from rubert_ood.errors import SchemaError
from rubert_ood.settings import SplitSettings

SMALL_CLASSES = " Classes with too few members"
"""Here scikit-learn begins to list all of them."""
SPLITS = ("train", "valid", "test", "calibration")


def stratified_rows(
    codes_N: np.ndarray, labels: Sequence[str], settings: SplitSettings
) -> list[np.ndarray]:
    """Return the rows of train, valid, test, and calibration if asked for: the notebook's split.

    codes_N: the class of each row, by its number among the sorted labels. The order of a split is
    that of scikit-learn. Raises SchemaError when a class is too small for it.
    """
    try:
        return _drawn(codes_N, settings)
    except ValueError as error:
        counts_C = np.bincount(codes_N, minlength=len(labels))
        rarest_C = counts_C == counts_C.min()
        smallest = int(codes_N[rarest_C[codes_N]][0])
        reason = str(error).partition(SMALL_CLASSES)[0].removesuffix(".")
        raise SchemaError(
            f"{len(codes_N):,} ads cannot be split by class: {reason}. The smallest of"
            f" {len(labels):,} classes, {shown(labels[smallest])}, has"
            f" {counts_C[smallest]}: add ads of it, or drop it"
        ) from error


def _drawn(classes_N: np.ndarray, settings: SplitSettings) -> list[np.ndarray]:
    from sklearn.model_selection import train_test_split

    rest = np.arange(len(classes_N))
    held_out = {}
    fractions = {
        "test": settings.test_fraction,
        "calibration": settings.calibration_fraction,
        "valid": settings.valid_fraction,
    }
    for name, fraction in fractions.items():
        if fraction:
            rest, held_out[name] = train_test_split(
                rest,
                test_size=fraction,
                stratify=classes_N[rest],
                random_state=settings.seed,
            )
    rows = {"train": rest, **held_out}
    return [rows[name] for name in SPLITS if name in rows]


def hashed_rows(shares_N: np.ndarray, settings: SplitSettings) -> list[np.ndarray]:
    """Return the rows of the same splits, each row by its own number in [0, 1), in input order."""
    left = 1.0
    bounds = {}
    fractions = {
        "test": settings.test_fraction,
        "calibration": settings.calibration_fraction,
        "valid": settings.valid_fraction,
    }
    for name, fraction in fractions.items():
        upper = left
        left = upper * (1 - fraction)
        bounds[name] = (left, upper)
    bounds["train"] = (0.0, left)
    rows = []
    for name in SPLITS:
        lower, upper = bounds[name]
        if lower < upper:
            rows.append(np.flatnonzero((shares_N >= lower) & (shares_N < upper)))
    return rows


def share_of(name: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on a name, such as an id, and the seed alone."""
    digest = blake2b(f"{seed}:{name}".encode("utf-8", "surrogatepass"), digest_size=8)
    return (int.from_bytes(digest.digest(), "big") >> 11) / 2**53
