"""A cluster on this machine whose autoscaler starts and ends nodes: Ray's own fake provider.

`ray.cluster_utils.AutoscalingCluster` is the same, but reads a file that the wheel of Ray lacks,
and ends every Ray on the machine.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from tests.chaos.machines import wait_for

STORE_BYTES = 150 * 2**20
START_S = 120
HEAD = "ray.head.default"
FAKE = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
COMMANDS = (
    "cluster_synced_files",
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""What a provider of its own module must have, be it empty."""
ENV = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",  # as `ray up` has it
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "4",
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
}


class GrowingCluster:
    """A head that runs no tasks, and nodes as the autoscaler starts them."""

    def __init__(self, node_types: Mapping[str, dict], env: Mapping[str, str]) -> None:
        """`node_types` has resources, min_workers and max_workers of each; env is that of all
        processes."""
        self._dir = tempfile.mkdtemp(prefix="g", dir="/tmp")  # sockets have short names
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        config = Path(self._dir, "cluster.json")
        config.write_text(json.dumps(_config(node_types, self.address)))
        command = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--head",
            "--block",
        ]
        command += [
            f"--port={port}",
            "--node-ip-address=127.0.0.1",
            "--num-cpus=0",
            "--num-gpus=0",
        ]
        command += [f"--object-store-memory={STORE_BYTES}", "--include-dashboard=false"]
        command += [f"--temp-dir={self._dir}", f"--autoscaling-config={config}"]
        command += ["--disable-usage-stats"]
        self._log = Path(self._dir, "head.log")
        with self._log.open("wb") as log:
            self._head = subprocess.Popen(
                command, env={**os.environ, **env, **ENV}, stdout=log, stderr=log
            )
        wait_for(self._is_up, "the head", START_S, pause_s=0.2)

    def _is_up(self) -> bool:
        assert self._head.poll() is None, self._log.read_text()
        return "Ray runtime started" in self._log.read_text()

    def raylets(self) -> list[psutil.Process]:
        """Return the process of each node that the autoscaler started and that lives, oldest
        first."""
        found = []
        for process in psutil.Process(self._head.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if process.name() == "raylet" and alive and _is_of_monitor(process):
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())

    def kill_node(self, raylet: psutil.Process) -> None:
        """Kill -9 all processes of a node: a spot node that is taken back."""
        for process in [raylet, *raylet.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def close(self) -> None:
        family = psutil.Process(self._head.pid).children(recursive=True)
        self._head.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._head.wait(10)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._head.kill()
        self._head.wait()
        shutil.rmtree(self._dir, ignore_errors=True)


def _is_of_monitor(raylet: psutil.Process) -> bool:
    """Say whether the autoscaler started it; that of the head is a child of `ray start`."""
    parent = raylet.parent()
    return parent is not None and "monitor.py" in " ".join(parent.cmdline())


def _config(node_types: Mapping[str, dict], gcs_address: str) -> dict:
    types = {HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
    for name, node_type in node_types.items():
        resources = {**node_type["resources"], "object_store_memory": STORE_BYTES}
        types[name] = {"node_config": {}, **node_type, "resources": resources}
    provider = {
        "type": "external",
        "module": FAKE,
        "gcs_address": gcs_address,
        "head_node_id": FAKE_HEAD_NODE_ID,
        "launch_multiple": True,
        "disable_node_updaters": True,
    }
    return {
        "cluster_name": "growing",
        "max_workers": 8,
        "idle_timeout_minutes": 0.1,
        "provider": provider,
        "auth": {},
        "available_node_types": types,
        "head_node_type": HEAD,
        **dict.fromkeys(COMMANDS, ()),
        "file_mounts": {},
    }
