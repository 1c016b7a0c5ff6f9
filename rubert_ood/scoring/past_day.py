"""Publish a run of a past day without turning the catalogue back.

OUTPUT/run_date=.../latest.json names the run of that day; a backfill always swaps it. OUTPUT/latest.json, which readers
of the newest catalogue follow, is swapped as well only if it does not name a later day. Both swaps are conditional, and
both pointers have their own history for `rollback`. The outcome is noted after them: when a start dies between the two,
the same command swaps what is not swapped yet.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from rubert_ood import storage
from rubert_ood.errors import InputError, PartialRunError
from rubert_ood.scoring.manifest import put_manifest, read_manifest
from rubert_ood.scoring.publish import (
    POINTER_FILE,
    SWAP_ATTEMPTS,
    check_gate,
    day_uri,
    make_pointer,
    manifest_of,
    named_by,
    pointer_and_version,
    read_pointer,
    refusal,
    swap_pointer,
)
from rubert_ood.settings import GateSettings

log = logging.getLogger(__name__)


def run_before(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the manifest of the run that its day had before: the newest published one, else the newest complete one.

    Published runs are those that the pointer of the day, or that of the catalogue, names or remembers.
    """
    day, catalogue = (read_pointer(root_uri) for root_uri in (day_uri(manifest), manifest["output_uri"]))
    return _run_before(manifest, day, catalogue)


def _run_before(
    manifest: Mapping[str, Any], day: Mapping[str, Any] | None, catalogue: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    for run_uri in _published(manifest, day, catalogue):
        try:
            return read_manifest(run_uri) | {"run_uri": run_uri}  # it may have been moved since
        except InputError as error:  # removed by retention, say
            log.warning("backfill  a run that was published for this day cannot be read: %s", error)
    complete = []
    for run_uri in storage.list_folders(day_uri(manifest)):
        if run_uri != manifest["run_uri"]:
            try:
                complete.append(read_manifest(run_uri) | {"run_uri": run_uri})
            except InputError:
                continue  # no run, or one that never got as far as a manifest
    complete = [other for other in complete if other["outcome"] in ("published", "complete")]
    return max(complete, key=lambda other: (other["outcome"] == "published", other["finished_at"]), default=None)


def _published(
    manifest: Mapping[str, Any], day: Mapping[str, Any] | None, catalogue: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield the other runs of the day that were published, newest first."""
    for root_uri, pointer in ((day_uri(manifest), day), (manifest["output_uri"], catalogue)):
        for path in [pointer["path"], *pointer["history"]] if pointer else []:
            run_uri = storage.join(root_uri, path)
            if run_uri != manifest["run_uri"] and day_uri({"run_uri": run_uri}) == day_uri(manifest):
                yield run_uri


def publish_day(
    manifest: dict[str, Any], settings: GateSettings, *, before: Mapping[str, Any] | None, churn_rate: float | None
) -> dict[str, Any]:
    """Apply the gate and swap the pointers of a run's day; return the manifest as it is now on storage.

    before: the manifest of the run that churn_rate, the share of changed labels, was measured against. The gate
    compares with the run that the catalogue's pointer names where that is swapped, else with `before`, else with what
    the catalogue's pointer names. Raises as `publish_run`, and PartialRunError when another run took the place of
    `before` in the meantime.
    """
    output_uri, run_uri, root_uri = manifest["output_uri"], manifest["run_uri"], day_uri(manifest)
    for _ in range(SWAP_ATTEMPTS):
        (day, day_version), (catalogue, version) = (pointer_and_version(uri) for uri in (root_uri, output_uri))
        now = _run_before(manifest, day, catalogue)
        if (now or {}).get("run_uri") != (before or {}).get("run_uri"):
            raise PartialRunError(
                f"{run_uri}: another run of this day came in between; the same command compares again"
            )
        moves = catalogue is None or catalogue["run_date"] <= manifest["run_date"]
        newest = manifest_of(catalogue, output_uri, run_uri)
        previous = (newest or now) if moves else (now or newest)
        gate = check_gate(manifest, previous, settings) + _check_churn(churn_rate, settings)
        failed = [check for check in gate if not check["ok"]]
        if failed:
            _note_refusal(manifest, gate)
            raise refusal(run_uri, failed)
        manifest = manifest | {"gate": gate, "forced": None}
        put_manifest(manifest)  # a reader who follows a pointer finds everything
        if not swap_pointer(root_uri, make_pointer(root_uri, manifest, day or _first_of(root_uri, now)), day_version):
            continue
        if moves and not swap_pointer(output_uri, make_pointer(output_uri, manifest, catalogue), version):
            continue
        manifest = manifest | {"outcome": "published", "pointers": named_by(manifest)}
        put_manifest(manifest)  # after the pointers, which are the truth: it never claims what is not so
        return manifest
    raise PartialRunError(f"{root_uri}: other publishers swap {POINTER_FILE} all the time; start again")


def _first_of(root_uri: str, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Stand for the pointer of a day that has none yet, so that `rollback` finds the run that the day had published."""
    if before is None or before["outcome"] != "published":
        return None
    return {"path": before["run_uri"][len(root_uri) :].strip("/"), "history": []}


def _check_churn(churn_rate: float | None, settings: GateSettings) -> list[dict[str, Any]]:
    if churn_rate is None:
        return []
    limit = settings.max_churn
    return [{"check": "max_churn", "value": churn_rate, "limit": limit, "ok": churn_rate <= limit}]


def _note_refusal(manifest: dict[str, Any], gate: list[dict[str, Any]]) -> None:
    """Note what became of a run that the gate refuses: a pointer may name it already, from an attempt before."""
    pointers = named_by(manifest)
    if pointers:
        put_manifest(manifest | {"outcome": "published", "pointers": pointers})
    else:
        put_manifest(manifest | {"gate": gate, "outcome": "refused"})
