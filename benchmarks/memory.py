"""Peak memory of a scoring run must not depend on the number of ads: python -m benchmarks.memory

Scores two generated catalogues with a stub-sized model on a cluster whose object store is smaller
than the larger one, reads the peak RSS (VmHWM) of the driver and of every worker from /proc, and
prints both and their ratio as JSON.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import ray
import torch
from ray.cluster_utils import Cluster

from benchmarks.stub import STUB, STUB_LENGTH, build_bundle
from rubert_ood.synthetic.catalogue import write_catalogue

KINDS = {"MapWorker": "scoring actor", "ray::": "encode and write workers"}
SAMPLE_S = 0.5


def peak_rss(pid: int) -> int:
    """Return the peak RSS of a living process in bytes, 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0
    )


def watch(
    driver: subprocess.Popen, raylet: psutil.Process, peaks: dict[str, int]
) -> None:
    """Note the highest peak of each kind of process until the driver ends."""
    while driver.poll() is None:
        peaks["driver"] = max(peaks.get("driver", 0), peak_rss(driver.pid))
        for worker in raylet.children():
            try:
                title = " ".join(worker.cmdline())
            except psutil.Error:
                continue
            kind = next((kind for mark, kind in KINDS.items() if mark in title), None)
            if kind and "ray::IDLE" not in title:
                peaks[kind] = max(peaks.get(kind, 0), peak_rss(worker.pid))
        time.sleep(SAMPLE_S)


@contextmanager
def cluster(store_mb: int) -> Iterator[tuple[str, psutil.Process]]:
    """Run a Ray head with two logical CPUs and a small object store; yields its address and its
    raylet."""
    options = {
        "num_cpus": 2,
        "object_store_memory": store_mb * 2**20,
        "include_dashboard": False,
    }
    head = Cluster(initialize_head=True, head_node_args=options)
    try:
        (raylet,) = head.head_node.all_processes["raylet"]
        yield head.address, psutil.Process(raylet.process.pid)
    finally:
        head.shutdown()


def measure(
    folder: Path, bundle_uri: str, num_ads: int, store_mb: int
) -> dict[str, object]:
    """Score `num_ads` ads on a fresh cluster; return the peaks in MB."""
    source = folder / f"ads-{num_ads}"
    if not source.exists():
        write_catalogue(str(source), num_ads, seed=5)
    source_mb = sum(path.stat().st_size for path in source.rglob("*.parquet")) / 2**20
    log = folder / f"log-{num_ads}"
    command = [
        sys.executable,
        "-m",
        "rubert_ood.cli",
        "score",
        "--no-publish",
        "--shard_rows",
        "20000",
    ]
    command += ["--input_uri", str(source), "--bundle_uri", bundle_uri]
    peaks = dict[str, int]()
    with (
        cluster(store_mb) as (address, raylet),
        open(log, "w") as stderr,
        tempfile.TemporaryDirectory(dir=folder) as out,
    ):
        started = time.monotonic()
        driver = subprocess.Popen(
            [*command, "--ray_address", address, "--output_uri", out], stderr=stderr
        )
        watch(driver, raylet, peaks)
    if driver.returncode != 0:
        raise SystemExit(log.read_text())
    megabytes = {kind: round(peak / 2**20, 1) for kind, peak in sorted(peaks.items())}
    seconds = round(time.monotonic() - started, 1)
    return {
        "ads": num_ads,
        "source_mb": round(source_mb, 1),
        "seconds": seconds,
        "peak_rss_mb": megabytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=200_000)
    parser.add_argument("--large", type=int, default=2_000_000)
    parser.add_argument("--store_mb", type=int, default=100, help="Ray's object store")
    parser.add_argument("--folder", help="keep the catalogues here, for another run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary)
        bundle_uri = (
            str(folder / "bundle")
            if (folder / "bundle").exists()
            else build_bundle(folder, STUB, max_length=STUB_LENGTH)
        )
        runs = [
            measure(folder, bundle_uri, num, arguments.store_mb)
            for num in (arguments.small, arguments.large)
        ]
    small, large = (run["peak_rss_mb"] for run in runs)
    assert isinstance(small, dict)
    assert isinstance(large, dict)
    versions = {
        "python": platform.python_version(),
        "ray": ray.__version__,
        "torch": torch.__version__,
    }
    machine = {"cpus": os.cpu_count(), "numpy": np.__version__, **versions}
    ratio = {kind: round(large[kind] / small[kind], 3) for kind in small}
    print(
        json.dumps(
            {
                "machine": machine,
                "store_mb": arguments.store_mb,
                "runs": runs,
                "ratio": ratio,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
