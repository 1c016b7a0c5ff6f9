"""A backfill that the gate refuses; days that go well, and the pointers, are tested on a real Ray
in tests/ray."""

import itertools
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from rubert_ood.bundle import derive_bundle
from rubert_ood.errors import RubertOodError
from rubert_ood.publishing import reused
from rubert_ood.runs.manifest import read_manifest
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
        RubertOodError,
        match=(
            r"2 of 2 days failed\. Run the same command again to resume\. Worst day:"
            r" .*gate\.max_churn"
        ),
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
    logs = [path.read_text("utf-8") for path in (refused / "_run" / "log").glob("*")]
    (of_the_gate,) = [text for text in logs if "gate.max_churn" in text]
    last = json.loads(of_the_gate.splitlines()[-1])
    assert (last["stage"], last["run_id"]) == (
        "end",
        refused.name.removeprefix("run_id="),
    )


def test_backfill_with_a_new_bundle_reuses_the_day_before(
    ads, bundle, tmp_path, monkeypatch
):
    """The last published run has another bundle; from the second day on most is known."""
    monkeypatch.setattr(reused, "MIN_CHECKED", 10)
    other = derive_bundle(bundle, str(tmp_path / "v2"), documents={"README.md": "2"})
    gate = GateSettings(max_ood_rate=1, max_other_rate=1, max_class_shift=1)
    shared = {"output_uri": str(tmp_path / "out"), "gate": gate, "executor": "local"}
    for day in (19, 20, 21):
        folder = tmp_path / "in" / f"2026-11-{day}"
        write_parquet(folder / "a.parquet", ads.slice(10 * (day - 19), 60))
    input_uri = str(tmp_path / "in" / "{run_date}")
    settings = BackfillSettings(
        **shared,
        bundle_uri=bundle.uri,
        input_uri=input_uri,
        from_date=date(2026, 11, 19),
        to_date=date(2026, 11, 21),
    )
    workflow.backfill(settings)
    again = settings.model_copy(update={"bundle_uri": other.uri})
    days = [read_manifest(day.run_uri) for day in workflow.backfill(again)]
    assert [day.bundle.version for day in days] == ["v2"] * 3
    assert days[0].reuse is None
    for before, day in itertools.pairwise(days):
        assert day.reuse.run_uri == before.run_uri
        assert day.counts.rows_reused > 20


def test_backfill_goes_on_after_a_day_that_meets_a_bug(
    ads, bundle, tmp_path, monkeypatch, caplog
):
    for day in (19, 20):
        folder = tmp_path / "in" / f"2026-11-{day}"
        write_parquet(folder / "a.parquet", ads.slice(0, 30))
    settings = BackfillSettings(
        output_uri=str(tmp_path / "out"),
        gate=GateSettings(max_ood_rate=1, max_other_rate=1, max_class_shift=1),
        executor="local",
        bundle_uri=bundle.uri,
        input_uri=str(tmp_path / "in" / "{run_date}"),
        from_date=date(2026, 11, 19),
        to_date=date(2026, 11, 20),
    )

    def fail_once(*arguments):
        monkeypatch.setattr(workflow, "score", score)
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(workflow, "score", fail_once)
    with pytest.raises(
        RubertOodError, match=r"1 of 2 days failed.*ZeroDivision"
    ) as error:
        workflow.backfill(settings)
    assert error.value.exit_code == 1
    assert "2026-11-19: internal error. Please report it with this trace" in caplog.text
    assert "in fail_once" in caplog.text
    (manifest,) = (tmp_path / "out").glob("run_date=*/*/_run/manifest.json")
    assert json.loads(manifest.read_text())["outcome"] == "published"
