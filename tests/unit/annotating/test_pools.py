import numpy as np
import pandas as pd

from rubert_ood.annotating.mix import numbers
from rubert_ood.annotating.pools import ID_HASH, NUM_EXTRA, RESERVE, Pools, id_hashes
from rubert_ood.settings import MixSettings

NUM = 3_000


def _rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    ids = np.array([f"ad-{number}" for number in range(NUM)], object)
    distance = rng.random(NUM) * 100
    return pd.DataFrame(
        {
            "ad_id": ids,
            "status": "ok",
            "confidence": rng.random(NUM),
            "is_ood": distance > 70,
            "ood_p": np.clip(1 - np.floor(distance / 10) / 10, 0.01, 1),
            "ood_distance": distance,
            "text_key": [f"text-{number // 2}" for number in range(NUM)],
            ID_HASH: id_hashes(ids),
        }
    )


def _filled(rows: pd.DataFrame, piece: int) -> Pools:
    pools = Pools.of(numbers(20, MixSettings()), seed=1)
    for start in range(0, NUM, piece):
        part = rows[start : start + piece]
        pools.add(part, np.zeros(len(part), bool))
    return pools


def test_pools_of_pieces_hold_the_best_of_the_whole() -> None:
    rows = _rows()
    whole, pieces = _filled(rows, NUM), _filled(rows, 137)
    assert pieces.pools["sub_unsure"].rows.empty
    for kind, pool in whole.pools.items():
        if kind == "sub_unsure":
            continue
        assert pieces.pools[kind].rows["ad_id"].tolist() == pool.rows["ad_id"].tolist()
    ood = rows[rows["is_ood"]].sort_values("ood_distance")
    for kind, ordered in (("near_limit", ood), ("far", ood[::-1])):
        pool = pieces.pools[kind]
        expected = ordered.drop_duplicates("text_key")["ad_id"].head(pool.size)
        assert pool.rows["ad_id"].tolist() == expected.tolist()
    assert len(pieces.pools["random"].rows) == RESERVE * 4 + NUM_EXTRA


def test_pools_leave_out_and_count_empty_and_seen_ads() -> None:
    rows = _rows()
    rows.loc[:9, "status"] = "empty"
    is_seen = np.arange(NUM) % 2 == 0
    pools = Pools.of(numbers(20, MixSettings()), seed=1)
    pools.add(rows, is_seen)
    assert (pools.num_rows, pools.num_empty) == (NUM, 10)
    assert pools.num_seen + pools.num_eligible + 10 == NUM
    taken = {int(name.removeprefix("ad-")) for name in pools.candidates()["ad_id"]}
    assert all(number > 9 and number % 2 for number in taken)


def test_random_control_draws_every_ad_with_the_same_chance() -> None:
    rows = _rows()[:100]
    drawn = np.zeros(100)
    for seed in range(2_000):
        order = np.argsort(id_hashes(rows["ad_id"].to_numpy(object), seed))
        drawn[order[:10]] += 1
    assert abs(drawn - 200).max() < 5 * np.sqrt(200 * 0.9)
