"""The ads that lie farthest from every class, for the report: flagged ones first, each different
text once."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rubert_ood.runs.plan import Shard

ADS_PER_SHARD = 10
ADS_PER_RUN = 20
COPIED = ("ad_id", "text_key", "confidence", "is_ood", "ood_distance", "ood_z", "ood_p")


def top_ood(shard: Shard, part: pa.Table, texts: pa.Table) -> list[dict[str, Any]]:
    """Describe the farthest ads of a part; of equal texts the first ad. `texts`: text_key, excerpt
    (may be absent)."""
    part = part.filter(pc.is_valid(part["ood_distance"]))  # an ad without text has none
    _, first = np.unique(part["text_key"].to_numpy(), return_index=True)
    candidates = part.select(["text_key", "is_ood", "ood_distance"]).take(first)
    order = np.lexsort(
        (
            candidates["text_key"].to_numpy(),
            -candidates["ood_distance"].to_numpy(),
            ~candidates["is_ood"].to_numpy(),
        )
    )
    rows = part.select([*COPIED, "topk_labels"]).take(first[order[:ADS_PER_SHARD]])
    excerpts = _excerpts(rows["text_key"], texts)
    return [
        {name: row[name] for name in COPIED}
        | {"label": row["topk_labels"][0], "text": text, "uri": shard.uri}
        for row, text in zip(rows.to_pylist(), excerpts, strict=True)
    ]


def _excerpts(keys: pa.ChunkedArray, texts: pa.Table) -> list[str | None]:
    if "excerpt" not in texts.schema.names:
        return [None] * len(keys)
    return (
        texts["excerpt"]
        .take(pc.index_in(keys, value_set=texts["text_key"].combine_chunks()))
        .to_pylist()
    )


def merge_top(found: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the farthest ads of a run from those of its shards in plan order; a text that returns
    counts once."""
    texts: dict[str, dict[str, Any]] = {}
    for ads in found:
        for ad in ads:
            texts.setdefault(ad["text_key"], ad)
    order = sorted(
        texts.values(), key=lambda ad: (not ad["is_ood"], -ad["ood_distance"], ad["text_key"])
    )
    return order[:ADS_PER_RUN]
