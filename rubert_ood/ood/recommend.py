"""Which detector to decide with, by what the comparison measured.

The one whose AUROC lies least below the best of each kind of OOD text, at its worst kind: a mean
over kinds would let an easy kind hide one that is missed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rubert_ood.ood.detectors import TITLES
from rubert_ood.settings import DetectorName

WORTH = 0.005
"""Less AUROC than this is not worth another detector."""


@dataclass(frozen=True)
class Recommendation:
    """The detector to decide with, and how far it and the present one lie behind."""

    detector: DetectorName
    behind: float
    """AUROC below the best detector of a kind, at most over the kinds."""
    behind_now: float
    """The same of the detector that decides now."""
    worst_kind_now: str
    """Where that one is so far behind."""


def recommend(
    aurocs: Mapping[str, Mapping[str, float]], now: DetectorName
) -> Recommendation | None:
    """Return the best of the detectors, given AUROC by title and kind; None without any kind.

    The present one stays unless another is better by WORTH.
    """
    kinds = aurocs[TITLES[now]]
    if not kinds:
        return None
    best = {kind: max(found[kind] for found in aurocs.values()) for kind in kinds}
    behind: dict[DetectorName, float] = {}
    for name, title in TITLES.items():
        if title in aurocs:
            behind[name] = max(best[kind] - aurocs[title][kind] for kind in kinds)
    least = min(behind, key=lambda name: behind[name])
    if behind[least] > behind[now] - WORTH:
        least = now
    worst = max(kinds, key=lambda kind: best[kind] - kinds[kind])
    return Recommendation(least, behind[least], behind[now], worst)
