"""The acceptance gate: limits on a run by itself, and against the run that it replaces."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import jensenshannon

from rubert_ood.errors import ErrorRateError, PublicationRefusedError, RubertOodError
from rubert_ood.settings import GateSettings


def check_gate(
    manifest: dict[str, Any], previous: dict[str, Any] | None, settings: GateSettings
) -> list[dict[str, Any]]:
    """Compare a run with the limits: one entry {check, value, limit, ok} each."""
    counts = manifest["counts"]
    scored = max(counts["rows_scored"], 1)
    checks = [
        (
            "max_error_rate",
            (counts["rows_rejected"] + counts["rows_quarantined"]) / max(counts["rows_planned"], 1),
            settings.max_error_rate,
        ),
        (
            "max_quarantined_share",
            counts["bytes_quarantined"] / max(counts["bytes_in"], 1),
            settings.max_quarantined_share,
        ),
        (
            "max_duplicate_rate",
            (manifest["duplicates"] or {"rows": 0})["rows"] / scored,
            settings.max_duplicate_rate,
        ),
        (
            "max_ignored_files",
            (manifest.get("ignored") or {}).get("num_like_data", 0),
            settings.max_ignored_files,
        ),
        ("max_ood_rate", counts["rows_ood"] / scored, settings.max_ood_rate),
        ("max_other_rate", counts["rows_other"] / scored, settings.max_other_rate),
    ]
    if previous is not None:
        checks.append(
            ("max_class_shift", class_shift(manifest, previous), settings.max_class_shift)
        )
    gate = [
        {"check": name, "value": value, "limit": limit, "ok": value <= limit}
        for name, value, limit in checks
    ]
    if previous is not None:
        ratio = counts["rows_scored"] / max(previous["counts"]["rows_scored"], 1)
        limit = settings.min_rows_ratio
        gate.append(
            {"check": "min_rows_ratio", "value": ratio, "limit": limit, "ok": ratio >= limit}
        )
    return gate


def check_churn(churn_rate: float | None, settings: GateSettings) -> list[dict[str, Any]]:
    """Compare the share of ads that changed their label with its limit; no entry if not
    measured."""
    if churn_rate is None:
        return []
    limit = settings.max_churn
    return [{"check": "max_churn", "value": churn_rate, "limit": limit, "ok": churn_rate <= limit}]


def gate_error(run_uri: str, gate: list[dict[str, Any]]) -> RubertOodError | None:
    """Return the error that names the checks which failed; None when all are well."""
    failed = [check for check in gate if not check["ok"]]
    if not failed:
        return None
    reasons = "; ".join(
        f"gate.{c['check']}: {c['value']:.4f} against {c['limit']:g}" for c in failed
    )
    kind = ErrorRateError if failed[0]["check"] == "max_error_rate" else PublicationRefusedError
    return kind(f"{run_uri}: not published, output kept: {reasons}")


def nothing_scored(manifest: dict[str, Any]) -> ErrorRateError | None:
    """Return the error of a run in which no row was scored, whatever the limits are, or None."""
    counts = manifest["counts"]
    if counts["rows_scored"]:
        return None
    rejected, aside = counts["rows_rejected"], counts["rows_quarantined"]
    reason = next(
        iter(manifest.get("rejected_reasons") or {}), "see quarantined_shards in its manifest"
    )
    return ErrorRateError(
        f"{manifest['run_uri']}: none of its {counts['rows_planned']} ads was scored, output kept: "
        f"{rejected} rejected, {aside} in quarantined shards; first reason: {reason}"
    )


def class_shift(manifest: dict[str, Any], previous: dict[str, Any]) -> float:
    """Return the Jensen-Shannon distance (base 2, in [0, 1]) of the label shares of two runs. Lin
    1991, eq. 4.1."""
    names = sorted(set(manifest["classes"]) | set(previous["classes"]))
    now = [manifest["classes"].get(name, 0) for name in names]
    before = [previous["classes"].get(name, 0) for name in names]
    return shift(now, before)


def shift(now: Sequence[int], before: Sequence[int]) -> float:
    """Return the Jensen-Shannon distance (base 2, in [0, 1]) of two histograms over the same bins,
    as shares."""
    if not sum(now) or not sum(before):
        return 0.0  # a run without rows has no shares; min_rows_ratio judges it
    return float(np.nan_to_num(jensenshannon(now, before, base=2)))
