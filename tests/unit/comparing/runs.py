"""Runs of random rows: parts on disk, and what a comparison reads of their folder."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood.comparing.counts import ROW_SCHEMA
from rubert_ood.comparing.document import Side
from rubert_ood.comparing.whole_run import WholeRun
from rubert_ood.runs.plan import BundleName

LABELS = ["Мебель", "Шины", "Other"]
PART_SCHEMA = pa.schema([field for field in ROW_SCHEMA if field.name != "in_b"])


def random_run(
    folder: Path, *, seed: int, num_parts: int = 5, part_rows: int = 40
) -> WholeRun:
    """Write parts of random rows; some ids occur twice, some only in one of two runs."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(num_parts):
        confidence = rng.choice([0.25, 0.5, 0.75], part_rows).tolist()
        confidence[0] = None
        columns = {
            "ad_id": [
                f"ад {n}" for n in rng.integers(0, 2 * num_parts * part_rows, part_rows)
            ],
            "label": rng.choice(LABELS, part_rows).tolist(),
            "confidence": confidence,
            "is_ood": (rng.uniform(size=part_rows) < 0.3).tolist(),
            "ood_distance": rng.uniform(1, 100, part_rows).tolist(),
            "text_key": rng.choice(["k1", "k2"], part_rows).tolist(),
        }
        path = folder / f"part-{number:05d}.parquet"
        pq.write_table(pa.table(columns, schema=PART_SCHEMA), path)
        parts.append((str(path), part_rows))
    side = Side(
        rows=num_parts * part_rows,
        run_uri=str(folder),
        run_id=folder.name,
        run_date="2026-11-24",
        bundle=BundleName(uri="/b", version="v1", fingerprint="f" * 64),
        outcome="published",
    )
    return WholeRun(side, parts)
