"""diff and backfill on a real Ray: counts against pandas, days that fail, pointers that never go
back in time."""

import json
import logging
import shutil
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from rubert_ood.bundle import BundleContent, load_bundle, write_bundle
from rubert_ood.comparing import ray_shuffle, whole_run
from rubert_ood.comparing.compare import compare, compare_runs
from rubert_ood.comparing.document import Ads, DiffDocument, Duplicates
from rubert_ood.comparing.whole_run import read_run
from rubert_ood.errors import InputError, PartialRunError, RubertOodError, SettingsError
from rubert_ood.ood.fit import FittedModel
from rubert_ood.runs.manifest import Manifest
from rubert_ood.settings import (
    BackfillSettings,
    DiffSettings,
    GateSettings,
    RollbackSettings,
    ScoreSettings,
)
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.workflows.backfill import backfill
from rubert_ood.workflows.diff import diff
from rubert_ood.workflows.rollback import rollback
from rubert_ood.workflows.score import score
from tests.conftest import read_parts, write_parquet

NUM_ADS = 400
WIDE_OPEN = GateSettings(
    max_ood_rate=1, max_other_rate=1, max_class_shift=1, max_churn=1, max_duplicate_rate=1
)
pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture(scope="module")
def ads() -> pa.Table:
    return pa.Table.from_batches(list(generate_ads(NUM_ADS, seed=5)))


@pytest.fixture(scope="module")
def retrained_bundle(trained_bundle, tmp_path_factory) -> str:
    """The same network with a stricter rule and other names for two classes, as a retraining may
    bring."""
    bundle = load_bundle(trained_bundle)
    fitted: FittedModel = bundle.fitted
    labels = [
        f"{label} и прочее" if number < 2 else label
        for number, label in enumerate(fitted.labels)
    ]
    decision = fitted.decision.model_copy(update={"tau_other": 0.6})
    folder = tmp_path_factory.mktemp("retrained")
    names = (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    )
    (folder / "checkpoint").mkdir()
    for name in names:
        shutil.copy(Path(bundle.folder, name), folder / "checkpoint" / name)
    config = json.loads((folder / "checkpoint" / "config.json").read_text())
    config["id2label"] = {str(number): label for number, label in enumerate(labels)}
    config["label2id"] = {label: number for number, label in enumerate(labels)}
    (folder / "checkpoint" / "config.json").write_text(json.dumps(config))
    changed = FittedModel(
        labels, fitted.temperature, fitted.statistics, fitted.thresholds, decision
    )
    written = write_bundle(
        str(folder / "bundle"),
        BundleContent(
            checkpoint_dir=str(folder / "checkpoint"),
            fitted=changed,
            cleaner=bundle.cleaner,
            text=bundle.text,
            documents={"README.md": "# retrained"},
        ),
    )
    return written.uri


def _score(table: pa.Table, bundle_uri: str, folder: Path, **changes) -> Manifest:
    write_parquet(folder / "in" / "a.parquet", table)
    values = {
        "input_uri": str(folder / "in"),
        "bundle_uri": bundle_uri,
        "output_uri": str(folder / "out"),
    }
    return score(
        ScoreSettings(**{**values, "gate": WIDE_OPEN, "shard_rows": 100, **changes})
    )


def _with_column(table: pa.Table, name: str, values: list) -> pa.Table:
    return table.set_column(
        table.schema.get_field_index(name),
        name,
        pa.array(values, table.schema.field(name).type),
    )


@pytest.fixture(scope="module")
def two_runs(
    ads, trained_bundle, retrained_bundle, tmp_path_factory
) -> tuple[Manifest, Manifest]:
    """A: all ads but the last 20, one id twice. B: all but the first 30, another rule, 25 other
    texts. They are scored in this process: only what compares them is tried on Ray."""
    ids = ads["ad_id"].to_pylist()
    before = _with_column(ads, "ad_id", [*ids[:50], ids[60], *ids[51:]]).slice(
        0, NUM_ADS - 20
    )
    descriptions = ads["description"].to_pylist()
    descriptions[100:125] = descriptions[200:225]
    after = _with_column(ads, "description", descriptions).slice(30)
    here = {"executor": "local"}
    a = _score(before, trained_bundle, tmp_path_factory.mktemp("a"), **here)
    folder = tmp_path_factory.mktemp("b")
    b = _score(after, retrained_bundle, folder, publish=False, **here)
    return a, b


def _expected(a_uri: str, b_uri: str) -> tuple[pd.DataFrame, set[str]]:
    a, b = (read_parts(uri).to_pandas() for uri in (a_uri, b_uri))
    repeated = {
        ad_id
        for side in (a, b)
        for ad_id, count in side["ad_id"].value_counts().items()
        if count > 1
    }
    a, b = (side[~side["ad_id"].isin(repeated)] for side in (a, b))
    return a.merge(
        b, on="ad_id", how="outer", suffixes=("_a", "_b"), indicator="where"
    ), repeated


