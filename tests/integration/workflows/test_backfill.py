"""A backfill that the gate refuses; days that go well, and the pointers, are tested on a real Ray
in tests/ray."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from rubert_ood.bundle import derive_bundle
from rubert_ood.errors import RubertOodError
from rubert_ood.settings import BackfillSettings, GateSettings, ScoreSettings
from rubert_ood.workflows import backfill as workflow
from rubert_ood.workflows.score import score
from tests.conftest import read_parts, write_parquet


def test_backfill_refuses_a_day_of_too_much_churn_and_goes_on(ads, bundle, tmp_path):
    """The old bundle trusts everything and the new one nothing, so every ad becomes Other; the day
    before has no input."""
    decision = bundle.fitted.decision
    trusting = {"tau_other": 0.0, "ood_conf_gate": 0.0}
    bundles = {}
    for name, change in (("trusting", trusting), ("doubtful", {"tau_other": 1.0})):
        fitted = replace(bundle.fitted, decision=decision.model_copy(update=change))
        bundles[name] = derive_bundle(bundle, str(tmp_path / name), fitted=fitted)
    bundle, other = bundles["trusting"], bundles["doubtful"]
    write_parquet(tmp_path / "in" / "2026-11-20" / "a.parquet", ads.slice(0, 60))
    open_gate = GateSettings(
        max_error_rate=1,
        max_ood_rate=1,
        max_other_rate=1,
        max_class_shift=1,
        max_duplicate_rate=1,
        max_churn=0.3,
    )
    shared = {"output_uri": str(tmp_path / "out"), "gate": open_gate, "executor": "local"}
    source = tmp_path / "in" / "2026-11-20"
    night = score(
        ScoreSettings(
            **shared,
            bundle_uri=bundle.uri,
            input_uri=str(source),
            run_date=date(2026, 11, 20),
        )
    )
    pointer = (tmp_path / "out" / "latest.json").read_text()
    settings = BackfillSettings(
        **shared,
        bundle_uri=other.uri,
        input_uri=str(tmp_path / "in" / "{run_date}"),
        from_date=date(2026, 11, 19),
        to_date=date(2026, 11, 20),
    )
    with pytest.raises(
        RubertOodError, match=r"2 of 2 day\(s\) failed, the worst: .*gate\.max_churn"
    ) as failure:
        workflow.backfill(settings)
    assert failure.value.exit_code == 5
    assert (tmp_path / "out" / "latest.json").read_text() == pointer
    runs = (tmp_path / "out").glob("run_date=2026-11-20/run_id=*")
    (refused,) = [path for path in runs if path != Path(night.run_uri)]
    manifest = json.loads((refused / "_run" / "manifest.json").read_text("utf-8"))
    before = read_parts(night.run_uri)["label"].to_pylist()
    (churn,) = [
        check["value"] for check in manifest["gate"] if check["check"] == "max_churn"
    ]
    assert manifest["outcome"] == "refused"
    assert churn == pytest.approx(sum(label != "Other" for label in before) / 60)
    assert read_parts(str(refused)).num_rows == 60
