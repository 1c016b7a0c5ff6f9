import os
import re
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from rubert_ood.ads.text import ad_text
from rubert_ood.runs.plan import Shard
from rubert_ood.scoring.estimate import PIECE_ROWS, Estimate, _pieces, estimate
from rubert_ood.scoring.planning import make_plan
from rubert_ood.settings import PlanSettings
from tests.conftest import damage_first_page

NUM_ADS = 300


@pytest.fixture
def settings(three_hundred_ads) -> PlanSettings:
    return three_hundred_ads


def test_estimate_of_a_long_time_scores_every_ad_once(settings, bundle, ads):
    run_plan = make_plan(settings, bundle)
    measured = estimate(run_plan, bundle, for_s=1e9)
    pairs = zip(ads["title"].to_pylist(), ads["description"].to_pylist(), strict=True)
    texts = [bundle.cleaner.clean(ad_text(*pair)) for pair in pairs][:NUM_ADS]
    ids = AutoTokenizer.from_pretrained(bundle.folder)(
        texts, truncation=True, max_length=bundle.text.max_length
    )["input_ids"]
    # shards of 100 rows are pieces of their own, and a text is computed once in each
    folded = sum(
        len(
            dict(zip(texts[start : start + 100], ids[start : start + 100], strict=True))[
                text
            ]
        )
        for start in range(0, NUM_ADS, 100)
        for text in {text for text in texts[start : start + 100] if text}
    )
    assert min(PIECE_ROWS.values()) > 100
    assert measured.num_ads == NUM_ADS
    assert measured.tokens_per_ad == folded / NUM_ADS
    assert measured.ads_per_s > 1
    assert measured.cores == len(os.sched_getaffinity(0))
    assert measured.encode_core_s > 0
    assert measured.network_s > 0


def test_estimate_of_a_short_time_stops_after_a_piece(settings, bundle):
    assert estimate(make_plan(settings, bundle), bundle, for_s=1e-9).num_ads == 100


def test_estimate_names_what_cannot_be_read_and_leaves_it_out(
    settings, bundle, tmp_path, caplog
):
    damage_first_page(tmp_path / "in" / "b.parquet")
    run_plan = make_plan(settings, bundle)
    assert estimate(run_plan, bundle, for_s=1e9).num_ads == 200
    assert re.search(
        r"estimate .*/b\.parquet: the file cannot be read as Parquet", caplog.text
    )


def test_estimate_without_a_row_that_can_be_read_is_none(settings, bundle, tmp_path):
    for path in (tmp_path / "in").iterdir():
        damage_first_page(path)
    plan = make_plan(settings, bundle)
    damaged = [shard for shard in plan.shards if shard.start == 0]
    assert len(damaged) == 2
    assert estimate(replace(plan, shards=damaged), bundle, for_s=1e9) is None


def test_pieces_of_shards_are_one_of_each_before_the_next_and_hold_every_row_once():
    rows = 128
    stops = [2 * rows + 5, 3, rows]
    shards = [Shard(str(n), str(n), {}, 10, 10 + stop) for n, stop in enumerate(stops)]
    pieces = list(_pieces(shards, rows))
    assert {piece.uri for piece in pieces[:3]} == {"0", "1", "2"}
    assert max(piece.num_rows for piece in pieces) == rows
    for shard in shards:
        found = [
            row
            for piece in pieces
            if piece.uri == shard.uri
            for row in range(piece.start, piece.stop)
        ]
        assert sorted(found) == list(range(shard.start, shard.stop))
    assert list(_pieces([], rows)) == []


def test_first_pieces_of_many_shards_stand_all_over_them():
    rows, num_shards = 10, 400
    shards = [Shard(f"{n:05d}-ab", str(n), {}, 0, 10 * rows) for n in range(num_shards)]
    first = list(_pieces(shards, rows))[:num_shards]
    places = [piece.start // rows for piece in first]
    # 40 shards begin at each of ten places, with a standard deviation of 6
    assert [15 < places.count(place) < 65 for place in range(10)] == [True] * 10


def _estimate(encode_core_s: float, *, cores: int, use_gpu: bool) -> Estimate:
    return Estimate(100, 40.0, encode_core_s, 0.001, cores, use_gpu)


def test_estimate_of_a_gpu_waits_for_the_slower_of_the_two():
    fed = _estimate(0.003, cores=4, use_gpu=True)
    assert (round(fed.ads_per_s), fed.bottleneck) == (1000, "the network")
    hungry = _estimate(0.003, cores=2, use_gpu=True)
    assert (round(hungry.ads_per_s), hungry.bottleneck) == (667, "encoding")
    assert fed.wanted_cores == hungry.wanted_cores == 3


def test_estimate_without_a_gpu_adds_the_two_which_need_the_same_cores():
    measured = _estimate(0.001, cores=2, use_gpu=False)
    assert round(measured.ads_per_s) == 667
    assert measured.bottleneck == "the network"


def test_estimate_with_reuse_asks_the_network_for_the_texts_that_are_left():
    measured = replace(_estimate(0.001, cores=2, use_gpu=False), reused_share=0.75)
    assert round(measured.ads_per_s) == 667
    assert round(measured.ads_per_s_with_reuse) == round(1 / (0.0005 + 0.00025))
    checked = replace(
        measured, checked_share=0.2
    )  # of 0.75 a fifth is asked all the same
    assert round(checked.ads_per_s_with_reuse) == round(1 / (0.0005 + 0.0004))
