"""How the first night of a bundle differs from the calibration ads that the bundle carries."""

import numpy as np
from numpy.typing import NDArray

from rubert_ood.ood.two_samples import histogram_test, holm
from rubert_ood.reports import good
from rubert_ood.reports.drift import Measure
from rubert_ood.reports.noise import CHANCE
from rubert_ood.reports.two_nights import text_counts
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.night_sums import CONFIDENCE_LIMITS, P_LIMITS

SURE = 0.95
"""Confidence from which bins are one: ads that fitted T, or chose the checkpoint, are surer than
others by tenths of a percent."""
LOW_CONFIDENCE, LOW_P = 0.9, 0.05
"""What the shown shares are of."""


def first_night(manifest: Manifest, previous: Manifest | None) -> list[Measure]:
    """Compare with calibration ads; nothing unless the bundle is another one than before."""
    if previous and previous.bundle.fingerprint == manifest.bundle.fingerprint:
        return []
    now, estimates = manifest.night_sums, manifest.estimates
    before = estimates.calibration if estimates else None
    if now is None or before is None or not now.num_ads:
        return []
    first_sure = CONFIDENCE_LIMITS.index(SURE) + 1
    measures = [
        _Measured(
            f"confidence of at most {LOW_CONFIDENCE:g}",
            _merged(text_counts(now.confidence, manifest), first_sure),
            _merged(np.array(before.confidence), first_sure),
            CONFIDENCE_LIMITS.index(LOW_CONFIDENCE) + 1,
        ),
        _Measured(
            f"ood_p of at most {LOW_P:g}",
            text_counts(now.p, manifest),
            np.array(before.p),
            P_LIMITS.index(LOW_P) + 1,
        ),
    ]
    tests = [histogram_test(one.now_B, one.before_B) for one in measures]
    adjusted = holm([test.p for test in tests])
    return [
        one.measure(test.difference, p)
        for one, test, p in zip(measures, tests, adjusted, strict=True)
    ]


class _Measured:
    """Two histograms, and the first bins whose share is shown."""

    def __init__(
        self, what: str, now_B: NDArray[np.int64], before_B: NDArray[np.int64], shown: int
    ) -> None:
        self.what = what
        self.now_B, self.before_B = now_B, before_B
        self._shown = shown

    def measure(self, difference: float, p: float) -> Measure:
        """Put what a test found into words."""
        floor = good.FIRST_NIGHT_POINTS
        return Measure(
            self.what,
            now=self._share(self.now_B),
            before=self._share(self.before_B),
            change=f"p {p:.2g}",
            distance=difference,
            moved=p <= CHANCE and difference >= floor,
            steady=f"less than {100 * floor:g} points, or p above {CHANCE:g}",
        )

    def _share(self, bins_B: NDArray[np.int64]) -> str:
        return f"{bins_B[: self._shown].sum() / max(bins_B.sum(), 1):.2%}"


def _merged(bins_B: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """Make one bin of the last ones."""
    return np.append(bins_B[:first], bins_B[first:].sum())
