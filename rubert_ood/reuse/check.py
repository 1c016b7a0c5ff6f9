"""Whether results of an earlier run are those that the model gives now.

Shapes: T texts, k best classes, H hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rubert_ood.settings import Precision

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tolerance:
    """How far two results of one text may lie apart."""

    score: float
    """Of a probability."""
    distance: float
    """Relative, of d2."""
    vector: float
    """Relative, of the length of an embedding; it is kept in float16."""


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(1e-5, 1e-4, 2e-3),
    "bf16": Tolerance(0.03, 0.03, 0.03),
    "int8": Tolerance(0.1, 0.1, 0.1),
}
"""Batches of other texts change the last bits: in bf16 those of three digits, and in int8 a row is
rounded by the largest value of its batch."""

P_SLOPE = 30
"""Share by which a p-value moves, over the share by which its score does: a score has a tail of a
tenth of itself or so, and its p-value falls to a twentieth there."""


@dataclass(frozen=True)
class Turns:
    """Where a decision turns: beside them it may be another one, within the tolerance."""

    confidences: Sequence[float]
    d2_limits: Floats
    """One, or one of each class; none where another detector than Mahalanobis decides."""
    p_limits: Floats
    """Of ood_p, where such a detector decides: one, or one of each class."""
    p_step: float
    """The smallest difference of two p-values: one calibration ad."""


@dataclass(frozen=True)
class Compared:
    """How many texts were compared, and how many of them differ."""

    num_texts: int
    num_different: int = 0
    reason: str = ""
    """The first column that differs, without the text."""


def compare(
    now: pa.Table, noted: pa.Table, precision: Precision, turns: Turns
) -> Compared:
    """Compare what an index notes of some texts with what is computed now, which holds them all."""
    rows = pc.index_in(noted["text_key"], value_set=now["text_key"].combine_chunks())
    found = rows.drop_null()
    if len(found) < noted.num_rows:  # nothing to read in a text that had scores
        missing = noted.num_rows - len(found)
        return Compared(noted.num_rows, missing, "some texts have no result now")
    if ("sub_label" in now.schema.names) != ("sub_label" in noted.schema.names):
        return Compared(
            noted.num_rows, noted.num_rows, "only one of the two has sub_label"
        )
    texts = _Pair(now.take(rows), noted, TOLERANCES[precision])
    wrong = texts.wrong(turns)
    if not wrong:
        return Compared(noted.num_rows)
    num_different = int(np.logical_or.reduce(list(wrong.values())).sum())
    return Compared(noted.num_rows, num_different, f"{', '.join(wrong)} differ")


class _Pair:
    """The same texts, in the same order, as they are now and as they were noted."""

    def __init__(self, now: pa.Table, noted: pa.Table, tolerance: Tolerance) -> None:
        self._now, self._noted, self._tolerance = now, noted, tolerance

    def wrong(self, turns: Turns) -> dict[str, Mask]:
        """Return by column the texts, bool (T,), that differ there."""
        limit = self._tolerance
        near_T = self._is_near(turns)
        label_T, sub_T = self._unlike("label"), np.zeros(self._now.num_rows, bool)
        masks = {
            "label": label_T & ~near_T,
            "is_ood": self._unlike("is_ood") & ~near_T,
            "confidence": self._apart("confidence") > limit.score,
            "topk_scores": self._apart("topk_scores").max(1, initial=0) > limit.score,
            "topk_labels": (self._unlike("topk_labels") & ~self._is_tied()).any(1),
            "ood_distance": self._relative("ood_distance") > limit.distance,
        }
        for name in ("num_tokens", "num_chunks", "is_cut"):
            masks[name] = self._unlike(name)
        if "sub_label" in self._noted.schema.names:
            sure_T = np.nan_to_num(self._values("sub_confidence")[1]) > 0.5 + limit.score
            sub_T = self._unlike("sub_label")
            apart_T = self._apart("sub_confidence") > limit.score
            masks["sub_label"] = sub_T & sure_T & ~label_T
            masks["sub_confidence"] = apart_T & ~sub_T
        if "embedding" in self._now.schema.names:
            masks["embedding"] = self._turned() > limit.vector
        return {name: mask_T for name, mask_T in masks.items() if mask_T.any()}

    def _is_near(self, turns: Turns) -> Mask:
        """Say of which texts rounding may turn the decision: bool (T,)."""
        limit = self._tolerance
        confidence_T = self._values("confidence")[1]
        near_T = np.zeros(self._now.num_rows, bool)
        d2_T = self._values("ood_distance")[1]
        for turn in turns.d2_limits:
            near_T |= np.abs(d2_T / turn - 1) <= limit.distance
        for turn in turns.p_limits:
            apart_T = np.abs(self._values("ood_p")[1] - turn)
            moves = P_SLOPE * limit.distance * turn
            near_T |= apart_T <= moves + 2 * turns.p_step
        for turn in turns.confidences:
            near_T |= np.abs(confidence_T - turn) <= limit.score
        return near_T | self._is_tied()[:, 0]

    def _is_tied(self) -> Mask:
        """Say which of the best classes may change places with another: bool (T, k).

        The last one may with one that is not among them, where so much is left for that.
        """
        scores_Tk = self._values("topk_scores")[1]
        closest = 2 * self._tolerance.score
        rest_T = 1 - scores_Tk.sum(axis=1)
        close_Tk = np.zeros(scores_Tk.shape, bool)
        close_Tk[:, -1] = scores_Tk[:, -1] - rest_T <= closest
        gaps_Tk = -np.diff(scores_Tk, axis=1) <= closest
        close_Tk[:, :-1] |= gaps_Tk
        close_Tk[:, 1:] |= gaps_Tk
        return close_Tk

    def _values(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return _array(self._now, name), _array(self._noted, name)

    def _unlike(self, name: str) -> Mask:
        now, noted = self._values(name)
        return np.asarray(now != noted, bool)

    def _apart(self, name: str) -> np.ndarray:
        now, noted = self._values(name)
        both_nan = np.isnan(now) & np.isnan(noted)
        apart = np.abs(now.astype(float) - noted)
        return np.where(both_nan, 0, np.nan_to_num(apart, nan=np.inf))

    def _relative(self, name: str) -> np.ndarray:
        now, _ = self._values(name)
        return self._apart(name) / np.maximum(np.abs(now), 1e-9)

    def _turned(self) -> np.ndarray:
        now_TH, noted_TH = self._values("embedding")
        now_TH, noted_TH = now_TH.astype(float), noted_TH.astype(float)
        length_T = np.maximum(np.linalg.norm(now_TH, axis=1), 1e-9)
        return np.linalg.norm(now_TH - noted_TH, axis=1) / length_T


def _array(table: pa.Table, name: str) -> np.ndarray:
    """Return a column as numpy has it: (T,), (T, k) or (T, H)."""
    column = table[name].combine_chunks()
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)
