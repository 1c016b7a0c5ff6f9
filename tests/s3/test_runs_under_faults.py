"""Whole runs behind a proxy that drops, resets, refuses and stalls: what is published is right all
the same."""

import json
import os
import random
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.synthetic.catalogue import generate_ads
from tests.conftest import read_parts, same_rows, write_parquet
from tests.s3.proxy import DROP, FAULTS, Fault, matching

pytestmark = pytest.mark.timeout(600)  # outages are sat out

NUM_ADS, SHARD_ROWS = 4000, 200
NUM_SHARDS = NUM_ADS // SHARD_ROWS
OPEN_GATE = ["--gate.max_ood_rate", "1", "--gate.max_other_rate", "1"]


class Outage:
    """A rule: all is well until so many receipts are put; then nothing is answered, for so many
    seconds."""

    def __init__(self, receipts, seconds=float("inf")):
        self.began = threading.Event()
        self._receipts, self._seconds = receipts, seconds

    def __call__(self, request):
        if self.began.is_set():
            return DROP if time.monotonic() < self._end else None
        self._receipts -= request.method == "PUT" and "/_run/receipts/" in request.target
        if self._receipts == 0:
            self._end = time.monotonic() + self._seconds
            self.began.set()
        return None


def sometimes(share, faults, seed):
    """Do one of these to a share of the requests; which request gets which depends on the seed, not
    on their order."""

    def rule(request):
        draw = random.Random(f"{seed} {request}")
        return draw.choice(faults) if draw.random() < share else None

    return rule


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A local folder with the ads in two files."""
    folder = tmp_path_factory.mktemp("catalogue")
    table = pa.Table.from_batches(list(generate_ads(NUM_ADS, seed=11)))
    for name, part in (
        ("a", table.slice(0, NUM_ADS // 2)),
        ("b", table.slice(NUM_ADS // 2)),
    ):
        write_parquet(folder / f"{name}.parquet", part, row_group_size=SHARD_ROWS)
    return folder


def start(folder, output, environment, executor="ray"):
    """Score the ads of FOLDER/ads with FOLDER/bundle."""
    command = [
        sys.executable,
        "-m",
        "rubert_ood.cli",
        "score",
        "--input_uri",
        f"{folder}/ads",
        "--run_id",
        "night",
    ]
    command += [
        "--bundle_uri",
        f"{folder}/bundle",
        "--output_uri",
        output,
        "--shard_rows",
        str(SHARD_ROWS),
        *OPEN_GATE,
    ]
    command += [
        "--run_date",
        "2026-11-24",
        "--carry_columns",
        "city,price",
        "--no_progress_timeout_s",
        "60",
    ]
    command += ["--ray_address", "local", "--executor", executor]
    environment = {**os.environ, **environment}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def undisturbed(catalogue, trained_bundle, tmp_path_factory):
    """The predictions of a run on this machine's disk, in one process (tests/ray/test_scoring.py:
    they are those of Ray)."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "ads").symlink_to(catalogue)
    (folder / "bundle").symlink_to(trained_bundle)
    process = start(folder, str(folder), {}, executor="local")
    _, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    parts = read_parts(str(folder / "run_date=2026-11-24" / "run_id=night"))
    assert parts.num_rows == NUM_ADS
    return parts


@pytest.fixture
def job(s3, s3_env, direct, proxy, catalogue, trained_bundle, tmp_path):
    """A function that starts a run with everything on S3 behind the proxy; the bundle is not in the
    cache."""
    folder = f"{s3}/faults/{tmp_path.name}"
    direct.put(f"{catalogue}/", f"{folder}/ads/", recursive=True)
    direct.put(f"{trained_bundle}/", f"{folder}/bundle/", recursive=True)
    environment = {**s3_env, "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"]}
    environment |= {
        "TMPDIR": str(tmp_path),
        "RAY_TMPDIR": "/tmp",
    }  # the cache; Ray's socket paths must be short
    return f"{folder}/out", lambda **changes: start(
        folder, f"{folder}/out", environment | changes
    )


def finish(process):
    _, stderr = process.communicate(timeout=300)
    assert "Traceback" not in stderr
    return process.returncode, stderr


def assert_published(output, direct, undisturbed):
    """Assert that readers find each row of the undisturbed run once, and nothing else."""
    pointer = json.loads(direct.cat_file(f"{output}/latest.json"))
    run = f"{output}/{pointer['path']}"
    assert len(direct.ls(f"{run}/_run/receipts")) == NUM_SHARDS
    (path,) = direct.glob(f"{run}/**/*.parquet")
    same_rows(pq.read_table(pa.BufferReader(direct.cat_file(path))), undisturbed)
    assert direct.glob(f"{run}/_parts/*") == []  # readers have the sealed file
    manifest = json.loads(direct.cat_file(f"{run}/_run/manifest.json"))
    assert manifest["outcome"] == "published"
    assert manifest["counts"]["rows_in"] == manifest["counts"]["rows_scored"] == NUM_ADS


def test_a_run_under_random_faults_and_an_outage_of_20_seconds_is_right(
    undisturbed, job, proxy, direct
):
    output, run = job
    random_faults = sometimes(
        0.05,
        [fault for fault in FAULTS if fault.kind != "trickle"]
        + [Fault("trickle", seconds=2)],
        5,
    )
    swap = matching(1, Fault("lose answer"), "PUT", "/latest.json")
    outage = Outage(receipts=3, seconds=20)
    proxy.rule = lambda request: (
        outage(request) or swap(request) or random_faults(request)
    )
    code, stderr = finish(run())
    assert code == 0, stderr
    assert_published(output, direct, undisturbed)
    assert proxy.faults[DROP] > 10
    assert sum(proxy.faults.values()) > proxy.faults[DROP] + 10
    assert len({fault.kind for fault in proxy.faults}) > 4


def test_a_permanent_outage_ends_the_run_and_the_same_command_finishes_it(
    undisturbed, job, proxy, direct
):
    output, run = job
    proxy.rule = outage = Outage(receipts=3)
    process = run(RUBERT_OOD_RETRY_S="5")
    assert outage.began.wait(120)
    proxy.fail()
    began = time.monotonic()
    code, stderr = finish(process)
    assert code == 6, stderr
    assert time.monotonic() - began < 120
    assert [
        line for line in stderr.splitlines() if line.startswith("error:")
    ] == stderr.splitlines()[-1:]
    assert "s3://" in stderr.splitlines()[-1]
    receipts = direct.cat(
        f"{output}/run_date=2026-11-24/run_id=night/_run/receipts/*.json"
    )
    assert 0 < len(receipts) < NUM_SHARDS
    proxy.rule = lambda request: None
    proxy.requests.clear()
    proxy.recover()
    code, stderr = finish(run(RUBERT_OOD_RETRY_S="5"))
    assert code == 0, stderr
    assert_published(output, direct, undisturbed)
    assert direct.cat(sorted(receipts)) == receipts
    written = {
        request.target.rpartition("/")[2]
        for request in proxy.requests
        if request.method == "PUT"
    }
    done = {os.path.basename(name).replace(".json", ".scored") for name in receipts}
    assert not written & done
    parts = [name for name in written if name.endswith(".scored")]
    assert len(parts) == NUM_SHARDS - len(done)
