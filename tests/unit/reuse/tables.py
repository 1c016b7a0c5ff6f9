"""Rows of a part with random results, for tests of the index."""

import numpy as np
import pyarrow as pa

from rubert_ood.ads.text import text_key
from rubert_ood.runs.part import part_schema

LABELS = ["Авто", "Дом", "Мебель", "Other"]
TOP_K, HIDDEN = 3, 5


def random_rows(
    num_rows: int,
    *,
    seed: int = 0,
    subheads: bool = False,
    embedding: bool = False,
    run_id: str = "night",
) -> pa.Table:
    """Rows of different texts."""
    rng = np.random.default_rng(seed)
    names = rng.choice(LABELS, (num_rows, TOP_K)).tolist()
    columns = {
        "ad_id": [f"{seed}-{number}" for number in range(num_rows)],
        "label": rng.choice(LABELS, num_rows).tolist(),
        "confidence": rng.random(num_rows, np.float32),
        "topk_labels": names,
        "topk_scores": rng.random((num_rows, TOP_K), np.float32).tolist(),
        "is_ood": rng.random(num_rows) < 0.5,
        "ood_distance": rng.normal(size=num_rows) ** 2,
        "ood_z": rng.normal(size=num_rows),
        "ood_p": rng.random(num_rows),
        "status": ["ok"] * num_rows,
        "num_tokens": rng.integers(1, 200, num_rows),
        "num_chunks": rng.integers(1, 8, num_rows),
        "is_cut": rng.random(num_rows) < 0.5,
        "text_key": [text_key(f"{seed} {number}") for number in range(num_rows)],
        "scored_in": [run_id] * num_rows,
    }
    if subheads:
        columns["sub_label"] = rng.choice(["новые", None], num_rows).tolist()
        columns["sub_confidence"] = [
            None if name is None else 0.25 for name in columns["sub_label"]
        ]
    if embedding:
        vectors = rng.random((num_rows, HIDDEN)).astype(np.float16)
        flat = pa.array(vectors.ravel())
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, HIDDEN)
    schema = part_schema([], HIDDEN if embedding else None, {}, subheads=subheads)
    return pa.table(columns, schema=schema)
