"""The first lines of the evaluation report: can this model be trusted, and where not."""

from collections.abc import Mapping
from typing import Any

GOOD_ECE = 0.05
GOOD_OOD_RATE = 0.01
"""In-domain ads flagged as OOD."""
GOOD_CAUGHT = 0.5
"""Share of OOD texts that end as Other."""
WEAK_F1 = 0.8
GOOD_HARD_CASES = 0.8


def verdict(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return findings, each {"ok": bool, "text": str}, from the numbers alone."""
    headline = evaluation["headline"]
    findings = [_accuracy(headline, evaluation["baseline"]), _calibration(headline), _false_alarms(headline)]
    weak = [row for row in evaluation["per_class"] if row["support"] and row["f1"] < WEAK_F1]
    if weak:
        names = ", ".join(f"{row['label']} ({row['f1']:.2f})" for row in sorted(weak, key=lambda row: row["f1"])[:5])
        findings.append(_finding(False, f"{len(weak)} class(es) have F1 below {WEAK_F1:g}: {names}."))
    else:
        findings.append(_finding(True, f"Every class has F1 of at least {WEAK_F1:g}."))
    missed = [kind for kind in evaluation["ood_kinds"] if kind["caught"] < GOOD_CAUGHT]
    if missed:
        names = ", ".join(f"{kind['kind']} ({kind['caught']:.0%})" for kind in missed)
        findings.append(_finding(False, f"Most texts of these foreign kinds get an ordinary label (caught): {names}."))
    elif evaluation["ood_kinds"]:
        findings.append(_finding(True, f"At least {GOOD_CAUGHT:.0%} of every foreign kind is kept out of the classes."))
    wrong = [case for case in evaluation["hard_cases"] if not case["ok"]]
    if evaluation["hard_cases"]:
        total = len(evaluation["hard_cases"])
        findings.append(
            _finding(
                total - len(wrong) >= GOOD_HARD_CASES * total, f"{total - len(wrong)} of {total} hard cases are right."
            )
        )
    return findings


def _accuracy(headline: Mapping[str, Any], baseline: Mapping[str, float] | None) -> dict[str, Any]:
    text = (
        f"Accuracy {headline['accuracy']:.1%}, macro-F1 {headline['macro_f1']:.1%} on {headline['num_test']:,} test ads"
    )
    if baseline is None:
        return _finding(True, f"{text}.")
    ahead = headline["accuracy"] - baseline["accuracy"]
    side = "above" if ahead >= 0 else "below"
    points = f"{abs(ahead) * 100:.1f} points"
    return _finding(ahead >= 0, f"{text}: {points} {side} TF-IDF + LinearSVC ({baseline['accuracy']:.1%}).")


def _calibration(headline: Mapping[str, Any]) -> dict[str, Any]:
    text = f"Confidence is off by {headline['ece_after']:.1%} on average (ECE; {headline['ece_before']:.1%} before T)"
    if headline["at_bound"]:
        return _finding(
            False, f"{text}; T = {headline['temperature']:g} ended at its bound: confidence cannot be trusted."
        )
    return _finding(headline["ece_after"] <= GOOD_ECE, f"{text}; T = {headline['temperature']:.3f}.")


def _false_alarms(headline: Mapping[str, Any]) -> dict[str, Any]:
    ok = headline["ood_rate"] <= GOOD_OOD_RATE
    return _finding(
        ok,
        f"{headline['ood_rate']:.2%} of ordinary test ads are flagged OOD, {headline['other_rate']:.2%} end as Other.",
    )


def _finding(ok: bool, text: str) -> dict[str, Any]:
    return {"ok": ok, "text": text}
