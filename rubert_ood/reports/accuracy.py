"""Whether the estimated accuracy of a night fell since the run before."""

from dataclasses import dataclass
from math import sqrt

from scipy.stats import norm

from rubert_ood.reports import good
from rubert_ood.reports.noise import CHANCE
from rubert_ood.runs.manifest import Manifest


@dataclass(frozen=True)
class Fall:
    """The estimates of two runs of one bundle."""

    now: float
    before: float
    noise: float
    """Difference that chance explains."""

    @property
    def is_alarm(self) -> bool:
        """Whether the fall is neither chance nor too small to matter."""
        return self.before - self.now > max(good.ACCURACY_FALL, self.noise)


def accuracy_fall(manifest: Manifest, previous: Manifest) -> Fall | None:
    """Compare the estimates; None unless both runs have one, of the same bundle.

    What the calibration ads say enters both alike, so only the noise of the two nights counts.
    """
    if manifest.bundle.fingerprint != previous.bundle.fingerprint:
        return None
    now = manifest.estimates.accuracy if manifest.estimates else None
    before = previous.estimates.accuracy if previous.estimates else None
    if now is None or before is None:
        return None
    variance = _variance(manifest) + _variance(previous)
    noise = float(norm.isf(CHANCE / 2)) * sqrt(variance)
    return Fall(now=now.value, before=before.value, noise=noise)


def _variance(manifest: Manifest) -> float:
    """Return the variance of the mean confidence; ads of one text tell the same."""
    sums = manifest.night_sums
    if sums is None or not sums.num_ads:
        return 0.0
    mean = sums.confidence_sum / sums.num_ads
    spread = max(sums.confidence_squares / sums.num_ads - mean * mean, 0.0)
    return spread / max(min(manifest.counts.unique_texts, sums.num_ads), 1)
