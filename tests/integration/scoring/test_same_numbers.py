"""An ad's numbers are its own: whatever ads share its shard and its batch, and however many threads
compute."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from rubert_ood.runs.plan import save_plan
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.item import ShardItem
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.planning import make_plan
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.scoring.write import write
from rubert_ood.settings import ScoreSettings
from tests.small_model import LABELS, MAX_LENGTH, padded_classifier


@pytest.fixture(scope="module")
def alone(small_checkpoint, ad_texts, fitted, one_by_one) -> dict[str, np.ndarray]:
    """Label, confidence and d2 of every ad, computed alone in fp32 and decided by the formulas of
    the method."""
    logits_NC, cls_NH, _ = one_by_one(small_checkpoint, ad_texts, MAX_LENGTH)
    p_NC = softmax(logits_NC.astype(np.float64) / fitted.temperature.temperature, axis=1)
    differences_NCH = cls_NH[:, None].astype(np.float64) - fitted.statistics.means_CH
    d2_N = np.einsum(
        "nch,hk,nck->nc", differences_NCH, fitted.statistics.precision_HH, differences_NCH
    ).min(1)
    confidence_N, rule, limits = p_NC.max(1), fitted.decision, fitted.thresholds
    far_N = (d2_N > rule.alpha * limits.threshold) & (
        (d2_N - limits.mu) / (limits.sigma + 1e-9) > rule.z_thr
    )
    ood_N = far_N & (confidence_N < rule.ood_conf_gate)
    other_N = ood_N | (confidence_N < rule.tau_other)
    label_N = np.where(other_N, "Other", np.array(LABELS)[p_NC.argmax(1)])
    return {
        "label": label_N,
        "is_ood": ood_N,
        "confidence": confidence_N,
        "ood_distance": d2_N,
    }


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.integers(0, 499), min_size=1, max_size=80),
    st.integers(1, 3000),
    st.integers(1, 80),
    st.sampled_from([1, 2]),
    st.booleans(),
)
@example(list(range(500)), 1000, 100, 2, True)
@example(list(range(500)), 1000, 100, 2, False)
def test_scores_of_an_ad_do_not_depend_on_its_batch(
    alone,
    ads,
    bundle,
    tmp_path_factory,
    numbers,
    token_budget,
    shard_rows,
    num_threads,
    packs,
):
    folder = tmp_path_factory.mktemp("case")
    (folder / "in").mkdir()
    table = ads.take(numbers)
    table = table.set_column(
        0, "ad_id", pa.array([str(row) for row in range(len(numbers))])
    )
    pq.write_table(table, folder / "in" / "ads.parquet", row_group_size=7)
    plan = make_plan(
        ScoreSettings(
            input_uri=str(folder / "in"),
            bundle_uri=bundle.uri,
            output_uri=str(folder / "out"),
            shard_rows=shard_rows,
        ),
        bundle,
    )
    save_plan(plan)
    job = ScoringJob.of(plan)
    scorer = Scorer(job)
    if not packs:
        scorer.model()._classifier = padded_classifier(bundle.folder)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        for shard in plan.shards:
            assert not write(scorer(encode(ShardItem(shard), job)), job).failure
    finally:
        torch.set_num_threads(before)
    parts = pa.concat_tables(
        pq.read_table(Path(plan.run_uri) / shard.part_name) for shard in plan.shards
    )
    assert parts["ad_id"].to_pylist() == table["ad_id"].to_pylist()
    assert parts["label"].to_pylist() == alone["label"][numbers].tolist()
    assert parts["is_ood"].to_pylist() == alone["is_ood"][numbers].tolist()
    np.testing.assert_allclose(
        parts["confidence"].to_numpy(), alone["confidence"][numbers], atol=1e-5
    )
    np.testing.assert_allclose(
        parts["ood_distance"].to_numpy(), alone["ood_distance"][numbers], rtol=1e-4
    )
