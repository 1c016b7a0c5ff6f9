"""Samples of shards merge into one that no shard and no attempt changes."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError

from rubert_ood.runs.night_sample import (
    ADS,
    KEY_BITS,
    SURPLUS,
    NightSample,
    merged,
    night_sample,
    sample_limit,
)

LABELS = ["Книги", "Кошки", "Шины"]


def part(num_rows: int) -> pa.Table:
    """Ads of which each third has the text of the one before."""
    rng = np.random.default_rng(num_rows)
    p_N3 = np.sort(rng.dirichlet([1, 1, 1], num_rows))[:, ::-1]
    numbers = np.arange(num_rows)
    return pa.table(
        {
            "ad_id": [f"ad-{number}" for number in numbers],
            "confidence": pa.array(p_N3[:, 0], pa.float32()),
            "is_ood": np.zeros(num_rows, bool),
            "text_key": [f"text-{number - (number % 3 == 2)}" for number in numbers],
            "topk_labels": [list(rng.permutation(LABELS)[:2]) for _ in numbers],
            "topk_scores": pa.array(p_N3[:, :2].tolist(), pa.list_(pa.float32())),
        }
    )


def keys(table: pa.Table) -> np.ndarray:
    return pd.util.hash_array(np.array(table["ad_id"].to_pylist(), object)) >> np.uint64(
        64 - KEY_BITS
    )


def as_rows(sample: NightSample) -> list[tuple]:
    rows = []
    for key, text, best, p in zip(
        sample.key, sample.text, sample.best, sample.p, strict=True
    ):
        rows.append((key, text, [sample.names[number] for number in best], p))
    return rows


def test_night_sample_merged_is_the_same_whatever_the_shards_are():
    table, limit = part(9_000), sample_limit(9_000)
    found = []
    for size in (700, 4_000, 9_000):
        shards = [table.slice(start, size) for start in range(0, 9_000, size)]
        found.append(as_rows(merged(night_sample(shard, limit) for shard in shards)))
    assert found[0] == found[1] == found[2]
    order = np.argsort(keys(table))[:ADS]
    assert [row[0] for row in found[0]] == keys(table)[order].tolist()
    rows = table.take(order).to_pylist()
    assert [row[2] for row in found[0]] == [row["topk_labels"] for row in rows]
    scores = [p for row in found[0] for p in row[3]]
    assert scores == pytest.approx(
        [p for row in rows for p in row["topk_scores"]], abs=1e-6
    )
    texts = [row["text_key"] for row in rows]
    assert len({row[1] for row in found[0]}) == len(set(texts))


def test_night_sample_of_a_night_with_new_ads_keeps_those_of_the_old():
    table = part(9_000)
    before = night_sample(table.slice(0, 8_900), sample_limit(8_900))
    now = night_sample(table, sample_limit(9_000))
    kept = {row[0] for row in as_rows(merged([before]))}
    assert len(kept & {row[0] for row in as_rows(merged([now]))}) > 0.97 * ADS


def test_night_sample_leaves_out_ads_without_text_and_flagged_ones():
    table = part(30)
    confidence = pa.array([None] * 10 + [0.5] * 20, pa.float32())
    is_ood = pa.array([False] * 20 + [True] * 10)
    table = table.set_column(1, "confidence", confidence).set_column(2, "is_ood", is_ood)
    found = night_sample(table, sample_limit(30))
    assert sorted(found.key) == sorted(keys(table)[10:20].tolist())
    nothing = night_sample(table.slice(0, 10), sample_limit(30))
    assert (nothing.key, merged([nothing, nothing]).p) == ([], [])


def test_night_sample_of_a_shard_is_a_bounded_part_of_a_large_run():
    table, limit = part(5_000), sample_limit(1_000_000)
    found = night_sample(table, limit)
    share = SURPLUS * ADS / 1_000_000
    assert len(found.key) == (keys(table) < share * 2**KEY_BITS).sum()
    assert 5 <= len(found.key) <= 60
    lowest = table["ad_id"][int(np.argmin(keys(table)))].as_py()
    doubled = table.set_column(0, "ad_id", pa.array([lowest] * 5_000))
    assert len(night_sample(doubled, limit).key) == 100  # 50 and twice the 25 expected


def test_night_sample_survives_json_and_holds_no_id_and_no_text():
    found = night_sample(part(50), sample_limit(50))
    written = found.model_dump_json()
    assert NightSample.model_validate_json(written) == found
    assert "ad-" not in written
    assert "text-" not in written


@pytest.mark.parametrize(
    "change", [{"key": [1]}, {"names": ["Книги"]}, {"p": [[0.5]] * 50}]
)
def test_night_sample_whose_columns_do_not_fit_is_refused(change):
    content = night_sample(part(50), sample_limit(50)).model_dump() | change
    with pytest.raises(ValidationError):
        NightSample.model_validate(content)
