"""Reuse on a real Ray: rows as a full night has them, and a wrong result that ends it."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.publishing import reused
from rubert_ood.runs.manifest import Manifest
from rubert_ood.settings import GateSettings, ScoreSettings, ScoringComputeSettings
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.workflows.score import score
from tests.conftest import read_parts, same_rows, write_parquet
from tests.integration.workflows.test_reuse import _spoil


@pytest.fixture(autouse=True)
def _few_are_checked(monkeypatch):
    monkeypatch.setattr(reused, "MIN_CHECKED", 60)


@pytest.fixture(scope="module")
def ads() -> pa.Table:
    return pa.Table.from_batches(list(generate_ads(1_200, seed=11)))


@pytest.fixture
def night(ray_local, trained_bundle, tmp_path):
    def run(table: pa.Table, day: int, *, output: str = "out", **options) -> Manifest:
        folder = tmp_path / f"in-{day}"
        write_parquet(folder / "a.parquet", table, row_group_size=100)
        settings = ScoreSettings(
            input_uri=str(folder),
            bundle_uri=trained_bundle,
            output_uri=str(tmp_path / output),
            run_date=date(2026, 11, day),
            gate=GateSettings(max_ood_rate=1, max_other_rate=1, max_class_shift=1),
            shard_rows=200,
            compute=ScoringComputeSettings(num_workers=1),
            **options,
        )
        return score(settings)

    return run


def _sorted(manifest: Manifest) -> pa.Table:
    rows = read_parts(manifest.run_uri).drop_columns("scored_in")
    return rows.sort_by("ad_id")


def test_score_reuses_on_a_cluster_and_ends_it_at_a_wrong_result(night, ads):
    first = night(ads.slice(0, 1_000), 1, executor="local")
    order = np.random.default_rng(0).permutation(1_000) + 200
    table = ads.take(order)
    second = night(table, 2)
    full = night(table, 3, output="full", reuse="never", executor="local")
    same_rows(_sorted(second), _sorted(full))
    assert second.counts.rows_reused > 600
    assert second.counts.texts_checked > 10
    assert second.counts.shards_without_index == 0
    keys = set(read_parts(second.run_uri)["text_key"].to_pylist())
    assert _spoil(second, keys, "confidence", 0.123) > 700
    third = night(table, 4)
    assert third.reuse_stop.reused_uri == second.run_uri
    assert (third.counts.rows_reused, third.outcome) == (0, "published")
    same_rows(_sorted(third), _sorted(full))
    assert first.index.texts > 0
