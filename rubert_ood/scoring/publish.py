"""The acceptance gate and the pointer. Readers follow OUTPUT/latest.json; it is swapped in one put, last.

Nothing that was published is overwritten or deleted.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy.spatial.distance import jensenshannon

from rubert_ood import storage
from rubert_ood.errors import ErrorRateError, InputError, PublicationRefusedError
from rubert_ood.scoring.ledger import put_manifest, read_manifest
from rubert_ood.settings import GateSettings

log = logging.getLogger(__name__)

POINTER_FILE = "latest.json"


def read_pointer(output_uri: str) -> dict[str, Any] | None:
    """Return the pointer, or None when nothing was published yet."""
    uri = storage.join(output_uri, POINTER_FILE)
    return storage.read_json(uri) if storage.exists(uri) else None


def published_manifest(output_uri: str, *, other_than: str) -> dict[str, Any] | None:
    """Return the manifest of the last published run, unless that is the given run_uri itself."""
    pointer = read_pointer(output_uri)
    if pointer is None:
        return None
    run_uri = storage.join(output_uri, pointer["path"])
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
        ("max_error_rate", counts["rows_rejected"] / max(counts["rows_in"], 1), settings.max_error_rate),
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
    if not sum(now) or not sum(before):
        return 0.0  # a run without rows has no shares; min_rows_ratio judges it
    return float(np.nan_to_num(jensenshannon(now, before, base=2)))


def publish_run(manifest: dict[str, Any], settings: GateSettings) -> dict[str, Any]:
    """Apply the gate and swap the pointer; return the manifest with gate and outcome, as it is now on storage.

    Raises ErrorRateError or PublicationRefusedError; the output is kept, and the manifest says why.
    """
    output_uri, run_uri = manifest["output_uri"], manifest["run_uri"]
    gate = check_gate(manifest, published_manifest(output_uri, other_than=run_uri), settings)
    failed = [check for check in gate if not check["ok"]]
    if failed:
        if not is_published(manifest):
            put_manifest(manifest | {"gate": gate, "outcome": "refused"})
        reasons = "; ".join(f"gate.{c['check']}: {c['value']:.4f} against {c['limit']:g}" for c in failed)
        kind = ErrorRateError if failed[0]["check"] == "max_error_rate" else PublicationRefusedError
        raise kind(f"{run_uri}: not published, output kept: {reasons}")
    pointer = {
        "path": _relative(manifest),
        "run_id": manifest["run_id"],
        "run_date": manifest["run_date"],
        "bundle": manifest["bundle"]["fingerprint"],
        "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    manifest = manifest | {"gate": gate}
    put_manifest(manifest)  # a reader who follows the pointer finds everything
    storage.put_bytes(storage.join(output_uri, POINTER_FILE), json.dumps(pointer, indent=1).encode())
    manifest = manifest | {"outcome": "published"}
    put_manifest(manifest)  # after the pointer, which is the truth: it never claims what is not so
    return manifest


def is_published(manifest: dict[str, Any]) -> bool:
    """Say whether the pointer names this run."""
    pointer = read_pointer(manifest["output_uri"])
    return pointer is not None and pointer["path"] == _relative(manifest)


def _relative(manifest: dict[str, Any]) -> str:
    return manifest["run_uri"][len(manifest["output_uri"]) :].strip("/")
