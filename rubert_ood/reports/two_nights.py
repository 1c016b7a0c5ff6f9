"""Whether confidence and conformal p of a night differ from the run before by more than chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubert_ood.ood.two_samples import histogram_test, holm
from rubert_ood.reports import good
from rubert_ood.reports.noise import CHANCE
from rubert_ood.runs.manifest import Manifest


@dataclass(frozen=True)
class Move:
    """What a test found."""

    what: str
    difference: float
    """Largest change of a share of the ads."""
    p: float
    """Corrected for the number of tests (Holm)."""

    @property
    def moved(self) -> bool:
        """Whether it is neither chance nor too small to matter."""
        return self.p <= CHANCE and self.difference >= good.MOVED_POINTS


def moves(manifest: Manifest, previous: Manifest) -> list[Move]:
    """Test both histograms; nothing where one of the runs has none.

    Ads of one text are no news of their own: they count as the different texts that they are.
    """
    now, before = manifest.night_sums, previous.night_sums
    if now is None or before is None or not now.num_ads or not before.num_ads:
        return []
    found = {}
    for what, name in (("confidence, tested", "confidence"), ("ood_p, tested", "p")):
        now_B = text_counts(getattr(now, name), manifest)
        found[what] = histogram_test(now_B, text_counts(getattr(before, name), previous))
    adjusted = holm([test.p for test in found.values()])
    return [
        Move(what, test.difference, p)
        for (what, test), p in zip(found.items(), adjusted, strict=True)
    ]


def text_counts(ads_B: list[int], manifest: Manifest) -> NDArray[np.int64]:
    """Return how many different texts the counted ads of a run are, about."""
    counts = manifest.counts
    share = min(1.0, counts.unique_texts / max(counts.rows_scored, 1))
    return np.rint(np.array(ads_B) * (share or 1.0)).astype(np.int64)
