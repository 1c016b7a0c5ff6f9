"""How a run differs from the last published one, in numbers and plain words; both from their
manifests alone."""

from collections.abc import Mapping
from typing import Any

from rubert_ood.publishing.gate import class_shift, shift
from rubert_ood.runs.receipts import CONFIDENCE_BINS

MOVED_DISTANCE = 0.1
"""Jensen-Shannon distance from which a distribution has moved: ads that are a sixth longer, say.
Two samples of 10,000 ads from one source differ by less than 0.05, of 1,000 ads by up to 0.17."""
MOVED_FACTOR, MOVED_POINTS = 1.5, 0.005
"""A rate has moved when it changed by this factor, and by this much."""
NUM_LABELS = 3
"""Labels that are named with the largest changes of their share."""

Run = Mapping[str, Any]


def rates(counts: Mapping[str, int]) -> dict[str, float | None]:
    """Return the shares that tell how a run went; None without rows to take a share of."""
    scored = counts["rows_scored"]
    return {
        "ood": _share(counts["rows_ood"], scored),
        "other": _share(counts["rows_other"], scored),
        "rejected": _share(counts["rows_rejected"], counts["rows_in"]),
        "cut": _share(counts["rows_cut"], scored) if "rows_cut" in counts else None,
        "folded": 1 - counts["unique_texts"] / scored if scored else None,
    }


def drift(manifest: Run, previous: Run) -> dict[str, Any]:
    """Compare two runs, of which the previous one may lack what earlier versions did not count.

    Returns rows, each {what, now, before, change, distance, moved} (texts, but for the last two; ""
    and None where unknown), largest (the labels whose shares changed most, in points), moved (the
    `what` of the rows that moved) and bundle_before (its version, "" if it is the same bundle).
    """
    now, before = rates(manifest["counts"]), rates(previous["counts"])
    labels = class_shift(dict(manifest), dict(previous))
    rows = [
        _row("label shares", distance=labels, moved=labels > MOVED_DISTANCE),
        _rate("OOD rate", now["ood"], before["ood"]),
        _rate("Other rate", now["other"], before["other"]),
        _confidence(manifest, previous),
        _length(manifest, previous),
        _rate("unseen cities", _unseen_share(manifest), _unseen_share(previous)),
    ]
    fingerprints = [run.get("bundle", {}).get("fingerprint") for run in (manifest, previous)]
    return {
        "rows": [row for row in rows if row["now"] or row["distance"] is not None],
        "largest": _largest_moves(manifest, previous),
        "moved": [row["what"] for row in rows if row["moved"]],
        "bundle_before": previous["bundle"].get("version", "?")
        if all(fingerprints) and len(set(fingerprints)) > 1
        else "",
    }


def label_shares(run: Run) -> dict[str, float]:
    total = max(sum(run["classes"].values()), 1)
    return {label: count / total for label, count in run["classes"].items()}


def _largest_moves(manifest: Run, previous: Run) -> str:
    now, before = label_shares(manifest), label_shares(previous)
    changes = {
        label: now.get(label, 0.0) - before.get(label, 0.0) for label in sorted({*now, *before})
    }
    largest = sorted(changes, key=lambda label: -abs(changes[label]))[:NUM_LABELS]
    return ", ".join(f"{label} {_points(changes[label])}" for label in largest if changes[label])


def _confidence(manifest: Run, previous: Run) -> dict[str, Any]:
    now, before = (_sure_share(run) for run in (manifest, previous))
    distance = _distance(manifest, previous, "confidence_histogram")
    row = _rate(f"confidence of {1 - 1 / CONFIDENCE_BINS:g} or more", now, before)
    return row | {"distance": distance, "moved": distance is not None and distance > MOVED_DISTANCE}


def _length(manifest: Run, previous: Run) -> dict[str, Any]:
    now, before = (_tokens_per_ad(run["counts"]) for run in (manifest, previous))
    distance = _distance(manifest, previous, "token_histogram")
    change = "" if now is None or not before else f"{now / before - 1:+.1%}"
    moved = distance is not None and distance > MOVED_DISTANCE
    return _row(
        "tokens per ad", _text(now, "{:.1f}"), _text(before, "{:.1f}"), change, distance, moved
    )


def _distance(manifest: Run, previous: Run, name: str) -> float | None:
    now, before = manifest.get(name), previous.get(name)
    return shift(now, before) if now and before and len(now) == len(before) else None


def _sure_share(run: Run) -> float | None:
    histogram = run.get("confidence_histogram") or [0]
    return _share(histogram[-1], sum(histogram))


def _tokens_per_ad(counts: Mapping[str, int]) -> float | None:
    """Empty ads have no tokens and do not count."""
    return _share(counts["tokens"], counts["rows_scored"] - counts["rows_empty"])


def _unseen_share(run: Run) -> float | None:
    cities = run.get("cities") or {"rows": 0, "rows_unseen": 0}
    return _share(cities["rows_unseen"], cities["rows"])


def _rate(what: str, now: float | None, before: float | None) -> dict[str, Any]:
    row = _row(what, _text(now, "{:.2%}"), _text(before, "{:.2%}"))
    if now is None or before is None:
        return row
    low, high = sorted((now, before))
    moved = high - low > MOVED_POINTS and high > MOVED_FACTOR * low
    return row | {"change": _points(now - before), "moved": moved}


def _row(
    what: str,
    now: str = "",
    before: str = "",
    change: str = "",
    distance: float | None = None,
    moved: bool = False,
) -> dict[str, Any]:
    return {
        "what": what,
        "now": now,
        "before": before,
        "change": change,
        "distance": distance,
        "moved": moved,
    }


def _text(value: float | None, pattern: str) -> str:
    return "" if value is None else pattern.format(value)


def _points(change: float) -> str:
    return f"{100 * change:+.2f}"


def _share(count: int, total: int) -> float | None:
    return count / total if total else None
