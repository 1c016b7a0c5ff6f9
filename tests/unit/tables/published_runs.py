"""Runs with real parts, published without a model: what tables register."""

import hashlib
import io
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyiceberg.catalog import Catalog, load_catalog

from rubert_ood import storage
from rubert_ood.publishing.publish import publish_run
from rubert_ood.runs.manifest import Manifest, TableNote, read_manifest
from rubert_ood.runs.part import part_schema
from rubert_ood.settings import GateSettings
from rubert_ood.tables import follow
from rubert_ood.tables.follow import follow_pointer
from tests.unit.publishing.manifests import a_manifest, changed, put_manifest

OPEN = GateSettings(max_class_shift=1, min_rows_ratio=0, max_ood_rate=1, max_other_rate=1)
CATALOG, ICEBERG_NAME = "unit", "ads.classified"
ICEBERG = TableNote(kind="iceberg", name=ICEBERG_NAME, catalog=CATALOG)


def delta(out: str) -> TableNote:
    return TableNote(kind="delta", name=out)


def both(out: str) -> list[TableNote]:
    return [ICEBERG, delta(out)]


def rows_of(run_id: str, num_rows: int, carried: dict[str, pa.Array]) -> pa.Table:
    """The rows of a part: ids that name the run, one label, and carried columns."""
    fields = [pa.field(name, values.type) for name, values in carried.items()]
    metadata = {"run_id": run_id, "bundle": "f" * 64}
    schema = part_schema(fields, None, metadata)
    columns: dict[str, Any] = {
        "ad_id": [f"{run_id}-{number}" for number in range(num_rows)],
        "label": ["Мебель"] * num_rows,
        "confidence": [0.5] * num_rows,
        "topk_labels": [["Мебель", "Шины"]] * num_rows,
        "topk_scores": [[0.5, 0.25]] * num_rows,
        "is_ood": [False] * num_rows,
        **carried,
    }
    arrays = [
        pa.array(columns.get(field.name, [None] * num_rows), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def put_run(
    out: str,
    run_id: str,
    *,
    num_rows: int = 3,
    num_parts: int = 2,
    finished: str = "10:00:00",
    day: str = "2026-11-24",
    **carried: pa.Array,
) -> Manifest:
    """Write a complete run whose parts have so many rows each."""
    finished_at = f"2026-11-25T{finished}+00:00"
    manifest = a_manifest(
        out,
        run_id,
        {"Мебель": num_rows * num_parts},
        run_date=day,
        finished_at=finished_at,
        rows_ood=0,
    )
    shards = []
    for number in range(num_parts):
        rows = rows_of(run_id, num_rows, carried)
        ids = [f"{run_id}-{number}-{row}" for row in range(num_rows)]
        sink = io.BytesIO()
        pq.write_table(rows.set_column(0, rows.schema.field(0), [ids]), sink)
        name, data = f"{run_id}-{number}", sink.getvalue()
        storage.put_bytes(storage.join(manifest.run_uri, f"part-{name}.parquet"), data)
        sha256 = hashlib.sha256(data).hexdigest()
        shards.append({"shard_id": name, "part_sha256": sha256, "rows_scored": num_rows})
    manifest = changed(manifest, shards=shards, code_version="0.5.0")
    put_manifest(manifest)
    return manifest


def put_published(out: str, run_id: str, **options: Any) -> Manifest:
    """Write a run, let the pointer name it and both tables follow."""
    manifest = publish_run(put_run(out, run_id, **options), OPEN)
    follow_pointer(out, both(out))
    return read_manifest(manifest.run_uri)


def catalog() -> Catalog:
    """Return the catalog that the environment describes, as any reader finds it."""
    from pyiceberg.utils.config import Config

    return load_catalog(CATALOG, **(Config().get_catalog_config(CATALOG) or {}))


def iceberg_rows() -> pa.Table:
    """Read the Iceberg table through DuckDB."""
    scan = catalog().load_table(ICEBERG_NAME).scan()
    return scan.to_duckdb("ads").sql("SELECT * FROM ads ORDER BY ad_id").to_arrow_table()


def delta_rows(out: str) -> pa.Table:
    """Read the Delta table through DuckDB."""
    ads = DeltaTable(out).to_pyarrow_dataset()  # noqa: F841
    return duckdb.sql("SELECT * FROM ads ORDER BY ad_id").to_arrow_table()


def ids(rows: pa.Table) -> list[str]:
    return rows["ad_id"].to_pylist()


def expected_ids(run_id: str, num_rows: int = 3, num_parts: int = 2) -> list[str]:
    numbers = range(num_rows)
    found = [f"{run_id}-{part}-{row}" for part in range(num_parts) for row in numbers]
    return sorted(found)


def held(out: str) -> tuple[list[str], list[str]]:
    """Return the ids in the Iceberg and in the Delta table."""
    return ids(iceberg_rows()), ids(delta_rows(out))


def versions(out: str) -> tuple[int, int]:
    """Return how many snapshots the Iceberg table has, and the version of the Delta table."""
    table = catalog().load_table(ICEBERG_NAME)
    return len(table.metadata.snapshots), DeltaTable(out).version()


def follow_asleep(
    out: str, table: TableNote, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Follow the pointer as a publisher that falls asleep once it has seen which run is published,
    while another one publishes r2 and registers it; return what was seen."""
    real, seen = follow.published_run, []

    def sleepy(output_uri, known=None):
        run = real(output_uri, known)
        if not seen:
            seen.append(run.path)
            publish_run(put_run(out, "r2", finished="11:00:00"), OPEN)
            follow_pointer(out, [table])
        return run

    monkeypatch.setattr(follow, "published_run", sleepy)
    follow_pointer(out, [table])
    return seen
