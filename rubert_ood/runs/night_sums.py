"""What receipts count for the checks without labels: sums of bounded size that add up."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from rubert_ood.ood.flags import false_share, sound_flags
from rubert_ood.runs.record import Count, Record

CONFIDENCE_LIMITS = (
    *(0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9),
    *(0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0),
)
"""Upper ends of the bins of confidence, finer where most ads stand; an end is in its bin."""
P_LIMITS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
"""The same of the conformal p-value, finer where ads are far."""

LEVEL = 0.1
"""False discovery rate at which flags are called sound."""


class NightSums(Record):
    """Confidence and conformal p-value of the ads with text."""

    confidence: list[Count] = Field(
        min_length=len(CONFIDENCE_LIMITS), max_length=len(CONFIDENCE_LIMITS)
    )
    p: list[Count] = Field(min_length=len(P_LIMITS), max_length=len(P_LIMITS))
    p_flagged: list[Count] = Field(min_length=len(P_LIMITS), max_length=len(P_LIMITS))
    """Of the ads that are flagged OOD."""
    p_last: float = 0.0
    """Largest p of a flagged ad."""
    confidence_sum: float
    confidence_squares: float

    @property
    def num_ads(self) -> int:
        """Ads with text."""
        return sum(self.confidence)


def night_sums(part: pa.Table) -> NightSums:
    """Add up what a part says of its ads."""
    part = part.filter(pc.is_valid(part["confidence"]))  # an ad without text has none
    confidence_N = part["confidence"].to_numpy().astype(np.float64)
    p_N = part["ood_p"].to_numpy()
    is_ood_N = part["is_ood"].to_numpy()
    return NightSums(
        confidence=binned(confidence_N, CONFIDENCE_LIMITS).tolist(),
        p=binned(p_N, P_LIMITS).tolist(),
        p_flagged=binned(p_N[is_ood_N], P_LIMITS).tolist(),
        p_last=float(p_N[is_ood_N].max(initial=0.0)),
        confidence_sum=float(confidence_N.sum()),
        confidence_squares=float((confidence_N**2).sum()),
    )


def binned(values_N: NDArray[np.float64], limits: tuple[float, ...]) -> NDArray[np.int64]:
    """Count values by their bin; one beyond the last limit counts in the last bin."""
    bins_N = np.searchsorted(limits[:-1], values_N, side="left")
    return np.bincount(bins_N, minlength=len(limits))


def add_sums(older: NightSums | None, added: NightSums) -> NightSums:
    """Add two shards up."""
    if older is None:
        return added
    sums = {
        name: np.add(getattr(older, name), getattr(added, name)).tolist()
        for name in NightSums.model_fields
    }
    return NightSums(**{**sums, "p_last": max(older.p_last, added.p_last)})


class OodFlags(Record):
    """How many of the ads that are flagged OOD may be in-domain ads."""

    num_flagged: Count
    false_share: float
    """At most this share of them, as estimated (false discovery rate)."""
    sound: Count
    """So many, those with the smallest p, hold with at most `level` of in-domain ads."""
    level: float


def ood_flags(sums: NightSums) -> OodFlags:
    """Estimate the false discovery rate of the flags of a night."""
    flagged_E = np.cumsum(sums.p_flagged)
    num_flagged = int(flagged_E[-1])
    return OodFlags(
        num_flagged=num_flagged,
        false_share=false_share(sums.num_ads, num_flagged, sums.p_last),
        sound=sound_flags(sums.num_ads, flagged_E, np.array(P_LIMITS), LEVEL),
        level=LEVEL,
    )
