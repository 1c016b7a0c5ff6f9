"""The acceptance gate and the pointer. Readers follow OUTPUT/latest.json; it is swapped in one conditional put, last.

A backfill keeps such a pointer for each day as well, OUTPUT/run_date=.../latest.json (`scoring/past_day.py`):
`root_uri` is the folder in which a pointer lies, and from which its paths go. Nothing that was published is overwritten
or deleted.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy.spatial.distance import jensenshannon

from rubert_ood import storage
from rubert_ood.errors import ErrorRateError, InputError, PartialRunError, PublicationRefusedError, RubertOodError
from rubert_ood.scoring.manifest import put_manifest, read_manifest
from rubert_ood.settings import GateSettings

log = logging.getLogger(__name__)

POINTER_FILE = "latest.json"
MAX_HISTORY = 30
"""Runs that the pointer remembers, for `rollback`."""
SWAP_ATTEMPTS = 5


def read_pointer(output_uri: str) -> dict[str, Any] | None:
    """Return the pointer, or None when nothing was published yet."""
    return pointer_and_version(output_uri)[0]


def pointer_and_version(root_uri: str) -> tuple[dict[str, Any] | None, str]:
    """Return the pointer and its version on storage."""
    uri = storage.join(root_uri, POINTER_FILE)
    data, version = storage.read_versioned(uri)
    if data is None:
        return None, version
    try:
        return json.loads(data), version
    except ValueError as error:
        raise InputError(f"{uri}: damaged, it holds no JSON; restore or delete it") from error


def published_manifest(output_uri: str, *, other_than: str) -> dict[str, Any] | None:
    """Return the manifest of the last published run, unless that is the given run_uri itself."""
    return manifest_of(read_pointer(output_uri), output_uri, other_than)


def published_before(output_uri: str) -> dict[str, Any] | None:
    """Return the manifest of the run that was published before the present one."""
    history = (read_pointer(output_uri) or {}).get("history", [])
    return manifest_of({"path": history[0]} if history else None, output_uri, "")


def manifest_of(pointer: Mapping[str, Any] | None, root_uri: str, other_than: str) -> dict[str, Any] | None:
    """Return the manifest of the run that a pointer names, unless that is `other_than` or cannot be read."""
    run_uri = storage.join(root_uri, pointer["path"]) if pointer else other_than
    if run_uri == other_than:
        return None
    try:
        return read_manifest(run_uri)
    except InputError as error:  # removed by retention, say: nothing to be compared with
        log.warning("gate      the last published run cannot be read, so nothing is compared with it: %s", error)
        return None


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
        ("max_duplicate_rate", (manifest["duplicates"] or {"rows": 0})["rows"] / scored, settings.max_duplicate_rate),
        ("max_ood_rate", counts["rows_ood"] / scored, settings.max_ood_rate),
        ("max_other_rate", counts["rows_other"] / scored, settings.max_other_rate),
    ]
    if previous is not None:
        checks.append(("max_class_shift", class_shift(manifest, previous), settings.max_class_shift))
    gate = [{"check": name, "value": value, "limit": limit, "ok": value <= limit} for name, value, limit in checks]
    if previous is not None:
        ratio = counts["rows_scored"] / max(previous["counts"]["rows_scored"], 1)
        limit = settings.min_rows_ratio
        gate.append({"check": "min_rows_ratio", "value": ratio, "limit": limit, "ok": ratio >= limit})
    return gate


def class_shift(manifest: dict[str, Any], previous: dict[str, Any]) -> float:
    """Return the Jensen-Shannon distance (base 2, in [0, 1]) of the label shares of two runs. Lin 1991, eq. 4.1."""
    names = sorted(set(manifest["classes"]) | set(previous["classes"]))
    now, before = ([run["classes"].get(name, 0) for name in names] for run in (manifest, previous))
    return shift(now, before)


def shift(now: Sequence[int], before: Sequence[int]) -> float:
    """Return the Jensen-Shannon distance (base 2, in [0, 1]) of two histograms over the same bins, as shares."""
    if not sum(now) or not sum(before):
        return 0.0  # a run without rows has no shares; min_rows_ratio judges it
    return float(np.nan_to_num(jensenshannon(now, before, base=2)))


def publish_run(manifest: dict[str, Any], settings: GateSettings, *, force: str | None = None) -> dict[str, Any]:
    """Apply the gate and swap the pointer; return the manifest with gate and outcome, as it is now on storage.

    `force` is the reason to publish although the gate says no. The gate compares with the very run that the swap
    replaces: when another publisher is faster, it is applied again. Raises ErrorRateError or PublicationRefusedError;
    the output is kept, and the manifest says why.
    """
    output_uri, run_uri = manifest["output_uri"], manifest["run_uri"]
    for _ in range(SWAP_ATTEMPTS):
        older, version = pointer_and_version(output_uri)
        gate = check_gate(manifest, manifest_of(older, output_uri, run_uri), settings)
        failed = [check for check in gate if not check["ok"]]
        if failed and not force:
            if not is_published(manifest):
                put_manifest(manifest | {"gate": gate, "outcome": "refused"})
            raise refusal(run_uri, failed)
        manifest = manifest | {"gate": gate, "forced": force}
        put_manifest(manifest)  # a reader who follows the pointer finds everything
        if swap_pointer(output_uri, make_pointer(output_uri, manifest, older), version):
            manifest = manifest | {"outcome": "published"}
            put_manifest(manifest)  # after the pointer, which is the truth: it never claims what is not so
            return manifest
    raise PartialRunError(f"{output_uri}: other publishers swap {POINTER_FILE} all the time; publish again")


def refusal(run_uri: str, failed: list[dict[str, Any]]) -> RubertOodError:
    """Return the error that says which checks a run failed."""
    reasons = "; ".join(f"gate.{c['check']}: {c['value']:.4f} against {c['limit']:g}" for c in failed)
    kind = ErrorRateError if failed[0]["check"] == "max_error_rate" else PublicationRefusedError
    return kind(f"{run_uri}: not published, output kept: {reasons}")


def make_pointer(root_uri: str, manifest: Mapping[str, Any], older: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a pointer to a run that takes the place of an older one."""
    path = _relative(root_uri, manifest)
    return {
        "path": path,
        "run_id": manifest["run_id"],
        "run_date": manifest["run_date"],
        "bundle": manifest["bundle"]["fingerprint"],
        "published_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "history": _history(older, path),
    }


