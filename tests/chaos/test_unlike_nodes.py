"""Nodes of unlike size, one that joins later and one that goes: the run ends well, and never waits
for ever for a place that no node has."""

import os
from collections.abc import Iterator
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from rubert_ood.synthetic.catalogue import generate_ads
from tests.chaos.machines import Machines, process_title, wait_for
from tests.chaos.runs import ScoreRun
from tests.conftest import same_rows, write_parquet

pytestmark = pytest.mark.timeout(600)

NUM_ADS, SHARD_ROWS = 4_000, 20
NUM_SHARDS = NUM_ADS // SHARD_ROWS
RUN_S = 300
STALL_S = 30


class UnlikeMachines(Machines):
    """Nodes of the sizes that a test names."""

    def heal(self, node_cpus: int) -> None:
        """Start none by itself."""

    def add(self, node_cpus: int) -> Any:
        before = set(self.cluster.worker_nodes)
        self._node_cpus = node_cpus
        self.add_node()
        (node,) = set(self.cluster.worker_nodes) - before
        return node


@pytest.fixture
def machines() -> Iterator[UnlikeMachines]:
    env = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "OMP_NUM_THREADS": "1"}
    machines = UnlikeMachines(env, node_cpus=0)
    yield machines
    machines.close()


@pytest.fixture
def run(machines, trained_bundle, tmp_path) -> Iterator[ScoreRun]:
    table = pa.Table.from_batches(list(generate_ads(NUM_ADS, seed=31)))
    write_parquet(tmp_path / "in" / "a.parquet", table, row_group_size=100)
    options = ["--input_uri", str(tmp_path / "in"), "--bundle_uri", trained_bundle]
    options += ["--ray_address", machines.address, "--shard_rows", str(SHARD_ROWS)]
    options += ["--gate.max_ood_rate", "1", "--gate.max_other_rate", "1"]
    files = fsspec.filesystem("file")
    run = ScoreRun(files, str(tmp_path / "out"), tmp_path, options)
    yield run
    run.kill()


def _wait_for_receipts(run: ScoreRun, count: int) -> None:
    def there() -> bool:
        assert run.running(), run.log()
        return run.num_receipts() >= count

    wait_for(there, f"{count} receipts", RUN_S)


def _check_whole(run: ScoreRun) -> None:
    assert run.finish(RUN_S) == 0, run.log()
    whole = ScoreRun(run.fs, f"{run.output_uri}-whole", run.log_dir, run.options[:4])
    whole.options = [*whole.options, "--executor", "local", "--shard_rows", "1000"]
    whole.options += ["--gate.max_ood_rate", "1", "--gate.max_other_rate", "1"]
    whole.start()
    assert whole.finish(RUN_S) == 0, whole.log()
    same_rows(run.rows(), whole.rows())


def test_run_whose_large_node_goes_ends_on_the_small_one_that_joined_later(machines, run):
    """The actor asked for more than the small node has: a pass stalls, the next one fits."""
    large = machines.add(4)
    run.options = [*run.options, "--no_progress_timeout_s", str(STALL_S)]
    run.start()
    _wait_for_receipts(run, 10)
    machines.add(2)
    assert run.num_receipts() < NUM_SHARDS, "too fast for this test"
    machines.kill_node(large)
    _check_whole(run)


def test_run_on_a_small_and_a_large_node_has_an_actor_on_each_and_outlives_the_small_one(
    machines, run
):
    small = machines.add(2)
    machines.add(4)

    def raylets_with_actors() -> set[int]:
        return {
            process.ppid()
            for process in machines.processes()
            if process_title(process).startswith("ray::MapWorker")
        }

    # nothing stalls: what is slow to start has its time
    run.options = [*run.options, "--no_progress_timeout_s", str(RUN_S)]
    run.start()
    wait_for(lambda: len(raylets_with_actors()) == 2, "an actor on each node", RUN_S)
    _wait_for_receipts(run, 10)
    machines.kill_node(small)
    _check_whole(run)
