"""What a run survives on a real Ray, and what it then says: bad files, damaged parts, a second start, a rollback."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import ray
import ray.cloudpickle

from rubert_ood.ads.synthetic import generate_ads
from rubert_ood.errors import PartialRunError, PublicationRefusedError, VerificationError
from rubert_ood.scoring import pipeline
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.runner import Runner
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.settings import GateSettings, PublishSettings, RollbackSettings, ScoreSettings, VerifySettings
from rubert_ood.workflows import score as workflow
from rubert_ood.workflows.score import publish, rollback, score, verify
from tests.conftest import read_parts, same_rows, write_parquet

WIDE_OPEN = GateSettings(
    max_error_rate=1, max_ood_rate=1, max_other_rate=1, max_quarantined_share=1, max_duplicate_rate=1, max_class_shift=1
)
NUM_ADS, SHARD_ROWS = 600, 100


@pytest.fixture(scope="module")
def ads() -> pa.Table:
    return pa.Table.from_batches(list(generate_ads(NUM_ADS, seed=21)))


@pytest.fixture(scope="module")
def source(ads, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for name, start in (("a", 0), ("b", 300)):
        write_parquet(folder / f"{name}.parquet", ads.slice(start, 300), row_group_size=100, compression="none")
    return folder


@pytest.fixture(scope="module")
def undisturbed(ray_local, source, trained_bundle, tmp_path_factory) -> pa.Table:
    return read_parts(score(_settings(source, trained_bundle, tmp_path_factory.mktemp("whole")))["run_uri"])


def _settings(source, bundle, output, **changes) -> ScoreSettings:
    values = {"input_uri": str(source), "bundle_uri": bundle, "output_uri": str(output), "gate": WIDE_OPEN}
    return ScoreSettings(**{**values, "shard_rows": SHARD_ROWS, **changes})


def _damage(path: Path) -> None:
    """Spoil a page of the first row group; the footer stays whole, so that planning sees nothing."""
    data = bytearray(path.read_bytes())
    data[200:2000] = b"\xff" * 1800
    path.write_bytes(data)


def _run_dir(output) -> Path:
    return next(Path(output).glob("run_date=*/run_id=*"))


def test_a_damaged_page_costs_its_shard_only(undisturbed, source, trained_bundle, tmp_path):
    copy = Path(shutil.copytree(source, tmp_path / "in"))
    _damage(copy / "b.parquet")
    manifest = score(_settings(copy, trained_bundle, tmp_path / "out", on_bad_file="quarantine"))
    assert manifest["outcome"] == "published"
    (aside,) = manifest["quarantined_shards"]
    assert (aside["uri"], aside["start"], aside["stop"]) == (str(copy / "b.parquet"), 0, 100)
    assert aside["reason"].startswith(f"{copy}/b.parquet: not readable as Parquet: ")
    assert manifest["counts"]["rows_quarantined"] == 100
    same_rows(read_parts(manifest["run_uri"]), pa.concat_tables([undisturbed[:300], undisturbed[400:]]))
    report = Path(manifest["run_uri"], "_run", "report.html").read_text()
    assert "1 shard was set aside during the run; 100 ads are not scored" in report

    before = {path: path.stat().st_mtime_ns for path in Path(manifest["run_uri"]).rglob("*")}
    assert score(_settings(copy, trained_bundle, tmp_path / "out", on_bad_file="quarantine")) == manifest
    assert {path: path.stat().st_mtime_ns for path in Path(manifest["run_uri"]).rglob("*")} == before
    verify(VerifySettings(run_uri=manifest["run_uri"]))


def test_the_gate_counts_shards_that_were_set_aside(undisturbed, source, trained_bundle, tmp_path):
    copy = Path(shutil.copytree(source, tmp_path / "in"))
    _damage(copy / "b.parquet")
    gate = WIDE_OPEN.model_copy(update={"max_error_rate": 0.1})
    settings = _settings(copy, trained_bundle, tmp_path / "out", on_bad_file="quarantine", gate=gate)
    with pytest.raises(Exception, match=r"gate\.max_error_rate: 0\.1667 against 0\.1"):
        score(settings)
    assert not (tmp_path / "out" / "latest.json").exists()


def test_more_than_so_many_bad_shards_stop_the_run(undisturbed, source, trained_bundle, tmp_path):
    copy = Path(shutil.copytree(source, tmp_path / "in"))
    for name in ("a", "b"):
        _damage(copy / f"{name}.parquet")
    settings = _settings(copy, trained_bundle, tmp_path / "out", on_bad_file="quarantine", max_failed_shards=1)
    with pytest.raises(PartialRunError, match=r"more than max_failed_shards \(1\) failed: .*\.parquet: not readable"):
        score(settings)
    manifest = json.loads((_run_dir(tmp_path / "out") / "_run" / "manifest.json").read_text())
    assert (manifest["outcome"], len(manifest["quarantined_shards"])) == ("partial", 2)
    finished = score(settings.model_copy(update={"max_failed_shards": 2}))
    assert finished["outcome"] == "published"
    assert finished["counts"]["rows_scored"] == NUM_ADS - 200


def test_a_part_that_was_damaged_is_scored_again_before_publication(undisturbed, source, trained_bundle, tmp_path):
    settings = _settings(source, trained_bundle, tmp_path, publish=False)
    run_dir = Path(score(settings)["run_uri"])
    first, second, third, *others = sorted(run_dir.glob("part-*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-200])
    shutil.copy(others[0], third)
    times = {path: path.stat().st_mtime_ns for path in others}
    with pytest.raises(VerificationError, match=r"\(3 such\)"):
        verify(VerifySettings(run_uri=str(run_dir)))
    manifest = score(settings.model_copy(update={"publish": True}))
    assert manifest["outcome"] == "published"
    same_rows(read_parts(run_dir), undisturbed)
    assert {path: path.stat().st_mtime_ns for path in others} == times

    third.unlink()  # now that it is published, nothing is mended silently
    with pytest.raises(VerificationError, match=f"{third.name} is missing"):
        score(settings)
    assert not third.exists()


def test_a_start_that_was_taken_over_stops_and_harms_nothing(
    undisturbed, source, trained_bundle, tmp_path, monkeypatch
):
    rivals: list[Runner] = []

    class TakenOver(Runner):
        """A second start comes when the first shard is done."""

        def check(self, *, now: bool = False) -> None:
            if not rivals:
                rivals.append(Runner(self._uri.removesuffix("/_run/runner.json")))
            super().check(now=True)

    monkeypatch.setattr(workflow, "Runner", TakenOver)
    with pytest.raises(PartialRunError, match="this run was taken over by process"):
        score(_settings(source, trained_bundle, tmp_path))
    manifest = json.loads((_run_dir(tmp_path) / "_run" / "manifest.json").read_text())
    assert manifest["outcome"] == "running"  # it is the other's now to write
    assert not (tmp_path / "latest.json").exists()
    monkeypatch.undo()
    same_rows(read_parts(score(_settings(source, trained_bundle, tmp_path))["run_uri"]), undisturbed)


def test_a_run_that_was_rolled_back_is_not_published_by_the_next_start(undisturbed, source, trained_bundle, tmp_path):
    first = score(_settings(source, trained_bundle, tmp_path, run_id="first"))
    second = score(_settings(source, trained_bundle, tmp_path, run_id="second"))
    rollback(RollbackSettings(output_uri=str(tmp_path), reason="wrong labels"))
    pointer = json.loads((tmp_path / "latest.json").read_text())
    assert tmp_path / pointer["path"] == Path(first["run_uri"])
    with pytest.raises(PublicationRefusedError, match=r"was rolled back \(wrong labels\)"):
        score(_settings(source, trained_bundle, tmp_path, run_id="second"))
    with pytest.raises(PublicationRefusedError, match="give --force REASON"):
        publish(PublishSettings(run_uri=second["run_uri"], gate=WIDE_OPEN))
    assert json.loads((tmp_path / "latest.json").read_text()) == pointer
    verify(VerifySettings(run_uri=second["run_uri"]))
    publish(PublishSettings(run_uri=second["run_uri"], gate=WIDE_OPEN, force="they were right"))
    assert json.loads((tmp_path / "latest.json").read_text())["run_id"] == "second"
    verify(VerifySettings(run_uri=second["run_uri"]))


def test_an_old_command_does_not_take_readers_back(undisturbed, source, trained_bundle, tmp_path, caplog):
    first = score(_settings(source, trained_bundle, tmp_path, run_id="first"))
    score(_settings(source, trained_bundle, tmp_path, run_id="second"))
    caplog.set_level("INFO", logger="rubert_ood")
    assert score(_settings(source, trained_bundle, tmp_path, run_id="first")) == first
    assert json.loads((tmp_path / "latest.json").read_text())["run_id"] == "second"
    assert "already, nothing to do; readers see a later run" in caplog.text


def test_a_run_that_the_gate_refused_is_published_by_force(undisturbed, source, trained_bundle, tmp_path):
    strict = WIDE_OPEN.model_copy(update={"max_other_rate": 0.0})
    with pytest.raises(PublicationRefusedError):
        score(_settings(source, trained_bundle, tmp_path, gate=strict))
    run_dir = _run_dir(tmp_path)
    publish(PublishSettings(run_uri=str(run_dir), gate=strict, force="seen by hand"))
    manifest = json.loads((run_dir / "_run" / "manifest.json").read_text())
    assert (manifest["outcome"], manifest["forced"]) == ("published", "seen by hand")


def test_an_edited_manifest_is_found(undisturbed, source, trained_bundle, tmp_path):
    run_dir = Path(score(_settings(source, trained_bundle, tmp_path))["run_uri"])
    path = run_dir / "_run" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["rows_ood"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(VerificationError, match=r"manifest\.json: counts is not what the receipts add up to"):
        verify(VerifySettings(run_uri=str(run_dir)))


def test_ids_that_repeat_within_and_across_files_are_named(ray_local, ads, trained_bundle, tmp_path):
    ids = ads["ad_id"].to_pylist()
    ids[1], ids[300], ids[599] = ids[0], ids[2], ids[2]
    table = ads.set_column(ads.schema.get_field_index("ad_id"), "ad_id", pa.array(ids))
    for name, start in (("a", 0), ("b", 300)):
        write_parquet(tmp_path / "in" / f"{name}.parquet", table.slice(start, 300))
    manifest = score(_settings(tmp_path / "in", trained_bundle, tmp_path / "out"))
    a, b = (str(tmp_path / "in" / f"{name}.parquet") for name in "ab")
    assert manifest["duplicates"] == {
        "ids": 2,
        "rows": 3,
        "examples": [
            {"ad_id": ids[2], "copies": 3, "files": [a, b]},
            {"ad_id": ids[0], "copies": 2, "files": [a]},
        ],
    }
    assert read_parts(manifest["run_uri"])["ad_id"].to_pylist() == ids  # all are scored
    strict = WIDE_OPEN.model_copy(update={"max_duplicate_rate": 0.001})
    with pytest.raises(PublicationRefusedError, match=r"gate\.max_duplicate_rate: 0\.0050 against 0\.001"):
        publish(PublishSettings(run_uri=manifest["run_uri"], gate=strict))


def test_encoding_does_not_run_away_from_the_scorers(undisturbed, source, trained_bundle, tmp_path, monkeypatch):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    events = str(tmp_path / "events")

    def note(what: str) -> None:
        with open(events, "a") as file:
            file.write(what)

    def noted_encode(item, job):
        note("e")
        return encode(item, job)

    class SlowScorer(Scorer):
        def __call__(self, item):
            time.sleep(0.15)
            note("s")
            return super().__call__(item)

    monkeypatch.setattr(pipeline, "encode", noted_encode)
    monkeypatch.setattr(pipeline, "Scorer", SlowScorer)
    num_shards = 60
    try:
        score(_settings(source, trained_bundle, tmp_path / "out", shard_rows=NUM_ADS // num_shards, num_actors=1))
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    order = Path(events).read_text()
    assert (order.count("e"), order.count("s")) == (num_shards, num_shards)
    started = order.index("s")  # until the actor is there, nothing measures how fast it is
    ahead = [order[:n].count("e") - order[:n].count("s") for n in range(started, len(order))]
    assert max(ahead[10:]) <= 12, order


def test_a_run_whose_storage_hangs_ends_in_time(undisturbed, source, trained_bundle, tmp_path, monkeypatch):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    release = str(tmp_path / "release")

    def hanging_encode(item, job):
        while not os.path.exists(release):
            time.sleep(0.2)
        return encode(item, job)

    monkeypatch.setattr(pipeline, "encode", hanging_encode)
    settings = _settings(source, trained_bundle, tmp_path / "out", no_progress_timeout_s=15)
    began = time.monotonic()
    try:
        with pytest.raises(PartialRunError, match="no shard moved for 15 s"):
            score(settings)
    finally:
        Path(release).touch()
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert time.monotonic() - began < 60
    monkeypatch.undo()
    same_rows(read_parts(score(settings)["run_uri"]), undisturbed)
