"""How the actors are sized, and the wait for a first node; tests/ray has clusters that grow."""

import pytest

from rubert_ood.errors import PartialRunError, SettingsError
from rubert_ood.scoring import ray_pool
from rubert_ood.settings import ScoreSettings, ScoringComputeSettings


class Cluster:
    """A cluster whose nodes a test makes up, one list each time that somebody has slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks: list[list[dict[str, float]]] = [[]]
        self.asked: list[dict[str, float]] = []
        """Places that are asked for, and not taken back."""
        self.most_asked = 0

    def nodes(self) -> list[dict[str, object]]:
        nodes = enumerate(self.looks[0])
        return [
            {"NodeID": f"{n} {what}", "Alive": what != {}, "Resources": what}
            for n, what in nodes
        ]

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if len(self.looks) > 1:
            self.looks.pop(0)

    def ask(self, bundles: list[dict[str, float]]) -> dict[str, float]:
        self.asked += bundles
        self.most_asked = max(self.most_asked, len(self.asked))
        return bundles[0]


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster = Cluster()
    monkeypatch.setattr(ray_pool.ray, "nodes", cluster.nodes)
    monkeypatch.setattr(ray_pool.time, "sleep", cluster.sleep)
    monkeypatch.setattr(ray_pool.time, "monotonic", lambda: cluster.now)
    monkeypatch.setattr(ray_pool, "placement_group", cluster.ask)
    monkeypatch.setattr(ray_pool, "remove_placement_group", cluster.asked.remove)
    return cluster


HEAD: dict[str, float] = {"memory": 1}
GPU_NODE: dict[str, float] = {"CPU": 8, "GPU": 1}


def _cpus(*counts: float) -> list[dict[str, float]]:
    return [{"CPU": count} if count else HEAD for count in counts]


def _size(*, num_shards=100, **options):
    settings = ScoreSettings(input_uri="in", bundle_uri="b", output_uri="out", **options)
    return ray_pool.size_actors(settings, num_shards)


def _on_gpu(num_shards=100, **options):
    compute = ScoringComputeSettings(use_gpu=True, **options)
    return _size(num_shards=num_shards, compute=compute, ray_address="10.0.0.1:6379")


def test_size_actors_waits_for_a_cluster_whose_nodes_have_just_died(cluster):
    cluster.looks = [_cpus(0), _cpus(0), _cpus(0, 4, 2)]
    pool = _size()
    assert (pool.num_actors, pool.per_node) == (2, 1)
    assert pool.cpus <= 2 - ray_pool.ENCODE_CPUS[False] - ray_pool.WRITE_CPUS
    assert (cluster.most_asked, cluster.asked) == (1, [])


@pytest.mark.parametrize(
    ("cpus", "num_actors"),
    [(1, 4), (2, 1), (2, 4), (2, 8), (3, 8), (4, 12), (16, 4), (96, 32)],
)
def test_size_actors_on_one_node_leave_room_for_encode_and_write(
    cluster, cpus, num_actors
):
    """After the loss of a node its actor starts again wherever it fits."""
    cluster.looks = [_cpus(0, cpus, cpus, cpus, cpus)]
    pool = _size(compute=ScoringComputeSettings(num_workers=num_actors))
    fit = int(cpus / pool.cpus)
    assert fit == pool.per_node == max(1, num_actors / 4)
    rest = round(cpus - fit * pool.cpus, 9)
    assert rest >= ray_pool.ENCODE_CPUS[False] + ray_pool.WRITE_CPUS


def test_size_actors_never_ask_for_less_than_ray_counts(cluster):
    cluster.looks = [_cpus(1)]
    assert _size(compute=ScoringComputeSettings(num_workers=90)).cpus == 0.01


def test_size_actors_without_a_cpu_ends_the_run_resumable(cluster):
    cluster.looks = [_cpus(0)]
    with pytest.raises(PartialRunError, match="no node of the cluster has a free CPU"):
        _size(no_progress_timeout_s=20)
    assert 20 < cluster.now < 25
    assert cluster.asked == []


def test_size_actors_counts_the_wait_from_the_last_node_that_came(cluster):
    cluster.looks = [[HEAD]] * 15 + [[HEAD, HEAD]]
    with pytest.raises(PartialRunError, match=r"none came or went for 20 s \(no_prog"):
        _size(no_progress_timeout_s=20)
    assert 35 < cluster.now < 40


def test_size_actors_on_gpu_asks_until_the_first_is_there_and_says_so(cluster, caplog):
    caplog.set_level("INFO")
    cluster.looks = [[HEAD]] * 20 + [[HEAD, GPU_NODE]]
    pool = _on_gpu(num_workers=4)
    assert pool == ray_pool.ActorPool(4, ray_pool.GPU_ACTOR_CPUS, per_node=1)
    assert (cluster.most_asked, cluster.asked) == (4, [])
    said = "score     waits for the first of 4 GPUs (1 node without"
    assert [message.split(",")[0] for message in caplog.messages] == [said, said]


@pytest.mark.parametrize(
    ("gpus", "num_shards", "wanted", "num_actors"),
    [
        (1, 100, None, ray_pool.GPUS_TO_ASK_FOR),
        (30, 100, None, 30),
        (30, 100, 2, 2),
        (1, 3, None, 3),
        (1, 3, 5, 3),
    ],
)
def test_size_actors_on_gpu_takes_what_may_come_and_the_setting_as_the_most(
    cluster, gpus, num_shards, wanted, num_actors
):
    dead: dict[str, float] = {}
    cluster.looks = [[HEAD, dead, *[GPU_NODE] * gpus]]
    assert _on_gpu(num_shards, num_workers=wanted).num_actors == num_actors
    assert cluster.most_asked == 0


@pytest.mark.parametrize("wanted", [None, 2])
def test_size_actors_refuses_a_gpu_that_no_node_can_bring(cluster, wanted):
    compute = ScoringComputeSettings(use_gpu=True, num_workers=wanted)
    cluster.looks = [_cpus(4)]
    with pytest.raises(
        SettingsError, match=r"^compute\.use_gpu: this machine has no GPU"
    ):
        _size(compute=compute)
    cluster.looks = [[GPU_NODE]]
    assert _size(compute=compute).num_actors == (wanted or ray_pool.GPUS_TO_ASK_FOR)
