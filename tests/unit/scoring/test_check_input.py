import logging

import pyarrow as pa
import pytest

from rubert_ood.errors import BundleError
from rubert_ood.scoring.check_input import check_input
from rubert_ood.settings import ScoreSettings
from tests.conftest import write_parquet

ADS = pa.table({"ad_id": ["1", "2"], "description": ["диван", "стол"]})


@pytest.fixture
def settings(bundle, tmp_path) -> ScoreSettings:
    write_parquet(tmp_path / "in" / "a.parquet", ADS)
    return ScoreSettings(
        input_uri=str(tmp_path / "in"),
        bundle_uri=bundle.uri,
        output_uri=str(tmp_path / "out"),
        run_id="x",
        on_bad_file="quarantine",
    )


def test_check_input_says_what_would_be_scored_quarantined_and_empty(
    settings, bundle, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    write_parquet(tmp_path / "in" / "b.parquet", ADS[:0])
    bad = tmp_path / "in" / "c.parquet"
    bad.write_bytes(b"PAR1")
    plan, loaded = check_input(settings)
    assert loaded.fingerprint == bundle.fingerprint
    assert (plan.num_rows, len(plan.shards), len(plan.quarantined)) == (2, 1, 1)
    assert "plan      2 ads in 1 shard, 1 quarantined file, bundle v1" in caplog.messages
    assert f"plan      {tmp_path}/in/b.parquet: this file has no rows" in caplog.messages
    assert (
        f"plan      quarantines a file: {plan.quarantined[0].reason}" in caplog.messages
    )
    assert f"run       {plan.run_uri}" in caplog.messages
    assert not (tmp_path / "out").exists()


def test_check_input_says_which_day_it_took_only_where_none_was_given(settings, caplog):
    caplog.set_level(logging.INFO)
    check_input(settings)
    day = settings.run_date
    line = f"run       run_date is {day}: today in UTC (run_timezone)"
    assert caplog.messages[-1] == line
    caplog.clear()
    given = settings.model_dump(exclude_unset=True) | {"run_date": day}
    check_input(ScoreSettings.model_validate(given))
    assert line not in caplog.messages


def test_check_input_without_a_bundle_ends_before_it_looks_at_the_input(
    settings, tmp_path
):
    places = {"bundle_uri": str(tmp_path / "none"), "input_uri": str(tmp_path / "gone")}
    with pytest.raises(BundleError, match="none"):
        check_input(settings.model_copy(update=places))
