"""What is looked at to tell an ordinary night, one check after the other."""

from collections.abc import Iterator
from dataclasses import dataclass

from rubert_ood.plain import count_of
from rubert_ood.reports import good
from rubert_ood.reports.accuracy import accuracy_fall
from rubert_ood.reports.checks import shown_check
from rubert_ood.reports.drift import Drift, Ratio
from rubert_ood.reports.first_night import first_night
from rubert_ood.reports.mend import GATE, NIGHT, UNKNOWN, Mend, accept_fewer
from rubert_ood.runs.manifest import Manifest

LONG_ENOUGH_S = 60
"""Speeds of shorter runs are those of their start."""
ALIKE_REUSE = 0.1
"""Runs that reuse about as many results have speeds that can be compared."""


@dataclass(frozen=True)
class NightCheck:
    """One thing that was looked at."""

    ok: bool
    brief: str
    """A few words for the first sentence."""
    text: str
    """A sentence for the list."""
    section: str
    """Id of the section of the page that shows more."""
    mend: Mend
    """What to do about it."""


def night_checks(
    manifest: Manifest, previous: Manifest | None, drift: Drift | None
) -> list[NightCheck]:
    """Return the checks that apply, the most urgent first."""
    checks = [*_gate(manifest), *_quarantine(manifest), *_input(manifest)]
    checks += _reuse(manifest)
    checks += _first_night(manifest, previous)
    if previous is None:
        checks.append(_rejected(manifest))
        return checks
    checks.append(_number_of_ads(manifest, previous))
    checks += _drift(drift)
    checks += _accuracy(manifest, previous)
    checks += _speed(manifest, previous)
    return checks


def _gate(manifest: Manifest) -> Iterator[NightCheck]:
    for check in manifest.gate:
        shown = shown_check(check)
        brief = f"the {shown.what}, {shown.value} with {shown.limit} allowed"
        mend = GATE.get(check.check, UNKNOWN)
        if check.check == "min_rows_ratio":
            mend = accept_fewer(check.value)
        yield NightCheck(check.ok, brief, shown.sentence, "gate", mend)


def _quarantine(manifest: Manifest) -> Iterator[NightCheck]:
    files, shards = manifest.quarantined, manifest.quarantined_shards
    number = count_of(len(files), "quarantined file")
    text = f"The run lacks the ads of {number}."
    yield NightCheck(not files, number, text, "quarantined-files", NIGHT["quarantined"])
    number = count_of(len(shards), "quarantined shard")
    ads = count_of(manifest.counts.rows_quarantined, "ad")
    text = f"The run lacks {ads} of {number}."
    yield NightCheck(not shards, number, text, "quarantined-shards", NIGHT["shards"])


def _input(manifest: Manifest) -> Iterator[NightCheck]:
    if manifest.duplicates is not None:
        found = manifest.duplicates
        ids, rows = count_of(found.ids, "duplicate id"), count_of(found.rows, "row")
        text = f"The input has {ids}, which is {rows} too many. All of them are scored."
        yield NightCheck(not found.rows, ids, text, "duplicate-ids", NIGHT["duplicates"])
    if manifest.ignored is not None:
        number = manifest.ignored.num_like_data
        files = count_of(number, "unread file")
        text = f"The input has {files} with the look of data, neither Parquet nor CSV."
        yield NightCheck(not number, files, text, "unread-files", NIGHT["ignored"])


def _reuse(manifest: Manifest) -> Iterator[NightCheck]:
    if manifest.reuse is None:
        return
    stop, missing = manifest.reuse_stop, manifest.counts.shards_without_index
    text = ""
    if stop is not None:
        text = (
            f"Reuse was stopped, and every text was scored. Of {stop.texts_checked:,}"
            f" results of {stop.reused_uri} that were checked"
            f" {stop.texts_mismatched:,} differ ({stop.reason})."
        )
    yield NightCheck(stop is None, "a stop of reuse", text, "top", NIGHT["reuse"])
    shards = count_of(missing, "shard")
    text = f"{shards} found no index of {manifest.reuse.run_uri}. Every text there was scored."
    yield NightCheck(
        not missing, f"{shards} without an index to reuse", text, "top", NIGHT["reuse"]
    )


def _rejected(manifest: Manifest) -> NightCheck:
    counts = manifest.counts
    share = Ratio(counts.rows_rejected, counts.rows_in).share or 0.0
    rows = count_of(counts.rows_rejected, "rejected row")
    text = f"Of all rows {share:.2%} were rejected ({good.REJECTED})."
    return NightCheck(
        good.REJECTED.holds(share), rows, text, "rejected-rows", NIGHT["rejected"]
    )


def _number_of_ads(manifest: Manifest, previous: Manifest) -> NightCheck:
    now, before = manifest.counts.rows_planned, previous.counts.rows_planned
    numbers = f"{now:,} against {before:,}"
    is_near = abs(now - before) <= good.MOVED_ROWS * before
    text = f"The number of ads moved by more than {good.MOVED_ROWS:.0%}, {numbers}."
    return NightCheck(
        is_near, f"the number of ads, {numbers}", text, "top", NIGHT["rows"]
    )


def _drift(drift: Drift | None) -> Iterator[NightCheck]:
    for row in drift.rows if drift else []:
        text = f"“{row.what}” moved, {row.numbers}. Usual is {row.steady}."
        yield NightCheck(
            not row.moved, f"the {row.what}, {row.numbers}", text, "drift", NIGHT["drift"]
        )


def _first_night(manifest: Manifest, previous: Manifest | None) -> Iterator[NightCheck]:
    """Compare a night whose bundle has none before it with the calibration ads."""
    for row in first_night(manifest, previous):
        numbers = f"{row.now} of the ads against {row.before} of the calibration ads"
        text = (
            f"“{row.what}” is unlike the calibration ads, {numbers}."
            f" Usual is {row.steady}."
        )
        brief = f"{row.what}, {numbers}"
        mend = NIGHT["calibration"]
        yield NightCheck(not row.moved, brief, text, "first-night", mend)


def _accuracy(manifest: Manifest, previous: Manifest) -> Iterator[NightCheck]:
    """Compare the estimated accuracy of two runs of one bundle."""
    fall = accuracy_fall(manifest, previous)
    if fall is None:
        return
    numbers = f"{fall.now:.1%} against {fall.before:.1%}"
    text = (
        f"The estimated accuracy fell, {numbers}, where chance explains"
        f" {100 * fall.noise:.1f} points. Only labels tell whether it did."
    )
    brief = f"the estimated accuracy, {numbers}"
    yield NightCheck(not fall.is_alarm, brief, text, "top", NIGHT["accuracy"])


def _speed(manifest: Manifest, previous: Manifest) -> Iterator[NightCheck]:
    """Compare the speeds of two runs that had the same kind of work, and enough of it."""
    if min(manifest.elapsed_s, previous.elapsed_s) < LONG_ENOUGH_S:
        return
    if abs(_reused(manifest) - _reused(previous)) > ALIKE_REUSE:
        return
    now, before = manifest.rows_per_s, previous.rows_per_s
    numbers = f"{now:,.0f} against {before:,.0f} ads/s"
    text = f"The run was slower than {good.SLOW:.0%} of the run before, {numbers}."
    yield NightCheck(
        now >= good.SLOW * before, f"the speed, {numbers}", text, "speed", NIGHT["speed"]
    )


def _reused(manifest: Manifest) -> float:
    counts = manifest.counts
    return Ratio(counts.rows_reused, counts.rows_scored).share or 0.0
