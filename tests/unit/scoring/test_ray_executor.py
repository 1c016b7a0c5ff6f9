"""How the actors are sized, and when they load; tests/ray takes shards through a real Ray."""

import time

import pytest

from rubert_ood.errors import PartialRunError, SettingsError
from rubert_ood.scoring import ray_executor
from rubert_ood.scoring.batch import from_batch, to_batch
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.item import ShardItem
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.settings import ScoreSettings, ScoringComputeSettings


@pytest.fixture
def cluster(monkeypatch):
    """A cluster whose nodes a test makes up, one list of CPUs each time that somebody looks."""
    looks: list[list[float]] = []

    def nodes():
        cpus = looks.pop(0) if len(looks) > 1 else looks[0]
        return [
            {"Alive": True, "Resources": {"CPU": count} if count else {}}
            for count in cpus
        ]

    monkeypatch.setattr(ray_executor.ray, "nodes", nodes)
    monkeypatch.setattr(ray_executor.time, "sleep", lambda _: None)
    return looks


def _size(**options):
    settings = ScoreSettings(input_uri="in", bundle_uri="b", output_uri="out", **options)
    return ray_executor.size_actors(settings, 100)


def test_size_actors_waits_for_a_cluster_whose_nodes_have_just_died(cluster):
    cluster += [[0], [0], [0, 4, 2]]
    pool = _size()
    assert (pool.num_actors, pool.per_node) == (2, 1)
    assert pool.cpus <= 2 - ray_executor.ENCODE_CPUS - ray_executor.WRITE_CPUS


@pytest.mark.parametrize(
    ("cpus", "num_actors"),
    [(1, 4), (2, 1), (2, 4), (2, 8), (3, 8), (4, 12), (16, 4), (96, 32)],
)
def test_size_actors_on_one_node_leave_room_for_encode_and_write(
    cluster, cpus, num_actors
):
    """After the loss of a node its actor starts again wherever it fits."""
    cluster += [[0, cpus, cpus, cpus, cpus]]
    pool = _size(compute=ScoringComputeSettings(num_workers=num_actors))
    fit = int(cpus / pool.cpus)
    assert fit == pool.per_node == max(1, num_actors / 4)
    assert (
        round(cpus - fit * pool.cpus, 9)
        >= ray_executor.ENCODE_CPUS + ray_executor.WRITE_CPUS
    )


def test_size_actors_without_a_cpu_ends_the_run_resumable(cluster):
    cluster += [[0]]
    with pytest.raises(
        PartialRunError, match="no node of the cluster has a CPU for work"
    ):
        _size(no_progress_timeout_s=0.01)


def test_size_actors_counts_the_gpus_of_the_cluster(monkeypatch):
    alive = {"Alive": True, "Resources": {"GPU": 2.0}}
    dead = {"Alive": False, "Resources": {"GPU": 8.0}}
    monkeypatch.setattr(ray_executor.ray, "nodes", lambda: [alive, dead])
    on_gpu = ScoringComputeSettings(use_gpu=True)
    assert _size(compute=on_gpu) == ray_executor.ActorPool(
        num_actors=2, cpus=1, per_node=1
    )
    monkeypatch.setattr(ray_executor.ray, "nodes", list)
    with pytest.raises(
        SettingsError, match=r"^compute\.use_gpu: no GPU in the cluster yet; "
    ):
        _size(compute=on_gpu)


def test_scorer_actor_loads_before_a_shard_comes_and_remembers_no_failure(
    full_run, monkeypatch
):
    from rubert_ood.classifier.classifier import Classifier
    from rubert_ood.errors import StorageUnavailableError

    load, calls = Classifier.load, []

    def flaky(folder, **options):
        calls.append(folder)
        if len(calls) == 1:
            raise StorageUnavailableError("not now")
        return load(folder, **options)

    monkeypatch.setattr(Classifier, "load", flaky)
    job = ScoringJob.of(full_run.plan)
    actor = ray_executor.ScorerActor(job, 1)
    deadline = time.monotonic() + 10
    while not calls:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    batch = to_batch(encode(ShardItem(full_run.plan.shards[0]), job))
    assert (from_batch(actor(batch)).failure, len(calls)) == ("", 2)
