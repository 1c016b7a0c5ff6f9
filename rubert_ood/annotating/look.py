"""One pass over the files of a run, piece by piece: memory does not grow with the run."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from rubert_ood import storage
from rubert_ood.ads.schema import has
from rubert_ood.ads.tables import inspect, read_rows
from rubert_ood.annotating.pools import ID_HASH, Pools, id_hashes
from rubert_ood.annotating.register import Register
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.progress import Progress
from rubert_ood.runs.manifest import Manifest, find_manifest
from rubert_ood.runs.plan import load_plan

PIECE_ROWS = 2**17
"""Rows that are read at a time: a row group of a sealed file."""
NEEDED = ("ad_id", "label", "confidence", "topk_labels", "is_ood")
RANKED = ("ood_distance", "ood_p", "status", "text_key")
FINER = ("sub_label", "sub_confidence")
"""Only where the bundle has sub-heads."""


def whole_run(run_uri: str) -> Manifest:
    """Read the manifest of a run; InputError where it was not scored to its end, or is not a
    run."""
    run_uri = storage.absolute(run_uri)
    manifest = find_manifest(run_uri)
    if manifest is None:
        load_plan(run_uri)  # refuses what is not the folder of a run
    if manifest is None or not manifest.is_whole or not manifest.files:
        outcome = manifest.outcome if manifest else "planned"
        raise InputError(
            f"{run_uri}: this run is not complete (outcome {outcome})."
            " Run its `score` command again to finish it"
        )
    return manifest


def look(manifest: Manifest, register: Register, pools: Pools) -> None:
    """Show every row of the run to the pools.

    Raises SchemaError for a file without a column that ranks, InputError for one that is gone.
    """
    total = sum(file.rows for file in manifest.files)
    progress = Progress("export", total, "ads")
    for file in manifest.files:
        uri = storage.join(manifest.run_uri, file.path)
        names = _columns(uri)
        for start in range(0, file.rows, PIECE_ROWS):
            stop = min(start + PIECE_ROWS, file.rows)
            _look_at(read_rows(uri, names, start=start, stop=stop), register, pools)
            progress.add(stop - start)


def _columns(uri: str) -> list[str]:
    schema = inspect(uri).schema
    for name in (*NEEDED, *RANKED):
        if name not in schema.names:
            raise SchemaError(
                f"{uri}: the file has no column {name!r}. {has(uri, schema, NEEDED)}"
            )
    finer = [name for name in FINER if name in schema.names]
    return [*NEEDED, *RANKED, *finer]


def _look_at(table: pa.Table, register: Register, pools: Pools) -> None:
    ids = table["ad_id"].to_numpy(zero_copy_only=False)
    hashes_N = id_hashes(ids)
    is_seen_N = register.seen(hashes_N, table["text_key"])
    best = pc.list_slice(table["topk_labels"], 0, 1)
    rows: pd.DataFrame = table.drop_columns("topk_labels").to_pandas()
    rows["best"] = [names[0] if names else None for names in best.to_pylist()]
    pools.add(rows.assign(**{ID_HASH: hashes_N}), is_seen_N)
