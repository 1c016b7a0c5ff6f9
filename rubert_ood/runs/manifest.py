"""The manifest of a run: its receipts added up, and what became of it."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from rubert_ood import __version__, storage
from rubert_ood.errors import PartialRunError
from rubert_ood.ood.decision import OTHER
from rubert_ood.runs.cities import add_cities
from rubert_ood.runs.manifest_schema import Manifest
from rubert_ood.runs.part import DIGEST_MODULUS
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import CONFIDENCE_BINS
from rubert_ood.runs.record import parse_dict
from rubert_ood.runs.top_ood import merge_top

MANIFEST_FILE = "manifest.json"
SWAP_ATTEMPTS = 5
COUNTED = (
    "rows_in",
    "rows_scored",
    "rows_rejected",
    "rows_empty",
    "rows_ood",
    "rows_cut",
    "unique_texts",
    "tokens",
    "unique_tokens",
)
"""What the manifest adds up over the receipts."""
PER_SHARD = (
    "shard_id",
    "uri",
    "start",
    "stop",
    "rows_in",
    "rows_scored",
    "rows_rejected",
    "ids_in",
    "ids_out",
    "ids_rejected",
    "classes",
    "part_sha256",
    "seconds",
    "scorer_busy_s",
    "scorer_idle_s",
    "finished_at",
)
"""What the manifest repeats of each receipt."""
WHOLE = ("complete", "refused", "published", "rolled_back")
"""Outcomes of a run whose shards are all scored or quarantined."""

MANIFEST = TypeAdapter(Manifest)


def make_manifest(
    plan: Plan,
    receipts: Mapping[str, dict[str, Any]],
    *,
    outcome: str,
    started_at: str,
    quarantined_shards: Mapping[str, dict[str, Any]] | None = None,
    duplicates: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Add the receipts of a run up. started_at is an ISO time; elapsed_s covers this start only."""
    aside = [
        record
        for name, record in sorted((quarantined_shards or {}).items())
        if name not in receipts
    ]
    done = [receipts[shard.shard_id] for shard in plan.shards if shard.shard_id in receipts]
    counts = {name: sum(receipt[name] for receipt in done) for name in COUNTED}
    classes = _add(receipt["classes"] for receipt in done)
    now = datetime.now(UTC)
    elapsed_s = (now - datetime.fromisoformat(started_at)).total_seconds()
    idle_s = sum(receipt["scorer_idle_s"] for receipt in done)
    padded = sum(receipt.get("padded_tokens", 0) for receipt in done)
    rows_now = sum(receipt["rows_in"] for receipt in done if receipt["finished_at"] >= started_at)
    return {
        "run_id": plan.run_id,
        "run_date": plan.run_date,
        "run_uri": plan.run_uri,
        "fingerprint": plan.fingerprint,
        "code_version": __version__,
        "outcome": outcome,
        "started_at": started_at,
        "finished_at": now.isoformat(timespec="seconds"),
        "elapsed_s": elapsed_s,
        "rows_per_s": rows_now / max(elapsed_s, 1e-9),
        "scorer_idle_share": idle_s
        / max(idle_s + sum(receipt["scorer_busy_s"] for receipt in done), 1e-9),
        "bundle": plan.bundle,
        "input_uri": plan.input_uri,
        "output_uri": plan.output_uri,
        "counts": {
            **counts,
            "rows_other": classes.get(OTHER, 0),
            "rows_planned": plan.num_rows,
            "rows_quarantined": sum(record["rows_in"] for record in aside),
            "bytes_in": plan.input_bytes,
            "bytes_quarantined": sum(item["size"] for item in plan.quarantined),
        },
        "ids_in": sum(receipt["ids_in"] for receipt in done) % DIGEST_MODULUS,
        "ids_out": sum(receipt["ids_out"] for receipt in done) % DIGEST_MODULUS,
        "ids_rejected": sum(receipt["ids_rejected"] for receipt in done) % DIGEST_MODULUS,
        "classes": classes,
        "rejected_reasons": _add(receipt["rejected_reasons"] for receipt in done),
        "quarantined": plan.quarantined,
        "quarantined_shards": [
            {k: v for k, v in record.items() if k != "fingerprint"} for record in aside
        ],
        "empty_files": plan.empty_files,
        "ignored": asdict(plan.ignored),
        "duplicates": duplicates,
        "confidence_histogram": _sum_histograms(done, "confidence_histogram")
        or [0] * CONFIDENCE_BINS,
        "token_histogram": _sum_histograms(done, "token_histogram"),
        "padding_share": padded / max(padded + counts["unique_tokens"], 1),
        "cities": add_cities(receipt.get("cities") for receipt in done),
        "top_ood": merge_top(receipt.get("top_ood", []) for receipt in done) or None,
        "shards": [{name: receipt[name] for name in PER_SHARD} for receipt in done],
        "gate": [],
    }


def _sum_histograms(receipts: list[dict[str, Any]], name: str) -> list[int] | None:
    """Add histograms up; None without receipts, and where an older version counted none."""
    found = [receipt[name] for receipt in receipts if name in receipt]
    return np.sum(found, axis=0).tolist() if found and len(found) == len(receipts) else None


def _add(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total.most_common())


def manifest_uri(run_uri: str) -> str:
    return storage.join(run_uri, "_run", MANIFEST_FILE)


def read_manifest(run_uri: str) -> dict[str, Any]:
    """Read the manifest of a run folder, which may have been moved; InputError when there is
    none."""
    uri = manifest_uri(run_uri)
    return _parsed(run_uri, storage.read_bytes(uri))


def find_manifest(run_uri: str) -> dict[str, Any]:
    """Return the manifest as an earlier start left it; empty if none got that far."""
    return manifest_and_version(run_uri)[0]


def manifest_and_version(run_uri: str) -> tuple[dict[str, Any], str]:
    """Return the manifest, empty if there is none, and its version for `swap_manifest`."""
    data, version = storage.read_versioned(manifest_uri(run_uri))
    return ({} if data is None else _parsed(run_uri, data)), version


def _parsed(run_uri: str, data: bytes) -> dict[str, Any]:
    content = parse_dict(manifest_uri(run_uri), data, MANIFEST)
    run_uri = storage.absolute(run_uri.rstrip("/"))
    return content | {"run_uri": run_uri, "output_uri": run_uri.rsplit("/", 2)[0]}


def swap_manifest(manifest: Mapping[str, Any], version: str) -> bool:
    """Put a manifest if there still is the one of this version; say whether it now is in place."""
    uri, data = manifest_uri(manifest["run_uri"]), manifest_bytes(manifest)
    return storage.swap_bytes(uri, data, version) or storage.read_optional(uri) == data


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return a manifest as it is written."""
    return json.dumps(manifest, ensure_ascii=False, indent=1, allow_nan=False).encode()


def revise_manifest(
    run_uri: str,
    change: Callable[[dict[str, Any]], dict[str, Any] | None],
    claim: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Put what `change` makes of the manifest, unless that is None; return the one that is in
    place.

    `change` gets the manifest as it is then (empty if there is none), again when another process
    was faster: nothing that another one noted is overwritten unseen. `claim` raises where this
    process may not write any more.
    """
    for _ in range(SWAP_ATTEMPTS):
        found, version = manifest_and_version(run_uri)
        claim()  # after the look: what a newer start writes is another version
        manifest = change(found)
        if manifest is None or manifest == found:
            return found
        if swap_manifest(manifest, version):
            return manifest
    raise PartialRunError(
        f"{manifest_uri(run_uri)}: other processes write it all the time; start again"
    )
