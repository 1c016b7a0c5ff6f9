"""The scoring job on a cluster whose autoscaler starts its nodes; these have a GPU that only Ray
knows of, the network runs on CPU."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from rubert_ood.scoring.passes import MAX_LOSSES
from rubert_ood.scoring.ray_executor import IN_FLIGHT
from rubert_ood.synthetic.catalogue import generate_ads
from tests.chaos.growing import GrowingCluster
from tests.chaos.machines import process_title, wait_for
from tests.chaos.poison.sitecustomize import MARKER
from tests.chaos.runs import KILLED, ScoreRun
from tests.conftest import same_rows, write_parquet

pytestmark = pytest.mark.timeout(600)

NUM_ADS, SHARD_ROWS = 4_000, 20
NUM_SHARDS = NUM_ADS // SHARD_ROWS
MAX_NODES = 2
RUN_S, COME_S, GO_S = 300, 120, 60
GPU_NODES = {
    "gpu": {
        "resources": {"CPU": 2, "GPU": 1},
        "min_workers": 0,
        "max_workers": MAX_NODES,
    }
}


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line for each process that met the poisoned shard."""
    return tmp_path_factory.mktemp("poison") / "attempts"


@pytest.fixture(scope="module")
def env(attempts: Path) -> dict[str, str]:
    folders = [
        str(Path(__file__).with_name("logical_gpu")),
        os.environ.get("PYTHONPATH", ""),
    ]
    return {
        "PYTHONPATH": os.pathsep.join(folder for folder in folders if folder),
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        "CHAOS_POISON": "score",
        "CHAOS_ATTEMPTS": str(attempts),
    }


@pytest.fixture(scope="module")
def cluster(env: dict[str, str]) -> Iterator[GrowingCluster]:
    cluster = GrowingCluster(GPU_NODES, env)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    table = pa.Table.from_batches(list(generate_ads(NUM_ADS, seed=31)))
    folder = tmp_path_factory.mktemp("source")
    write_parquet(folder / "a.parquet", table, row_group_size=100)
    return str(folder)


@pytest.fixture
def new_run(source, trained_bundle, env, tmp_path) -> Iterator[object]:
    runs: list[ScoreRun] = []

    def new(name: str, *options: str, input_uri: str = source) -> ScoreRun:
        log_dir = tmp_path / f"{name}-logs"
        log_dir.mkdir()
        given = ["--input_uri", input_uri, "--bundle_uri", trained_bundle]
        given += ["--shard_rows", str(SHARD_ROWS), "--gate.max_ood_rate", "1"]
        given += ["--gate.max_other_rate", "1", *options]
        files = fsspec.filesystem("file")
        runs.append(ScoreRun(files, str(tmp_path / name), log_dir, given, env))
        return runs[-1]

    yield new
    for run in runs:
        run.kill()


def test_score_starts_with_the_first_node_uses_the_second_and_outlives_the_loss_of_one(
    cluster, new_run
):
    """Three GPUs are asked for, the autoscaler has two, and none of them is there at the start."""
    assert cluster.raylets() == []
    run = new_run(
        "out",
        *("--ray_address", cluster.address),
        *("--compute.use_gpu", "--compute.num_workers", "3"),
    )
    run.start()
    wait_for(lambda: _receipts(run) >= 20, "the first shards", RUN_S)
    wait_for(lambda: len(cluster.raylets()) == MAX_NODES, "two nodes", COME_S)
    first, second = cluster.raylets()
    wait_for(lambda: _scores(first) and _scores(second), "two actors", COME_S)
    assert run.num_receipts() < NUM_SHARDS, "too fast for this test"
    cluster.kill_node(first)
    assert run.finish(RUN_S) == 0, run.log()

    assert "waits for the first of 3 GPUs (1 node without" in run.log()
    assert re.search(rf"score +scores {NUM_SHARDS} shards in up to 3 actors", run.log())
    whole = new_run("whole", "--executor", "local")
    whole.start()
    assert whole.finish(RUN_S) == 0, whole.log()
    same_rows(run.rows(), whole.rows())
    assert not any("/_run/quarantine/" in name for name in run.files())
    wait_for(lambda: not cluster.raylets(), "the nodes to be given back", GO_S)


def test_a_shard_that_kills_its_actor_takes_others_along_once_and_is_lost_alone(
    cluster, new_run, attempts, tmp_path
):
    """The actor has three shards at a time; the passes after the first have the lost ones."""
    table = pa.Table.from_batches(list(generate_ads(600, seed=23)))
    good, bad = table.slice(0, 580), table.slice(580)
    write_parquet(tmp_path / "in" / "a.parquet", good, row_group_size=100)
    write_parquet(tmp_path / "in" / f"b-{MARKER}.parquet", bad)
    run = new_run(
        "out",
        *("--ray_address", cluster.address, "--gate.max_error_rate", "1"),
        *("--compute.use_gpu", "--compute.num_workers", "1"),
        input_uri=str(tmp_path / "in"),
    )
    run.start()
    assert run.finish(RUN_S) == 0, run.log()
    (quarantined,) = [name for name in run.files() if "/_run/quarantine/" in name]
    aside = json.loads(run.read(quarantined))
    assert MARKER in aside["uri"]
    assert "process died" in aside["reason"]
    assert run.rows()["ad_id"].to_pylist() == good["ad_id"].to_pylist()
    assert len(attempts.read_text().splitlines()) == MAX_LOSSES
    lost = re.findall(r"(\d+) shards? again, which got lost", run.log())
    assert len(lost) == MAX_LOSSES - 1
    assert 1 <= int(lost[0]) <= IN_FLIGHT[True]
    assert lost[1] == "1", run.log()


def test_score_that_is_killed_leaves_no_demand_for_nodes(cluster, new_run):
    run = new_run("out", "--ray_address", cluster.address, "--compute.use_gpu")
    run.start()
    wait_for(lambda: _receipts(run) >= 1, "the first shard", RUN_S)
    run.kill()
    assert run.outcomes == [KILLED]
    wait_for(lambda: not cluster.raylets(), "the nodes to be given back", GO_S)


def _receipts(run: ScoreRun) -> int:
    assert run.running(), run.log()
    return run.num_receipts()


def _scores(raylet) -> bool:
    return any(
        process_title(process).startswith("ray::MapWorker")
        for process in raylet.children(recursive=True)
    )
