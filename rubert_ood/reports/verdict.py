"""The first lines of the evaluation report: can this model be trusted, and where not."""

from collections.abc import Mapping, Sequence
from typing import Any

GOOD_ECE = 0.05
GOOD_OOD_RATE = 0.01
"""In-domain ads flagged as OOD."""
GOOD_CAUGHT = 0.5
"""Share of OOD texts that end as Other."""
WEAK_F1 = 0.8
GOOD_HARD_CASES = 0.8
GOOD_FAR_RATE = 1.5
"""Ads called far over those that the conformal rule was asked for."""
GOOD_CONFORMAL_OOD_RATE = 0.05
"""In-domain ads flagged as OOD by a rule whose alpha somebody chose."""
GOOD_OTHER_RATE = 0.1
"""In-domain ads that get no class."""
FEW_ADS = 100
"""Fewer test or calibration ads tell little, whatever they say."""
NAMED_CLASSES = 5
LEFT_OUT = "classes left out"
BETTER_AUROC = 0.05
"""Lead of another detector that is worth telling."""


def verdict(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return findings, each {"ok": bool, "text": str}, from the numbers alone."""
    headline = evaluation["headline"]
    findings = [
        _accuracy(headline, evaluation["baseline"]),
        _calibration(headline),
        _calibration_rows(headline),
        _false_alarms(headline, evaluation["decision"]),
    ]
    findings.append(_classes(evaluation["per_class"]))
    missed = [kind for kind in evaluation["ood_kinds"] if kind["caught"] < GOOD_CAUGHT]
    if missed:
        names = ", ".join(f"{kind['kind']} ({kind['caught']:.0%})" for kind in missed)
        findings.append(
            finding(
                False, f"Most texts of these foreign kinds get an ordinary label (caught): {names}."
            )
        )
    elif evaluation["ood_kinds"]:
        findings.append(
            finding(
                True,
                f"At least {GOOD_CAUGHT:.0%} of every foreign kind is kept out of the classes.",
            )
        )
    findings += _better_detectors(evaluation["detectors"])
    wrong = [case for case in evaluation["hard_cases"] if not case["ok"]]
    if evaluation["hard_cases"]:
        total = len(evaluation["hard_cases"])
        findings.append(
            finding(
                total - len(wrong) >= GOOD_HARD_CASES * total,
                f"{total - len(wrong)} of {total} hard cases are right.",
            )
        )
    return findings


def _classes(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    measured = [row for row in rows if row["support"]]
    weak = sorted((row for row in measured if row["f1"] < WEAK_F1), key=lambda row: row["f1"])
    unknown = (
        f" {len(rows) - len(measured)} class(es) have no test ad."
        if len(measured) < len(rows)
        else ""
    )
    if not weak:
        return finding(
            not unknown, f"Every class that was measured has F1 of at least {WEAK_F1:g}.{unknown}"
        )
    names = ", ".join(f"{row['label']} ({row['f1']:.2f})" for row in weak[:NAMED_CLASSES])
    more = f" and {len(weak) - NAMED_CLASSES} more" if len(weak) > NAMED_CLASSES else ""
    return finding(
        False, f"{len(weak)} class(es) have F1 below {WEAK_F1:g}: {names}{more}.{unknown}"
    )


def _accuracy(headline: Mapping[str, Any], baseline: Mapping[str, float] | None) -> dict[str, Any]:
    text = (
        f"Accuracy {headline['accuracy']:.1%}, macro-F1 {headline['macro_f1']:.1%} on"
        f" {headline['num_test']:,} test ads"
    )
    if headline["num_test"] < FEW_ADS:
        return finding(False, f"{text}: too few to tell.")
    if baseline is None:
        return finding(True, f"{text}.")
    ahead = headline["accuracy"] - baseline["accuracy"]
    side = "above" if ahead >= 0 else "below"
    points = f"{abs(ahead) * 100:.1f} points"
    return finding(
        ahead >= 0, f"{text}: {points} {side} TF-IDF + LinearSVC ({baseline['accuracy']:.1%})."
    )


def _calibration(headline: Mapping[str, Any]) -> dict[str, Any]:
    text = (
        f"Confidence is off by {headline['ece_after']:.1%} on average (ECE;"
        f" {headline['ece_before']:.1%} before T)"
    )
    if headline["at_bound"]:
        return finding(
            False,
            f"{text}; T = {headline['temperature']:g} ended at its bound: confidence cannot be"
            " trusted.",
        )
    return finding(headline["ece_after"] <= GOOD_ECE, f"{text}; T = {headline['temperature']:.3f}.")


def _calibration_rows(headline: Mapping[str, Any]) -> dict[str, Any]:
    count = f"{headline['num_calibration']:,}"
    if headline["calibrated_on"] == "valid":
        return finding(
            False,
            f"T and the thresholds rest on the {count} valid ads, which also chose the checkpoint:"
            " they look better than new ads will, so more of these are flagged. Set"
            " split.calibration_fraction, or give calibration_uri.",
        )
    text = f"T and the thresholds rest on {count} ads that neither trained nor chose the checkpoint"
    if headline["num_calibration"] < FEW_ADS:
        return finding(False, f"{text}: too few, give some hundred.")
    return finding(True, f"{text}.")


def _false_alarms(headline: Mapping[str, Any], decision: Mapping[str, Any]) -> dict[str, Any]:
    text = (
        f"Of the ordinary test ads {headline['far_rate']:.2%} lie far by the {decision['rule']}"
        f" rule, and {headline['ood_rate']:.2%} are flagged OOD, since they are not confident"
        f" either; {headline['other_rate']:.2%} end as Other."
    )
    kept = headline["other_rate"] <= GOOD_OTHER_RATE
    if decision["rule"] == "conformal":
        meant = decision["conformal_alpha"]
        ok = (
            headline["far_rate"] <= GOOD_FAR_RATE * meant
            and headline["ood_rate"] <= GOOD_CONFORMAL_OOD_RATE
        )
        return finding(ok and kept, f"{text} Meant were {meant:.2%} far ones.")
    return finding(headline["ood_rate"] <= GOOD_OOD_RATE and kept, text)


def _better_detectors(detectors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Name the kinds that some other detector keeps apart clearly better than the one that
    decides."""
    if not detectors or not measured_kinds(detectors[0]):
        return []
    (ours, kinds), *others = ((entry["detector"], measured_kinds(entry)) for entry in detectors)
    better = []
    for kind, metrics in kinds.items():
        name, theirs = max(others, key=lambda other: other[1][kind]["auroc"])
        auroc = theirs[kind]["auroc"]
        if auroc >= metrics["auroc"] + BETTER_AUROC:
            better.append(f"{kind} ({name} {auroc:.2f} against {metrics['auroc']:.2f})")
    if better:
        return [
            finding(
                False,
                f"Other detectors tell these kinds apart better (AUROC): {', '.join(better)}.",
            )
        ]
    return [finding(True, f"No other detector is clearly better than {ours}, which decides.")]


def measured_kinds(entry: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what a detector was measured on, by kind; classes that are left out are a kind as
    well."""
    return dict(entry["kinds"]) | ({LEFT_OUT: entry["left_out"]} if entry["left_out"] else {})


def finding(ok: bool, text: str) -> dict[str, Any]:
    return {"ok": ok, "text": text}
