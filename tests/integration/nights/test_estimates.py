"""What a whole run says of its night, whatever its shards are and where its results come from."""

import numpy as np
import pytest

from rubert_ood.bundle import Bundle, derive_bundle
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.settings import GateSettings, ScoreSettings
from rubert_ood.workflows.score import score
from tests.conftest import write_parquet
from tests.small_model import MAX_LENGTH

WIDE_OPEN = GateSettings(max_ood_rate=1, max_other_rate=1, max_class_shift=1)
NUM_ADS = 300


@pytest.fixture(scope="module")
def calibrated(
    bundle, small_checkpoint, ad_texts, one_by_one, tmp_path_factory
) -> Bundle:
    """The bundle, with the ads in it that it was calibrated on."""
    logits_NC, cls_NH, _ = one_by_one(small_checkpoint, ad_texts[400:], MAX_LENGTH)
    found = Outputs(logits_NC, cls_NH, logits_NC.argmax(axis=1).astype(np.int64))
    uri = str(tmp_path_factory.mktemp("bundles") / "calibrated")
    return derive_bundle(bundle, uri, reference=Reference(found, found))


def test_score_has_the_same_class_shares_whatever_the_shards_and_with_reuse(
    calibrated, ads, tmp_path
):
    write_parquet(tmp_path / "in" / "ads.parquet", ads.slice(0, NUM_ADS))
    settings = ScoreSettings(
        input_uri=str(tmp_path / "in"),
        bundle_uri=calibrated.uri,
        output_uri=str(tmp_path / "out"),
        gate=WIDE_OPEN,
        executor="local",
        shard_rows=40,
    )
    first = score(settings)
    again = score(settings.model_copy(update={"run_id": "again", "shard_rows": 70}))
    assert again.counts.rows_reused > 30
    found = first.estimates.shares
    counts = first.counts
    assert found.num_ads == NUM_ADS - counts.rows_empty - counts.rows_ood
    assert found.num_calibration == 100
    before = {share.name: share for share in found.classes}
    for share in again.estimates.shares.classes:
        assert share.counted == before[share.name].counted
        assert share.value == pytest.approx(before[share.name].value, abs=1e-4)
        assert share.low <= share.value <= share.high
    with open(f"{again.run_uri}/_run/report.html", encoding="utf-8") as page:
        assert f"sample of {found.num_ads} ads" in page.read()
