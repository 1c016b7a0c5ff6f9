"""How a run differs from the last published one, in numbers and plain words; both from their
manifests alone."""

from dataclasses import dataclass

from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.part_counts import CONFIDENCE_BINS
from rubert_ood.runs.shift import class_shift, shift
from rubert_ood.runs.sums import Counts

MOVED_DISTANCE = 0.1
"""Jensen-Shannon distance from which a distribution has moved: ads that are a sixth longer, say.
Two samples of 10,000 ads from one source differ by less than 0.05, of 1,000 ads by up to 0.17."""
MOVED_FACTOR, MOVED_POINTS = 1.5, 0.005
"""A rate has moved when it changed by this factor, and by this much."""
NUM_LABELS = 3
"""Labels that are named with the largest changes of their share."""


@dataclass(frozen=True)
class Rates:
    """The shares that tell how a run went; None without rows to take a share of."""

    ood: float | None
    other: float | None
    rejected: float | None
    cut: float | None
    folded: float | None
    """Ads whose text is that of an earlier one."""
    reused: float | None
    """Ads whose result another run computed."""

    @classmethod
    def of(cls, counts: Counts) -> "Rates":
        """Take them from the counts of a run."""
        scored = counts.rows_scored
        return cls(
            ood=_share(counts.rows_ood, scored),
            other=_share(counts.rows_other, scored),
            rejected=_share(counts.rows_rejected, counts.rows_in),
            cut=_share(counts.rows_cut, scored),
            folded=_share(scored - counts.unique_texts, scored),
            reused=_share(counts.rows_reused, scored),
        )


@dataclass(frozen=True)
class Measure:
    """One measure of two runs, as texts; "" where it is unknown."""

    what: str
    now: str = ""
    before: str = ""
    change: str = ""
    distance: float | None = None
    moved: bool = False


@dataclass(frozen=True)
class Drift:
    """What moved between two runs."""

    rows: list[Measure]
    largest: str
    """The labels whose shares changed most, in points."""
    bundle_before: str
    """Version of the bundle before; "" if it is the same bundle."""

    @property
    def moved(self) -> list[str]:
        """The measures that moved."""
        return [row.what for row in self.rows if row.moved]


def drift(manifest: Manifest, previous: Manifest) -> Drift:
    """Compare two runs, of which the previous one may lack what earlier versions did not count."""
    now, before = Rates.of(manifest.counts), Rates.of(previous.counts)
    labels = class_shift(manifest.classes, previous.classes)
    rows = [
        Measure("label shares", distance=labels, moved=labels > MOVED_DISTANCE),
        _rate("OOD rate", now.ood, before.ood),
        _rate("Other rate", now.other, before.other),
        _confidence(manifest, previous),
        _length(manifest, previous),
        _rate("unseen cities", _unseen_share(manifest), _unseen_share(previous)),
    ]
    is_same = manifest.bundle.fingerprint == previous.bundle.fingerprint
    return Drift(
        rows=[row for row in rows if row.now or row.distance is not None],
        largest=_largest_moves(manifest, previous),
        bundle_before="" if is_same else previous.bundle.version or "?",
    )


def label_shares(manifest: Manifest) -> dict[str, float]:
    """Return the share of the ads that each label has."""
    total = max(sum(manifest.classes.values()), 1)
    return {label: count / total for label, count in manifest.classes.items()}


def _largest_moves(manifest: Manifest, previous: Manifest) -> str:
    now, before = label_shares(manifest), label_shares(previous)
    labels = sorted({*now, *before})
    changes = {label: now.get(label, 0.0) - before.get(label, 0.0) for label in labels}
    largest = sorted(changes, key=lambda label: -abs(changes[label]))[:NUM_LABELS]
    return ", ".join(
        f"{label} {_points(changes[label])}" for label in largest if changes[label]
    )


def _confidence(manifest: Manifest, previous: Manifest) -> Measure:
    distance = _distance(manifest.confidence_histogram, previous.confidence_histogram)
    now, before = _sure_share(manifest), _sure_share(previous)
    rate = _rate(f"confidence of {1 - 1 / CONFIDENCE_BINS:g} or more", now, before)
    return Measure(
        what=rate.what,
        now=rate.now,
        before=rate.before,
        change=rate.change,
        distance=distance,
        moved=_is_far(distance),
    )


def _length(manifest: Manifest, previous: Manifest) -> Measure:
    now, before = _tokens_per_ad(manifest.counts), _tokens_per_ad(previous.counts)
    distance = _distance(manifest.token_histogram, previous.token_histogram)
    return Measure(
        what="tokens per ad",
        now=_text(now, "{:.1f}"),
        before=_text(before, "{:.1f}"),
        change="" if now is None or not before else f"{now / before - 1:+.1%}",
        distance=distance,
        moved=_is_far(distance),
    )


def _distance(now: list[int] | None, before: list[int] | None) -> float | None:
    return shift(now, before) if now and before and len(now) == len(before) else None


def _is_far(distance: float | None) -> bool:
    return distance is not None and distance > MOVED_DISTANCE


def _sure_share(manifest: Manifest) -> float | None:
    histogram = manifest.confidence_histogram or [0]
    return _share(histogram[-1], sum(histogram))


def _tokens_per_ad(counts: Counts) -> float | None:
    """Empty ads have no tokens and do not count."""
    return _share(counts.tokens, counts.rows_scored - counts.rows_empty)


def _unseen_share(manifest: Manifest) -> float | None:
    cities = manifest.cities
    return None if cities is None else _share(cities.rows_unseen, cities.rows)


def _rate(what: str, now: float | None, before: float | None) -> Measure:
    texts = _text(now, "{:.2%}"), _text(before, "{:.2%}")
    if now is None or before is None:
        return Measure(what, *texts)
    low, high = sorted((now, before))
    moved = high - low > MOVED_POINTS and high > MOVED_FACTOR * low
    return Measure(what, *texts, change=_points(now - before), moved=moved)


def _text(value: float | None, pattern: str) -> str:
    return "" if value is None else pattern.format(value)


def _points(change: float) -> str:
    return f"{100 * change:+.2f}"


def _share(count: int, total: int) -> float | None:
    return count / total if total else None
