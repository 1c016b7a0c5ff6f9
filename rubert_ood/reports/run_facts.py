"""The numbers at the top of the run report."""

from rubert_ood.plain import count_of
from rubert_ood.reports.checks import shown_check
from rubert_ood.reports.drift import Ratio
from rubert_ood.reports.facts import Fact
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.sums import Counts

MINUTE_S, HOUR_S = 60, 3600
MINUTES_FROM_S, HOURS_FROM_S = 600, 36_000


def run_facts(manifest: Manifest, previous: Manifest | None) -> list[Fact]:
    """Return what was read, what became of it, and how fast."""
    return [*_rows(manifest, previous), *_texts(manifest, previous), *_speed(manifest)]


def _rows(manifest: Manifest, previous: Manifest | None) -> list[Fact]:
    counts = manifest.counts
    before = f"before {previous.counts.rows_in:,}" if previous else ""
    empty = f"{counts.rows_empty:,} of them without text"
    return [
        Fact("Ads in", f"{counts.rows_in:,}", before),
        Fact("Scored", f"{counts.rows_scored:,}", empty),
        _rate("Rejected", "rows_rejected", manifest, previous),
        _rate("OOD", "rows_ood", manifest, previous, "max_ood_rate"),
        *_flags(manifest),
        _rate("Other", "rows_other", manifest, previous, "max_other_rate"),
        *_accuracy(manifest),
    ]


def _accuracy(manifest: Manifest) -> list[Fact]:
    """Return the accuracy as it is estimated without labels, or why it is not."""
    estimates = manifest.estimates
    if estimates is None:
        return []
    found = estimates.accuracy
    if found is None:
        return [Fact("Estimated accuracy", "–", estimates.missing)]
    ends = f"{found.low:.1%} to {found.high:.1%}"
    ads = count_of(found.num_calibration, "calibration ad")
    note = f"{ends} with 95% confidence; {found.measured:.1%} on {ads}"
    return [Fact("Estimated accuracy", f"{found.value:.1%}", note)]


def _flags(manifest: Manifest) -> list[Fact]:
    """Return how many of the OOD flags may be false; nothing without flags, or counts of them."""
    flags = manifest.ood_flags
    if flags is None or not flags.num_flagged:
        return []
    kept = f"{flags.sound:,} flags, those of smallest p, hold at {flags.level:.0%}"
    advice = "for fewer, choose the thresholds again with tune"
    value = f"at most {flags.false_share:.0%}"
    return [Fact("False OOD flags", value, f"{kept}; {advice}")]


def _texts(manifest: Manifest, previous: Manifest | None) -> list[Fact]:
    counts = manifest.counts
    scored = counts.rows_scored
    folded = Ratio(scored - counts.unique_texts, scored)
    facts = [Fact("Folded", _share(folded), "same text as another ad, scored once")]
    if manifest.reuse:
        note = (
            f"{count_of(counts.rows_reused, 'ad')} from run {manifest.reuse.run_id}."
            f" {count_of(counts.texts_scored, 'text')} scored,"
            f" {counts.texts_checked:,} of them to check it"
        )
        facts.append(Fact("Reused", _share(Ratio(counts.rows_reused, scored)), note))
    cut = _rate("Cut", "rows_cut", manifest, previous)
    tokens = f"of {counts.tokens:,} before folding"
    return [
        *facts,
        Fact(cut.name, cut.value, f"{cut.note}, too long and read in part"),
        Fact("Tokens", f"{counts.unique_tokens:,}", tokens),
    ]


def _speed(manifest: Manifest) -> list[Fact]:
    facts = []
    if manifest.padding_share is not None:
        note = "of what was computed" if manifest.padding_share else "ads are packed"
        facts.append(Fact("Padding", f"{manifest.padding_share:.1%}", note))
    smaller = "smaller is better"
    idle = f"{manifest.scorer_idle_share:.1%}"
    return [
        *facts,
        Fact("Speed", f"{manifest.rows_per_s:,.0f} ads/s", "start-up included"),
        Fact("Actors idle", idle, "of the time, between two shards", smaller),
        Fact("Time", _time(manifest.elapsed_s), "this start only"),
        *_cost(manifest),
    ]


def _cost(manifest: Manifest) -> list[Fact]:
    cost = manifest.cost
    if cost is None:
        return []
    hours = f"{cost.node_seconds / HOUR_S:,.2f} node-hours"
    note = (
        f"{hours} at {cost.per_node_hour:g} {cost.currency}, compute of this start only"
    )
    return [Fact("Cost", cost.text, note)]


def _rate(
    name: str,
    key: str,
    manifest: Manifest,
    previous: Manifest | None,
    limit: str = "",
) -> Fact:
    """Return a share of this run, beside that of the run before and the limit of the gate."""
    note = count_of(getattr(manifest.counts, key), "ad")
    if previous is not None and _ratio(previous.counts, key).share is not None:
        note += f", before {_share(_ratio(previous.counts, key))}"
    value = _share(_ratio(manifest.counts, key))
    for check in manifest.gate:
        if check.check == limit:
            allowed = f"the gate allows {shown_check(check).limit}"
            return Fact(name, value, note, allowed, check.ok)
    return Fact(name, value, note)


def _ratio(counts: Counts, key: str) -> Ratio:
    total = counts.rows_in if key == "rows_rejected" else counts.rows_scored
    return Ratio(getattr(counts, key), total)


def _share(ratio: Ratio) -> str:
    return "–" if ratio.share is None else f"{ratio.share:.2%}"


def _time(seconds: float) -> str:
    if seconds >= HOURS_FROM_S:
        return f"{seconds / HOUR_S:,.1f} h"
    if seconds >= MINUTES_FROM_S:
        return f"{seconds / MINUTE_S:,.0f} min"
    return f"{seconds:,.0f} s"