@pytest.mark.parametrize("rows", [whole_run.PARTITION_ROWS, 64])
def test_diff_counts_are_those_of_a_merge(two_runs, tmp_path, monkeypatch, rows):
    a, b = two_runs
    monkeypatch.setattr(whole_run, "PARTITION_ROWS", rows)
    monkeypatch.setattr(ray_shuffle, "READ_ROWS", 150)
    stray = Path(a.run_uri, "data-99999-stray.parquet")
    shutil.copy(next(Path(a.run_uri).glob("data-*.parquet")), stray)  # not of the run
    try:
        found = diff(
            DiffSettings(
                a_uri=a.output_uri, b_uri=b.run_uri + "/", output_uri=str(tmp_path)
            )
        )
    finally:
        stray.unlink()
    merged, repeated = _expected(a.run_uri, b.run_uri)
    both = merged[merged["where"] == "both"]
    changed = both[both["label_a"] != both["label_b"]]
    assert len(repeated) == 1
    assert found.duplicates == Duplicates(ids=1, rows_a=2, rows_b=1)
    sides = merged["where"].value_counts()
    alone = int(sides["left_only"]), int(sides["right_only"])
    assert found.ads == Ads(both=len(both), only_a=alone[0], only_b=alone[1])
    assert found.ads.only_a == 30
    assert found.churn_rate == pytest.approx(len(changed) / len(both))
    assert 0.05 < found.churn_rate < 1
    assert {(row.label_a, row.label_b): row.count for row in found.transitions} == (
        changed.groupby(["label_a", "label_b"]).size().to_dict()
    )
    other_text = both["text_key_a"] != both["text_key_b"]
    assert found.texts.changed == other_text.sum() > 10
    assert (
        found.texts.changed_label_changed
        == (other_text & (both["label_a"] != both["label_b"])).sum()
    )
    was, now = (both[f"is_ood_{side}"].astype(bool) for side in "ab")
    assert (found.ood.became, found.ood.both) == ((~was & now).sum(), (was & now).sum())
    assert found.confidence.mean_a == pytest.approx(
        both.loc[
            both["confidence_a"].notna() & both["confidence_b"].notna(), "confidence_a"
        ]
        .astype(float)
        .mean()
    )
    assert (
        DiffDocument.model_validate_json((tmp_path / "diff.json").read_bytes()) == found
    )
    share = f"labels changed: {found.churn_rate:.1%} of "
    assert share in (tmp_path / "diff.html").read_text()


def test_ray_and_this_process_count_the_same_on_scored_runs(two_runs):
    uris = [run.run_uri for run in two_runs]
    here, on_ray = (
        compare_runs(*uris, executor=executor) for executor in ("local", "ray")
    )
    assert here == on_ray


def test_diff_names_a_missing_file_and_an_unfinished_run(two_runs, tmp_path):
    copy = Path(shutil.copytree(two_runs[0].output_uri, tmp_path / "copy"))
    (path,) = copy.glob("run_date=*/run_id=*/data-*.parquet")
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        diff(
            DiffSettings(
                a_uri=str(copy), b_uri=two_runs[1].run_uri, output_uri=str(tmp_path / "d")
            )
        )
    manifest = path.parent / "_run" / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"outcome": "published"', '"outcome": "partial"')
    )
    with pytest.raises(InputError, match=r"not complete \(outcome partial\)"):
        diff(
            DiffSettings(
                a_uri=str(copy), b_uri=two_runs[1].run_uri, output_uri=str(tmp_path / "d")
            )
        )
    assert not (tmp_path / "d").exists()


def test_diff_compares_two_bundles_on_the_same_ads(
    ads, trained_bundle, retrained_bundle, tmp_path
):
    """In this process: that one start of Ray scores several runs is shown by the backfill."""
    write_parquet(tmp_path / "in.parquet", ads)
    settings = DiffSettings(
        a_uri=trained_bundle,
        b_uri=retrained_bundle,
        output_uri=str(tmp_path / "out"),
        executor="local",
    )
    with pytest.raises(SettingsError, match="Set it to the ads"):
        diff(settings)
    with pytest.raises(InputError, match="neither a run folder"):
        diff(settings.model_copy(update={"a_uri": str(tmp_path)}))
    found = diff(settings.model_copy(update={"input_uri": str(tmp_path / "in.parquet")}))
    assert found.ads == Ads(both=NUM_ADS, only_a=0, only_b=0)
    assert found.texts.changed == 0
    a, b = (read_parts(side.run_uri) for side in (found.a, found.b))
    pairs = zip(a["label"].to_pylist(), b["label"].to_pylist(), strict=True)
    assert found.changed == sum(was != now for was, now in pairs) > 0
    assert not list((tmp_path / "out").rglob("latest.json"))
    with pytest.raises(InputError, match="one is a run, the other is a bundle"):
        diff(settings.model_copy(update={"a_uri": found.a.run_uri}))