def roll_back(output_uri: str, reason: str) -> dict[str, Any]:
    """Let the pointer name the run that was published before; return the new pointer.

    Raises InputError when there is none, or when it is no longer whole enough to be read.
    """
    for _ in range(SWAP_ATTEMPTS):
        older, version = pointer_and_version(output_uri)
        if older is None or not older.get("history"):
            raise InputError(
                f"{output_uri}: {'no run' if older is None else 'only one run'} was published; no way back"
            )
        bad_uri = storage.join(output_uri, older["path"])
        target = read_manifest(storage.join(output_uri, older["history"][0]))
        pointer = {
            "path": older["history"][0],
            "run_id": target["run_id"],
            "run_date": target["run_date"],
            "bundle": target["bundle"]["fingerprint"],
            "published_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "history": older["history"][1:],
            "rolled_back": {"path": older["path"], "reason": reason},
        }
        if swap_pointer(output_uri, pointer, version):
            try:
                _note_rollback(read_manifest(bad_uri), reason)
            except InputError as error:
                log.warning("rollback  the manifest of the run that was taken back cannot be read: %s", error)
            return pointer
    raise PartialRunError(f"{output_uri}: other publishers swap {POINTER_FILE} all the time; roll back again")


def _note_rollback(manifest: dict[str, Any], reason: str) -> None:
    """Note in the manifest of a run that a pointer no longer names it; another one still may."""
    pointers = named_by(manifest)
    if pointers:
        log.warning("rollback  %s still names that run; roll it back there too", " and ".join(pointers))
        put_manifest(manifest | {"pointers": pointers})
    else:
        put_manifest(manifest | {"outcome": "rolled_back", "rollback_reason": reason, "pointers": []})


def swap_pointer(root_uri: str, pointer: dict[str, Any], version: str) -> bool:
    """Swap the pointer if it still is of this version; say whether this pointer now is in place."""
    uri = storage.join(root_uri, POINTER_FILE)
    if storage.swap_bytes(uri, json.dumps(pointer, indent=1).encode(), version):
        return True
    return read_pointer(root_uri) == pointer  # written, and only the answer got lost


def _history(older: Mapping[str, Any] | None, path: str) -> list[str]:
    """Return the runs that were published before this one, newest first."""
    if older is None:
        return []
    runs = [older["path"], *older.get("history", [])]
    return [run for run in runs if run != path][:MAX_HISTORY]


def is_published(manifest: Mapping[str, Any]) -> bool:
    """Say whether a pointer names this run: that of the catalogue, or that of its day."""
    return bool(named_by(manifest))


def named_by(manifest: Mapping[str, Any]) -> list[str]:
    """Return the pointers, relative to OUTPUT, that name this run."""
    output_uri = manifest["output_uri"]
    found = []
    for root_uri in (output_uri, day_uri(manifest)):
        pointer = read_pointer(root_uri)
        if pointer is not None and pointer["path"] == _relative(root_uri, manifest):
            found.append(storage.join(root_uri, POINTER_FILE)[len(output_uri) :].strip("/"))
    return found


def day_uri(manifest: Mapping[str, Any]) -> str:
    """Return the folder of all runs of the day that a run belongs to."""
    return str(manifest["run_uri"].rstrip("/").rpartition("/")[0])


def _relative(root_uri: str, manifest: Mapping[str, Any]) -> str:
    return manifest["run_uri"][len(root_uri) :].strip("/")
