"""The acceptance gate: limits on a run by itself, and against the run that it replaces."""

from rubert_ood.errors import ErrorRateError, PublicationRefusedError, RubertOodError
from rubert_ood.runs.manifest import Check, Manifest
from rubert_ood.runs.shift import class_shift
from rubert_ood.settings import GateSettings


def check_gate(
    manifest: Manifest, previous: Manifest | None, settings: GateSettings
) -> list[Check]:
    """Compare a run with the limits, and with the run before where there is one."""
    counts = manifest.counts
    unscored = counts.rows_rejected + counts.rows_quarantined
    num_duplicates = manifest.duplicates.rows if manifest.duplicates else 0
    num_ignored = manifest.ignored.num_like_data if manifest.ignored else 0
    scored = max(counts.rows_scored, 1)
    quarantined_share = counts.bytes_quarantined / max(counts.bytes_in, 1)
    gate = [
        _at_most("max_error_rate", unscored / max(counts.rows_planned, 1), settings),
        _at_most("max_quarantined_share", quarantined_share, settings),
        _at_most("max_duplicate_rate", num_duplicates / scored, settings),
        _at_most("max_ignored_files", num_ignored, settings),
        _at_most("max_ood_rate", counts.rows_ood / scored, settings),
        _at_most("max_other_rate", counts.rows_other / scored, settings),
    ]
    if previous is not None:
        shift = class_shift(manifest.classes, previous.classes)
        ratio = counts.rows_scored / max(previous.counts.rows_scored, 1)
        limit = settings.min_rows_ratio
        gate.append(_at_most("max_class_shift", shift, settings))
        gate.append(
            Check(check="min_rows_ratio", value=ratio, limit=limit, ok=ratio >= limit)
        )
    return gate


def check_churn(churn_rate: float | None, settings: GateSettings) -> list[Check]:
    """Compare the share of ads that changed their label with its limit; no entry if unknown."""
    return [] if churn_rate is None else [_at_most("max_churn", churn_rate, settings)]


def _at_most(name: str, value: float, settings: GateSettings) -> Check:
    limit = getattr(settings, name)
    return Check(check=name, value=value, limit=limit, ok=value <= limit)


def gate_error(run_uri: str, gate: list[Check]) -> RubertOodError | None:
    """Return the error that names the checks which failed; None when all are well."""
    failed = [check for check in gate if not check.ok]
    if not failed:
        return None
    named = [f"gate.{check.against()}" for check in failed]
    kind = (
        ErrorRateError if failed[0].check == "max_error_rate" else PublicationRefusedError
    )
    return kind(
        f"{run_uri}: the gate refuses this run, which is kept but not published:"
        f" {', '.join(named)}"
    )


def nothing_scored(manifest: Manifest) -> ErrorRateError | None:
    """Return the error of a run in which no row was scored, whatever the limits are, or None."""
    counts = manifest.counts
    if counts.rows_scored:
        return None
    reason = next(
        iter(manifest.rejected_reasons), "see quarantined_shards in the manifest"
    )
    return ErrorRateError(
        f"{manifest.run_uri}: none of the {counts.rows_planned:,} ads was"
        f" scored ({counts.rows_rejected:,} rejected,"
        f" {counts.rows_quarantined:,} in quarantined shards). First reason:"
        f" {reason}"
    )
