from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubert_ood.ads.text import TextCleaner
from rubert_ood.runs.plan import Shard
from rubert_ood.runs.profile import (
    ADS_PER_RUN,
    ADS_PER_SHARD,
    MAX_NAMES,
    NAME_CHARACTERS,
    Cities,
    CityCounter,
    ProfileTally,
    ShardProfile,
    token_histogram,
    top_ood,
)
from tests.unit.messy_runs import BAD

CLEANER = TextCleaner(cities=["Москва", " Нижний Новгород "])
names = st.sampled_from(
    [
        None,
        "",
        " ",
        "Москва",
        "МОСКВА ",
        "нижний новгород",
        "Тверь",
        "тверь",
        "Омск",
        "Уфа",
    ]
)


def count_cities(values: Iterable[str | bytes | None]) -> Cities:
    counter = CityCounter(CLEANER)
    for value in values:
        counter.add(value)
    return counter.counts()


def _add_up(profiles: Iterable[ShardProfile]) -> ShardProfile:
    tally = ProfileTally()
    for profile in profiles:
        tally.add(profile)
    return tally.sums()


def _added(found: list[Cities | None]) -> Cities | None:
    return _add_up([ShardProfile(cities=cities) for cities in found]).cities


@given(st.lists(names, max_size=60))
def test_counts_are_those_of_pandas(values):
    series = pd.Series(values, dtype=object).dropna().str.strip().str.lower()
    cities = series[series != ""]
    unseen = cities[~cities.isin(["москва", "нижний новгород"])]
    assert count_cities(values).model_dump() == {
        "rows": len(cities),
        "rows_unseen": len(unseen),
        "unseen": unseen.value_counts().to_dict(),
    }


def test_a_name_that_is_not_utf8_is_no_city():
    assert count_cities(["Тверь", BAD, None, "Тверь"]).model_dump() == {
        "rows": 2,
        "rows_unseen": 2,
        "unseen": {"тверь": 2},
    }


def test_names_are_few_and_short_and_the_most_frequent():
    values = [f"город {n:02d} {'о' * 500}" for n in range(50) for _ in range(n)]
    found = count_cities(values)
    assert (found.rows, found.rows_unseen) == (1225, 1225)
    assert list(found.unseen.values()) == list(range(49, 49 - MAX_NAMES, -1))
    assert {len(name) for name in found.unseen} == {NAME_CHARACTERS}


def test_counts_of_shards_add_up():
    parts = [["Тверь", "Омск", "Москва"], [], ["тверь", "Уфа"], None]
    found = [None if part is None else count_cities(part) for part in parts]
    total = _added(found)
    assert total.model_dump() == {
        "rows": 5,
        "rows_unseen": 4,
        "unseen": {"тверь": 2, "омск": 1, "уфа": 1},
    }
    assert list(total.unseen) == ["тверь", "омск", "уфа"]
    assert _added([None, None]) is None
    assert _added([]) is None


def test_the_names_of_a_run_are_bounded():
    total = _added(
        [
            count_cities(f"город {shard} {n}" for n in range(MAX_NAMES))
            for shard in range(3)
        ]
    )
    assert (total.rows_unseen, len(total.unseen)) == (3 * MAX_NAMES, MAX_NAMES)


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
    rows.loc[empty, ["ood_distance", "ood_z", "ood_p", "confidence", "topk_labels"]] = (
        None
    )
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
    assert [ad.ad_id for ad in ads] == _expected(rows, ADS_PER_SHARD)
    by_id = rows.set_index("ad_id")
    for ad in ads:
        row = by_id.loc[ad.ad_id]
        assert (ad.label, ad.text, ad.uri) == (
            row["topk_labels"][0],
            f"текст {row['text_key']}",
            SHARD.uri,
        )
        for name in ("text_key", "is_ood", "ood_distance", "ood_z", "ood_p"):
            assert getattr(ad, name) == row[name]
        assert ad.confidence == pytest.approx(row["confidence"])


def test_without_texts_the_ads_are_the_same():
    rows = _part(100)
    texts = _texts(rows)
    with_texts, without = (
        top_ood(SHARD, _table(rows), t) for t in (texts, texts.select(["text_key"]))
    )
    assert without == [ad.model_copy(update={"text": None}) for ad in with_texts]


def test_the_farthest_of_a_run_are_those_of_its_shards_each_text_once():
    rng = np.random.default_rng(0)
    texts = [
        {"text_key": f"{n:032x}", "is_ood": n % 3 == 0, "ood_distance": float(n // 2)}
        for n in range(60)
    ]
    rest = {
        "label": "x",
        "confidence": 0.5,
        "ood_z": 0.0,
        "ood_p": 0.5,
        "text": None,
        "uri": "u",
    }
    shards = []
    for shard in range(5):
        chosen = rng.choice(60, ADS_PER_SHARD, replace=False)
        shards.append([{"ad_id": f"{shard}-{n}", **texts[n], **rest} for n in chosen])
    known = pd.DataFrame([ad for ads in shards for ad in ads]).drop_duplicates("text_key")
    ordered = known.sort_values(
        ["is_ood", "ood_distance", "text_key"], ascending=[False, False, True]
    )
    assert len(known) > ADS_PER_RUN
    merged = _add_up([ShardProfile.model_validate({"top_ood": ads}) for ads in shards])
    assert [ad.ad_id for ad in merged.top_ood] == ordered["ad_id"].tolist()[:ADS_PER_RUN]
    assert _add_up([]).top_ood == []


def test_lengths_and_padding_add_up_unless_a_shard_did_not_count_its_lengths():
    one, other = (token_histogram(np.array(lengths)) for lengths in ([0, 5, 2000], [5]))
    profiles = [
        ShardProfile(token_histogram=counts, padded_tokens=3, scored_tokens=2)
        for counts in (one, other)
    ]
    merged = _add_up(profiles)
    assert (merged.padded_tokens, merged.scored_tokens) == (6, 4)
    assert sum(merged.token_histogram) == 4
    assert merged.token_histogram == token_histogram(np.array([0, 5, 5, 2000]))
    incomplete = _add_up([*profiles, ShardProfile()])
    assert (incomplete.token_histogram, incomplete.scored_tokens) == ([], None)
