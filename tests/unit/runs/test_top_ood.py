import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rubert_ood.runs.top_ood import (
    ADS_PER_RUN,
    ADS_PER_SHARD,
    merge_top,
    top_ood,
)

from rubert_ood.runs.plan import Shard

SHARD = Shard("00000-ab", "ads.parquet", {}, 0, 0)


def _part(num_rows: int, *, seed: int = 0, num_ood: int = 3) -> pd.DataFrame:
    """Made-up predictions in which texts repeat, distances tie, and some ads have no text."""
    rng = np.random.default_rng(seed)
    text = rng.integers(0, max(num_rows // 2, 1), num_rows)
    d2 = (text * 7919 % 13 * 10.0) + 1  # many texts share a distance
    rows = pd.DataFrame(
        {
            "ad_id": [f"{seed}-{n}" for n in range(num_rows)],
            "text_key": [f"{value:032x}" for value in text],
            "confidence": (text % 10 / 10).astype(np.float32),
            "is_ood": text < num_ood,
            "ood_distance": d2,
            "ood_z": d2 / 7,
            "ood_p": 1 / d2,
            "topk_labels": [[f"класс {value % 4}", "другой"] for value in text],
        }
    )
    empty = rows.index % 11 == 5
    rows.loc[empty, ["ood_distance", "ood_z", "ood_p", "confidence", "topk_labels"]] = None
    rows.loc[empty, ["text_key", "is_ood"]] = ["e" * 32, False]
    return rows


def _table(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, preserve_index=False)


def _texts(rows: pd.DataFrame) -> pa.Table:
    keys = sorted(set(rows["text_key"]))[::-1]
    return pa.table({"text_key": keys, "excerpt": [f"текст {key}" for key in keys]})


def _expected(rows: pd.DataFrame, count: int) -> list[str]:
    known = rows.dropna(subset="ood_distance").drop_duplicates("text_key")
    ordered = known.sort_values(
        ["is_ood", "ood_distance", "text_key"], ascending=[False, False, True]
    )
    return ordered["ad_id"].tolist()[:count]


@pytest.mark.parametrize(("num_rows", "num_ood"), [(200, 3), (200, 60), (15, 0), (1, 1)])
def test_the_farthest_ads_are_those_of_pandas(num_rows, num_ood):
    rows = _part(num_rows, num_ood=num_ood)
    ads = top_ood(SHARD, _table(rows), _texts(rows))
    assert [ad["ad_id"] for ad in ads] == _expected(rows, ADS_PER_SHARD)
    by_id = rows.set_index("ad_id")
    for ad in ads:
        row = by_id.loc[ad["ad_id"]]
        assert (ad["label"], ad["text"], ad["uri"]) == (
            row["topk_labels"][0],
            f"текст {row['text_key']}",
            SHARD.uri,
        )
        for name in ("text_key", "is_ood", "ood_distance", "ood_z", "ood_p"):
            assert ad[name] == row[name]
        assert ad["confidence"] == pytest.approx(row["confidence"])


def test_without_texts_the_ads_are_the_same():
    rows = _part(100)
    texts = _texts(rows)
    with_texts, without = (
        top_ood(SHARD, _table(rows), t) for t in (texts, texts.select(["text_key"]))
    )
    assert without == [ad | {"text": None} for ad in with_texts]


def test_the_farthest_of_a_run_are_those_of_its_shards_each_text_once():
    rng = np.random.default_rng(0)
    texts = [
        {"text_key": f"{n:032x}", "is_ood": n % 3 == 0, "ood_distance": float(n // 2)}
        for n in range(60)
    ]
    shards = [
        [texts[n] | {"ad_id": f"{shard}-{n}"} for n in rng.choice(60, ADS_PER_SHARD, replace=False)]
        for shard in range(5)
    ]
    known = pd.DataFrame([ad for ads in shards for ad in ads]).drop_duplicates("text_key")
    ordered = known.sort_values(
        ["is_ood", "ood_distance", "text_key"], ascending=[False, False, True]
    )
    assert len(known) > ADS_PER_RUN
    assert merge_top(shards) == ordered.head(ADS_PER_RUN).to_dict("records")
    assert merge_top([]) == []
