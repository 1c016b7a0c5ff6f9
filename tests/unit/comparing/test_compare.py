"""The comparison of two runs in this process against pandas, and what it refuses."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from rubert_ood.comparing.compare import compare
from rubert_ood.errors import VerificationError
from tests.unit.comparing.runs import random_run


@pytest.fixture
def two_runs(tmp_path):
    return random_run(tmp_path / "a", seed=1), random_run(tmp_path / "b", seed=2)


def _rows(run) -> pd.DataFrame:
    return pd.concat([pq.read_table(uri).to_pandas() for uri, _ in run.files])


def test_counts_are_those_of_a_merge_in_pandas(two_runs):
    document = compare(*two_runs, executor="local")
    a, b = map(_rows, two_runs)
    duplicates = set(a.loc[a["ad_id"].duplicated(), "ad_id"])
    duplicates |= set(b.loc[b["ad_id"].duplicated(), "ad_id"])
    a_rows, b_rows = a["ad_id"].isin(duplicates).sum(), b["ad_id"].isin(duplicates).sum()
    found = document.duplicates
    assert (found.ids, found.rows_a, found.rows_b) == (len(duplicates), a_rows, b_rows)
    a, b = a[~a["ad_id"].isin(duplicates)], b[~b["ad_id"].isin(duplicates)]
    both = a.merge(b, on="ad_id", suffixes=("_a", "_b"))
    changed = both[both["label_a"] != both["label_b"]]
    assert document.ads.both == len(both) > 10
    assert document.ads.only_a == len(a) - len(both)
    assert document.churn_rate == pytest.approx(len(changed) / len(both))
    pairs = {(row.label_a, row.label_b): row.count for row in document.transitions}
    assert pairs == changed.groupby(["label_a", "label_b"]).size().to_dict()
    became = both[~both["is_ood_a"] & both["is_ood_b"]]
    assert document.ood.became == len(became)
    assert document.ood.became_examples[0].distance == became["ood_distance_b"].max()


def test_rows_that_the_receipts_do_not_know_are_refused(two_runs):
    a, b = two_runs
    a.files.pop()
    with pytest.raises(VerificationError, match=r"compared 160 rows, .* count 200"):
        compare(a, b, executor="local")
