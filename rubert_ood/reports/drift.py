"""How a run differs from the last published one, in numbers and plain words; both from their
manifests alone."""

from dataclasses import dataclass, replace

from rubert_ood.reports import good
from rubert_ood.reports.noise import CHANCE, distance_noise, rate_noise
from rubert_ood.reports.two_nights import moves
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.part_counts import CONFIDENCE_BINS
from rubert_ood.runs.shift import class_shift, shift
from rubert_ood.runs.sums import Counts

NUM_LABELS = 3
"""Labels that are named with the largest changes of their share."""


@dataclass(frozen=True)
class Ratio:
    """A count, and what it is a share of."""

    count: int
    total: int

    @property
    def share(self) -> float | None:
        """None without anything to take a share of."""
        return self.count / self.total if self.total else None


@dataclass(frozen=True)
class Measure:
    """One measure of two runs, as texts; "" where it is unknown."""

    what: str
    now: str = ""
    before: str = ""
    change: str = ""
    distance: float | None = None
    moved: bool = False
    steady: str = ""
    """How far it usually goes."""

    @property
    def numbers(self) -> str:
        """What is compared, in words."""
        parts = [f"{self.now} against {self.before}"] if self.now and self.before else []
        if self.distance is not None:
            parts.append(f"at a distance of {self.distance:.3f}")
        return " ".join(parts)


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
    now, before = manifest.counts, previous.counts
    rows = [
        _labels(manifest, previous),
        _rate(
            "OOD rate", _of_scored(now.rows_ood, now), _of_scored(before.rows_ood, before)
        ),
        _rate(
            "Other rate",
            _of_scored(now.rows_other, now),
            _of_scored(before.rows_other, before),
        ),
        _confidence(manifest, previous),
        _length(manifest, previous),
        _rate("unseen cities", _unseen(manifest), _unseen(previous)),
        _rate("rejected rows", _rejected(now), _rejected(before)),
        *_tested(manifest, previous),
    ]
    is_same = manifest.bundle.fingerprint == previous.bundle.fingerprint
    return Drift(
        rows=[row for row in rows if row.now or row.distance is not None],
        largest=_largest_moves(manifest, previous),
        bundle_before="" if is_same else previous.bundle.version or "?",
    )


def _tested(manifest: Manifest, previous: Manifest) -> list[Measure]:
    steady = f"less than {100 * good.MOVED_POINTS:g} points, or p above {CHANCE:g}"
    return [
        Measure(
            move.what,
            change=f"p {move.p:.2g}",
            distance=move.difference,
            moved=move.moved,
            steady=steady,
        )
        for move in moves(manifest, previous)
    ]


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


def _labels(manifest: Manifest, previous: Manifest) -> Measure:
    now, before = manifest.classes, previous.classes
    distance = class_shift(now, before)
    limit = _limit(len({*now, *before}), sum(now.values()), sum(before.values()))
    return Measure(
        "label shares",
        distance=distance,
        moved=distance > limit,
        steady=_at_most(limit),
    )


def _confidence(manifest: Manifest, previous: Manifest) -> Measure:
    now, before = manifest.confidence_histogram, previous.confidence_histogram
    name = f"confidence of {1 - 1 / CONFIDENCE_BINS:g} or more"
    rate = _rate(name, _last_bin(now), _last_bin(before))
    return _with_distance(rate, now, before)


def _length(manifest: Manifest, previous: Manifest) -> Measure:
    now, before = _tokens_per_ad(manifest.counts), _tokens_per_ad(previous.counts)
    means = Measure(
        what="tokens per ad",
        now=_text(now, "{:.1f}"),
        before=_text(before, "{:.1f}"),
        change="" if now is None or not before else f"{now / before - 1:+.1%}",
    )
    return _with_distance(means, manifest.token_histogram, previous.token_histogram)


def _with_distance(
    measure: Measure, now: list[int] | None, before: list[int] | None
) -> Measure:
    """Judge a measure by the distance of its histograms, where both runs have the same bins."""
    if not now or not before or len(now) != len(before):
        return replace(measure, moved=False, steady="")
    distance = shift(now, before)
    num_bins = sum(map(any, zip(now, before, strict=True)))
    limit = _limit(num_bins, sum(now), sum(before))
    return replace(
        measure, distance=distance, moved=distance > limit, steady=_at_most(limit)
    )


def _limit(num_bins: int, num_now: int, num_before: int) -> float:
    """Return the distance from which a distribution has moved."""
    if not num_now or not num_before:
        return good.MOVED_DISTANCE
    return max(good.MOVED_DISTANCE, distance_noise(num_bins, num_now, num_before))


def _at_most(limit: float) -> str:
    return f"a distance of at most {limit:.3f}"


def _rate(what: str, now: Ratio, before: Ratio) -> Measure:
    texts = _text(now.share, "{:.2%}"), _text(before.share, "{:.2%}")
    if now.share is None or before.share is None:
        return Measure(what, *texts)
    together = (now.count + before.count) / (now.total + before.total)
    noise = rate_noise(together, now.total, before.total)
    limit = max(good.MOVED_POINTS, noise)
    low, high = sorted((now.share, before.share))
    return Measure(
        what,
        *texts,
        change=f"{_points(now.share - before.share)} points",
        moved=high - low > limit and high > good.MOVED_FACTOR * low,
        steady=f"at most {100 * limit:.2f} points or {good.MOVED_FACTOR:g} times",
    )


def _of_scored(count: int, counts: Counts) -> Ratio:
    return Ratio(count, counts.rows_scored)


def _rejected(counts: Counts) -> Ratio:
    return Ratio(counts.rows_rejected, counts.rows_in)


def _last_bin(histogram: list[int] | None) -> Ratio:
    return Ratio(histogram[-1], sum(histogram)) if histogram else Ratio(0, 0)


def _unseen(manifest: Manifest) -> Ratio:
    cities = manifest.cities
    return Ratio(0, 0) if cities is None else Ratio(cities.rows_unseen, cities.rows)


def _tokens_per_ad(counts: Counts) -> float | None:
    """Empty ads have no tokens and do not count."""
    return Ratio(counts.tokens, counts.rows_scored - counts.rows_empty).share


def _text(value: float | None, pattern: str) -> str:
    return "" if value is None else pattern.format(value)


def _points(change: float) -> str:
    return f"{100 * change:+.2f}"
