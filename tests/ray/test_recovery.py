"""What takes a real Ray: a fault that comes back through the graph, back-pressure, a run that
stands still."""

import os
import shutil
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import ray
import ray.cloudpickle

from rubert_ood.errors import PartialRunError
from rubert_ood.scoring import ray_executor
from rubert_ood.scoring.ray_executor import ScorerActor, encode_batch
from rubert_ood.settings import (
    GateSettings,
    ScoreSettings,
    ScoringComputeSettings,
    VerifySettings,
)
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.workflows import score as workflow
from rubert_ood.workflows.score import score
from rubert_ood.workflows.verify import verify
from tests.conftest import damage_first_page, read_parts, same_rows, write_parquet

WIDE_OPEN = GateSettings(
    max_error_rate=1,
    max_ood_rate=1,
    max_other_rate=1,
    max_quarantined_share=1,
    max_duplicate_rate=1,
    max_class_shift=1,
)
NUM_ADS, SHARD_ROWS = 600, 100


@pytest.fixture(scope="module")
def ads() -> pa.Table:
    return pa.Table.from_batches(list(generate_ads(NUM_ADS, seed=21)))


@pytest.fixture(scope="module")
def source(ads, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for name, start in (("a", 0), ("b", 300)):
        write_parquet(
            folder / f"{name}.parquet",
            ads.slice(start, 300),
            row_group_size=100,
            compression="none",
        )
    return folder


@pytest.fixture(scope="module")
def undisturbed(ray_local, source, trained_bundle, tmp_path_factory) -> pa.Table:
    """The rows of this process, which are those of Ray (test_scoring.py)."""
    folder = tmp_path_factory.mktemp("whole")
    settings = _settings(source, trained_bundle, folder, executor="local")
    return read_parts(score(settings).run_uri)


def _settings(source, bundle, output, **changes) -> ScoreSettings:
    values = {
        "input_uri": str(source),
        "bundle_uri": bundle,
        "output_uri": str(output),
        "gate": WIDE_OPEN,
    }
    return ScoreSettings(**{**values, "shard_rows": SHARD_ROWS, **changes})


def test_a_damaged_page_costs_its_shard_only(
    undisturbed, source, trained_bundle, tmp_path
):
    copy = Path(shutil.copytree(source, tmp_path / "in"))
    damage_first_page(copy / "b.parquet")
    manifest = score(
        _settings(copy, trained_bundle, tmp_path / "out", on_bad_file="quarantine")
    )
    assert manifest.outcome == "published"
    (aside,) = manifest.quarantined_shards
    assert (aside.uri, aside.start, aside.stop) == (str(copy / "b.parquet"), 0, 100)
    assert aside.reason.startswith(
        f"{copy}/b.parquet: the file cannot be read as Parquet: "
    )
    assert manifest.counts.rows_quarantined == 100
    same_rows(
        read_parts(manifest.run_uri),
        pa.concat_tables([undisturbed[:300], undisturbed[400:]]),
    )
    report = Path(manifest.run_uri, "_run", "report.html").read_text()
    assert "The run lacks 100 ads of 1 quarantined shard." in report

    before = {path: path.stat().st_mtime_ns for path in Path(manifest.run_uri).rglob("*")}
    assert (
        score(_settings(copy, trained_bundle, tmp_path / "out", on_bad_file="quarantine"))
        == manifest
    )
    assert {
        path: path.stat().st_mtime_ns for path in Path(manifest.run_uri).rglob("*")
    } == before
    verify(VerifySettings(run_uri=manifest.run_uri))


@pytest.fixture
def replaced_after_the_plan(source, tmp_path, monkeypatch) -> Path:
    """A copy of the source, of which b.parquet is another file of the same size and time once the
    plan is made."""
    copy = Path(shutil.copytree(source, tmp_path / "in"))
    real = workflow.save_plan

    def save_plan(plan):
        saved = real(plan)
        path, before = copy / "b.parquet", (copy / "b.parquet").stat()
        shutil.copyfile(path, path.with_name(".new"))
        os.utime(path.with_name(".new"), ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(path.with_name(".new"), path)
        monkeypatch.undo()
        return saved

    monkeypatch.setattr(workflow, "save_plan", save_plan)
    return copy


def test_a_file_that_is_replaced_during_the_run_stops_it_and_the_same_command_plans_anew(
    undisturbed, replaced_after_the_plan, trained_bundle, tmp_path
):
    settings = _settings(replaced_after_the_plan, trained_bundle, tmp_path / "out")
    with pytest.raises(
        PartialRunError,
        match=rf"^{replaced_after_the_plan}/b.* changed after the job planned",
    ):
        score(settings)
    assert not (tmp_path / "out" / "latest.json").exists()
    manifest = score(settings)
    assert manifest.outcome == "published"
    assert len(list((tmp_path / "out").glob("run_date=*/run_id=*"))) == 2
    same_rows(read_parts(manifest.run_uri), undisturbed)


def test_a_file_that_is_replaced_during_the_run_is_quarantined_by_choice(
    undisturbed, replaced_after_the_plan, trained_bundle, tmp_path
):
    settings = _settings(
        replaced_after_the_plan,
        trained_bundle,
        tmp_path / "out",
        on_bad_file="quarantine",
        executor="local",  # how the fault comes back from Ray is shown above
    )
    manifest = score(settings)
    assert manifest.outcome == "published"
    reasons = {shard.reason for shard in manifest.quarantined_shards}
    path = replaced_after_the_plan / "b.parquet"
    assert reasons == {
        (
            f"{path}: this file changed after the job planned its work. Start the"
            " job again, so that it plans anew"
        )
    }
    assert manifest.counts.rows_quarantined == 300
    same_rows(read_parts(manifest.run_uri), undisturbed[:300])


def test_encoding_does_not_run_away_from_the_scorers(
    undisturbed, source, trained_bundle, tmp_path, monkeypatch
):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    events = str(tmp_path / "events")

    def note(what: str) -> None:
        with open(events, "a") as file:
            file.write(what)

    def noted_encode(batch, job):
        note("e")
        return encode_batch(batch, job)

    class SlowScorer(ScorerActor):
        def __call__(self, batch):
            time.sleep(0.15)
            note("s")
            return super().__call__(batch)

    monkeypatch.setattr(ray_executor, "encode_batch", noted_encode)
    monkeypatch.setattr(ray_executor, "ScorerActor", SlowScorer)
    num_shards = 60
    try:
        score(
            _settings(
                source,
                trained_bundle,
                tmp_path / "out",
                shard_rows=NUM_ADS // num_shards,
                compute=ScoringComputeSettings(num_workers=1),
            )
        )
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    order = Path(events).read_text()
    assert (order.count("e"), order.count("s")) == (num_shards, num_shards)
    # until the actor is there, nothing measures how fast it is, and encoding goes on
    started = order.index("s")
    ahead = [
        order[: n + 1].count("e") - order[:n].count("s")
        for n in range(started + 10, len(order))
        if order[n] == "e"
    ]
    assert max(ahead, default=0) <= 12, order


def test_a_run_whose_storage_hangs_ends_in_time(
    undisturbed, source, trained_bundle, tmp_path, monkeypatch
):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    release = str(tmp_path / "release")

    def hanging_encode(batch, job):
        while not os.path.exists(release):
            time.sleep(0.2)
        return encode_batch(batch, job)

    monkeypatch.setattr(ray_executor, "encode_batch", hanging_encode)
    settings = _settings(source, trained_bundle, tmp_path / "out")
    impatient = settings.model_copy(update={"no_progress_timeout_s": 5.0})
    began = time.monotonic()
    try:
        with pytest.raises(PartialRunError, match="no shard made progress for 5 s"):
            score(impatient)
    finally:
        Path(release).touch()
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert time.monotonic() - began < 60
    monkeypatch.undo()
    same_rows(read_parts(score(settings).run_uri), undisturbed)
