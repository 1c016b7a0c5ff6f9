"""Manifests of runs that have no parts, for what is decided by manifests alone."""

from typing import Any

from rubert_ood import storage
from rubert_ood.runs.manifest import Manifest, manifest_uri


def a_manifest(
    output_uri: str = "/out",
    run_id: str = "r1",
    classes: dict[str, int] | None = None,
    *,
    run_date: str = "2026-11-24",
    finished_at: str = "2026-11-25T03:00:00+00:00",
    **counts: int,
) -> Manifest:
    """The manifest of a complete run with a row for each label in `classes`; `counts` as they shall
    be."""
    classes = {"Мебель": 60, "Шины": 30, "Other": 10} if classes is None else classes
    scored = sum(classes.values())
    numbers = {
        "rows_in": scored,
        "rows_scored": scored,
        "rows_rejected": 0,
        "rows_ood": 5,
    }
    numbers |= {"bytes_in": 1000, "bytes_quarantined": 0, "rows_quarantined": 0}
    numbers |= {
        "rows_planned": counts.get("rows_in", scored),
        "rows_other": classes.get("Other", 0),
    }
    return Manifest.model_validate(
        {
            "output_uri": output_uri,
            "run_uri": f"{output_uri}/run_date={run_date}/run_id={run_id}",
            "run_id": run_id,
            "run_date": run_date,
            "bundle": {"uri": "/b/v1", "version": "v1", "fingerprint": "f" * 64},
            "classes": classes,
            "counts": numbers | counts,
            "duplicates": {"ids": 0, "rows": 0, "examples": []},
            "started_at": "2026-11-25T02:00:00+00:00",
            "finished_at": finished_at,
            "elapsed_s": 3600.0,
            "rows_per_s": 1.0,
            "outcome": "complete",
            "gate": [],
        }
    )


def changed(manifest: Manifest, **changes: Any) -> Manifest:
    """The same manifest with other values, checked as if they had been read."""
    return Manifest.model_validate_json(storage.to_json(manifest.model_dump() | changes))


def put_manifest(manifest: Manifest) -> None:
    """Write a manifest into its run folder."""
    storage.put_json(manifest_uri(manifest.run_uri), manifest)
