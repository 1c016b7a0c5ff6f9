"""Sums of the night: they add up, and say of the flags what the rows say."""

import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.runs.night_sums import (
    CONFIDENCE_LIMITS,
    P_LIMITS,
    add_sums,
    binned,
    night_sums,
    ood_flags,
)


def part(num_rows: int) -> pa.Table:
    rng = np.random.default_rng(num_rows)
    p_N = rng.uniform(0, 1, num_rows)
    p_N[: num_rows // 50] = 0.00005
    return pa.table(
        {
            "confidence": pa.array(rng.uniform(0, 1, num_rows), pa.float32()),
            "ood_p": p_N,
            "is_ood": p_N <= 0.01,
        }
    )


def test_night_sums_of_shards_add_up_to_those_of_all_rows():
    one, other = part(500), part(800)
    added = add_sums(add_sums(None, night_sums(one)), night_sums(other))
    whole = night_sums(pa.concat_tables([one, other]))
    assert added.confidence == whole.confidence
    assert (added.p, added.p_flagged, added.p_last) == (
        whole.p,
        whole.p_flagged,
        whole.p_last,
    )
    assert added.confidence_sum == pytest.approx(whole.confidence_sum)
    assert added.num_ads == 1_300


def test_night_sums_leave_out_ads_without_text():
    empty = pa.table({"confidence": [None], "ood_p": [None], "is_ood": [False]})
    rows = pa.concat_tables([part(500), empty.cast(part(500).schema)])
    assert night_sums(rows) == night_sums(part(500))
    nothing = night_sums(empty.cast(part(500).schema))
    assert nothing.num_ads == 0
    assert ood_flags(nothing).false_share == 0.0


def test_binned_value_at_an_end_is_in_its_bin():
    assert binned(np.array([0.01]), P_LIMITS)[P_LIMITS.index(0.01)] == 1
    assert binned(np.array([1.0000001]), CONFIDENCE_LIMITS)[-1] == 1


def test_ood_flags_of_a_part_are_those_of_its_rows():
    rows = part(5_000)
    p_N = rows["ood_p"].to_numpy()
    flagged_N = p_N[p_N <= 0.01]
    found = ood_flags(night_sums(rows))
    assert found.num_flagged == len(flagged_N)
    assert found.false_share == pytest.approx(5_000 * flagged_N.max() / len(flagged_N))
    limits = [t for t in P_LIMITS if 5_000 * t <= 0.1 * (flagged_N <= t).sum()]
    assert found.sound == (flagged_N <= max(limits)).sum()