def test_backfill_goes_on_over_bad_days_and_never_turns_the_catalogue_back(
    ads, trained_bundle, retrained_bundle, tmp_path, caplog
):
    out, source = tmp_path / "out", tmp_path / "in"
    for day in ("2026-11-20", "2026-11-22", "2026-11-23"):
        write_parquet(source / day / "a.parquet", ads.slice(0, 200))
    old = {"bundle_uri": trained_bundle, "output_uri": str(out), "gate": WIDE_OPEN}
    nights = [
        score(
            ScoreSettings(
                **old,
                input_uri=str(source / day),
                run_date=date.fromisoformat(day),
                executor="local",
            )
        )
        for day in ("2026-11-20", "2026-11-22")
    ]
    settings = BackfillSettings(
        input_uri=str(source / "{run_date}"),
        bundle_uri=retrained_bundle,
        output_uri=str(out),
        from_date=date(2026, 11, 20),
        to_date=date(2026, 11, 22),
        gate=WIDE_OPEN,
    )
    with (
        caplog.at_level(logging.INFO, "rubert_ood"),
        pytest.raises(RubertOodError, match="1 of 3") as failure,
    ):
        backfill(settings)
    assert failure.value.exit_code == InputError.exit_code
    assert "2026-11-21" in str(failure.value)
    assert "backfill  2026-11-20  published" in caplog.text

    manifests = {}
    for night in nights:
        day = Path(night.run_uri).parent
        pointer = json.loads((day / "latest.json").read_text())
        run_dir = day / pointer["path"]
        assert run_dir != Path(night.run_uri)
        manifests[day.name] = manifest = json.loads(
            (run_dir / "_run" / "manifest.json").read_text()
        )
        (churn,) = [check for check in manifest["gate"] if check["check"] == "max_churn"]
        written = json.loads((run_dir / "_run" / "diff.json").read_text())
        merged, _ = _expected(night.run_uri, str(run_dir))
        assert written["a"]["run_id"] == night.run_id
        assert (
            churn["value"]
            == written["churn_rate"]
            == (merged["label_a"] != merged["label_b"]).mean()
            > 0
        )
        assert manifest["outcome"] == "published"
        assert (
            "It is published: readers of"
            in (run_dir / "_run" / "report.html").read_text()
        )
    assert manifests["run_date=2026-11-20"]["pointers"] == [
        "run_date=2026-11-20/latest.json"
    ]
    assert sorted(manifests["run_date=2026-11-22"]["pointers"]) == [
        "latest.json",
        "run_date=2026-11-22/latest.json",
    ]
    catalogue = json.loads((out / "latest.json").read_text())
    assert catalogue["run_date"] == "2026-11-22"
    assert [Path(run).name for run in catalogue["history"]] == [
        Path(n.run_uri).name for n in reversed(nights)
    ]

    # the same command does only the day that was missing; a stricter gate judges no published day
    # again
    write_parquet(source / "2026-11-21" / "a.parquet", ads.slice(0, 200))
    times = {path: path.stat().st_mtime_ns for path in out.rglob("data-*.parquet")}
    assert times
    strict = WIDE_OPEN.model_copy(update={"max_churn": 0.0})
    results = backfill(settings.model_copy(update={"gate": strict, "executor": "local"}))
    assert [result.outcome for result in results] == ["published"] * 3
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert json.loads((out / "latest.json").read_text()) == catalogue

    # a rollback of one day leaves the others and the catalogue alone; the day was seen by nobody
    # else
    day = out / "run_date=2026-11-21"
    with pytest.raises(InputError, match="only one run"):
        rollback(RollbackSettings(output_uri=str(day), reason="x"))
    shutil.copytree(out / "run_date=2026-11-20", tmp_path / "kept")
    run_id = Path(manifests["run_date=2026-11-22"]["run_uri"]).name
    rollback(RollbackSettings(output_uri=str(out), reason="wrong labels"))
    now = json.loads(
        (out / "run_date=2026-11-22" / run_id / "_run" / "manifest.json").read_text()
    )
    assert (now["outcome"], now["pointers"]) == (
        "published",
        ["run_date=2026-11-22/latest.json"],
    )


def test_diff_on_a_cluster_that_fails_is_one_line(two_runs, monkeypatch):
    monkeypatch.setattr(ray_shuffle, "_count", lambda rows: 1 / 0)
    runs = [read_run(run.run_uri) for run in two_runs]
    with pytest.raises(PartialRunError, match="the comparison stopped"):
        compare(*runs, executor="ray")
