"""Several Ray nodes on one machine, whose processes can be found and killed one by one."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psutil
import ray._common.utils
from ray.cluster_utils import Cluster

NUM_NODES = 2
OBJECT_STORE_BYTES = 150 * 2**20
SYSTEM_CONFIG = {
    "idle_worker_killing_time_threshold_ms": (
        600_000
    ),  # shards of milliseconds: starting a worker would be all the work
    "health_check_period_ms": 500,  # a dead node is noticed in 2 s instead of 15
    "health_check_failure_threshold": 4,
}
JOB_PROCESS = (
    "ray::Map"  # ray::MapBatches(encode_batch), ray::MapWorker(MapBatches(ScorerActor))
)
GONE_TIMEOUT_S = 30


class Machines:
    """A head that only coordinates, and nodes that work. The driver joins the head, so that a dead
    node spares it."""

    def __init__(self, env: dict[str, str], node_cpus: int) -> None:
        """Start them; env is the environment of the workers, node_cpus the logical CPUs of a node
        that works."""
        self._env = env
        self._node_cpus = node_cpus
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "_system_config": SYSTEM_CONFIG,
            },
        )
        ray._common.utils.reset_ray_address()  # other tests must not join by default
        self.heal(node_cpus)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    @property
    def nodes(self) -> list[Any]:
        """The nodes that work, in order of their start."""
        return sorted(self.cluster.worker_nodes, key=_raylet_pid)

    def add_node(self) -> None:
        self.cluster.add_node(
            num_cpus=self._node_cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            env_vars=self._env,
        )

    def heal(self, node_cpus: int) -> None:
        """Bring the nodes that work to their number and size."""
        for node in self.nodes:
            if not psutil.pid_exists(_raylet_pid(node)):
                self.cluster.remove_node(node, allow_graceful=False)
            elif node_cpus != self._node_cpus or len(self.nodes) > NUM_NODES:
                self.kill_node(node)
        self._node_cpus = node_cpus
        while len(self.nodes) < NUM_NODES:
            self.add_node()
        self.cluster.wait_for_nodes()

    def processes(
        self, title: str | tuple[str, ...] = JOB_PROCESS
    ) -> list[psutil.Process]:
        """Return the workers whose process title begins with `title`, by pid."""
        found = []
        for node in self.cluster.worker_nodes:
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(_raylet_pid(node)).children()
                found += [
                    child for child in children if process_title(child).startswith(title)
                ]
        return sorted(found, key=lambda process: process.pid)

    def kill_node(self, node: Any) -> None:
        """Kill -9 all processes of a node: a machine that loses power."""
        raylet = psutil.Process(_raylet_pid(node))
        family = [raylet, *raylet.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.cluster.remove_node(node, allow_graceful=False)
        psutil.wait_procs(family, timeout=GONE_TIMEOUT_S)

    def wait_until_quiet(self) -> None:
        """Wait until no worker of a job is left."""
        wait_for(
            lambda: not self.processes(),
            "the workers of the dead driver to end",
            GONE_TIMEOUT_S,
        )

    def close(self) -> None:
        self.cluster.shutdown()


def process_title(process: psutil.Process) -> str:
    """Return the title of a process, empty when it is gone."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def wait_for(
    condition: Callable[[], object], what: str, timeout_s: float, pause_s: float = 0.02
) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(pause_s)


def _raylet_pid(node: Any) -> int:
    (raylet,) = node.all_processes["raylet"]
    return int(raylet.process.pid)
