"""What a manifest says of its shards, against plain Python over all of them."""

import hashlib
import json
import random

import pytest

from rubert_ood.runs.shard_sums import (
    DIGESTED,
    REJECTING_FILES,
    SLOWEST_SHARDS,
    ScoredShard,
    ShardSums,
    ShardTally,
    sum_shards,
)


def _shards(num_shards: int, *, seed: int = 0) -> list[ScoredShard]:
    rng = random.Random(seed)
    shards = []
    for number in range(num_shards):
        minute, second = divmod(number, 60)
        shards.append(
            ScoredShard(
                shard_id=f"{number:05d}-ab",
                part_sha256=f"{rng.getrandbits(256):064x}",
                uri=f"in/{number // 4}.parquet",
                start=10 * number,
                stop=10 * number + 10,
                rows_in=10,
                rows_scored=10,
                rows_rejected=rng.randrange(3),
                ids_in=rng.getrandbits(64),
                classes={"Шины": 4, "Other": rng.randrange(7)},
                seconds=float(rng.randrange(20)),  # many are equal
                finished_at=f"2026-11-24T10:{minute:02d}:{second:02d}.250+00:00",
            )
        )
    return shards


def _digest(shards: list[ScoredShard], names: tuple[str, ...]) -> str:
    content = [shard.model_dump() for shard in shards]
    lines = [
        json.dumps([values[name] for name in names], sort_keys=True, ensure_ascii=False)
        for values in content
    ]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def test_sum_shards_takes_the_slowest_and_the_worst_files_as_a_sort_of_all_does():
    shards = _shards(300)
    sums = sum_shards(shards)
    slowest = sorted(shards, key=lambda shard: -shard.seconds)[:SLOWEST_SHARDS]
    assert [shard.shard_id for shard in sums.slowest] == [s.shard_id for s in slowest]
    rejected: dict[str, int] = {}
    for shard in shards:
        rejected[shard.uri] = rejected.get(shard.uri, 0) + shard.rows_rejected
    worst = sorted(rejected.items(), key=lambda item: (-item[1], item[0]))
    found = [(file.uri, file.rejected, file.rows) for file in sums.rejecting]
    assert found == [(uri, count, 40) for uri, count in worst[:REJECTING_FILES]]


def test_sum_shards_digests_every_field_that_two_starts_agree_on():
    shards = _shards(5)
    sums = sum_shards(shards)
    assert sums.parts_sha256 == _digest(shards, ("shard_id", "part_sha256"))
    assert sums.shards_sha256 == _digest(shards, DIGESTED)
    digested = ScoredShard.model_fields.keys() - {"seconds", "finished_at"}
    assert set(DIGESTED) == digested


@pytest.mark.parametrize("name", DIGESTED)
def test_sum_shards_has_another_digest_when_one_field_is_another(name):
    shards = _shards(5)
    others = {"classes": {"Шины": 1}, "uri": "in/x.csv", "shard_id": "x"}
    other = others.get(name, 77)
    edited = [*shards[:3], shards[3].model_copy(update={name: other}), shards[4]]
    first, second = sum_shards(shards), sum_shards(edited)
    assert first.shards_sha256 != second.shards_sha256
    is_of_the_part = name in ("shard_id", "part_sha256")
    assert (first.parts_sha256 != second.parts_sha256) == is_of_the_part


def test_sum_shards_has_the_same_digests_at_other_times():
    shards = _shards(5)
    later = {"seconds": 99.0, "finished_at": "2026-11-25T10:00:00+00:00"}
    again = sum_shards([shard.model_copy(update=later) for shard in shards])
    first = sum_shards(shards)
    assert (again.parts_sha256, again.shards_sha256) == (
        first.parts_sha256,
        first.shards_sha256,
    )


def test_sum_shards_of_none_says_nothing():
    assert sum_shards([]) == ShardSums()


def test_rows_since_counts_the_shards_that_ended_then_or_later():
    tally = ShardTally()
    for shard in _shards(100):
        tally.add(shard)
    assert tally.rows_since("2026-11-24T10:01:00.250+00:00") == 10 * 40
    assert tally.rows_since("2026-11-24T13:01:00.500+03:00") == 10 * 39
    assert ShardTally().rows_since("2026-11-24T10:01:00+00:00") == 0


def test_speed_counts_every_ad_in_the_stretch_in_which_its_shard_ended():
    ends = [3, 4, 5, 6, 9, 11, 14, 15, 16, 20]
    speed = sum_shards(
        ScoredShard(
            shard_id="x",
            part_sha256="0",
            rows_in=100 * (number + 1),
            seconds=3.0,
            finished_at=f"2026-11-24T10:00:{end:02d}+00:00",
        )
        for number, end in enumerate(ends)
    ).speed
    assert speed.edges_s == pytest.approx([0.0, 10.0, 20.0])  # the first began at :00
    assert speed.ads_per_s == pytest.approx(
        [(100 + 200 + 300 + 400 + 500) / 10, (600 + 700 + 800 + 900 + 1000) / 10]
    )
