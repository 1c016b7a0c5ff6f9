"""Storage and whole jobs behind a proxy that drops, resets, refuses and stalls: the result is right
all the same."""

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.ads.tables import inspect, read_rows
from rubert_ood.errors import InputError, OutputError, StorageUnavailableError
from rubert_ood.storage import folders
from rubert_ood.storage.folders import fetch_folder, put_folder
from rubert_ood.storage.listing import list_below
from rubert_ood.synthetic.catalogue import generate_ads
from tests.conftest import patch_storage, read_parts, same_rows, write_parquet
from tests.s3.proxy import Fault

pytestmark = pytest.mark.timeout(600)  # outages are sat out

SLOW_DOWN = Fault("error", status=503, code="SlowDown")
INTERNAL = Fault("error", status=500, code="InternalError")
DROP = Fault("drop")
FAULTS = [
    DROP,
    Fault("reset upload"),
    Fault("reset answer"),
    Fault("cut answer"),
    Fault("lose answer"),
    Fault("trickle", seconds=0.5),
    SLOW_DOWN,
    INTERNAL,
    Fault("error", status=429, code="TooManyRequests"),
    Fault("error", status=502),
    Fault("error", status=503),
    Fault("error", status=504, code="GatewayTimeout"),
]
NAMES = [f"{fault.kind} {fault.status or ''} {fault.code}".strip() for fault in FAULTS]
PART_BYTES = 50 * 2**20
"""Of a multipart upload by s3fs."""


def at_first(count, fault):
    """Do this to the first `count` requests for each method and target."""
    seen = Counter()

    def rule(request):
        seen[request.method, request.target] += 1
        return fault if seen[request.method, request.target] <= count else None

    return rule


def matching(count, fault, method, words):
    """Do this to the first `count` requests of this method whose target holds these words."""
    left = iter(range(count))
    return lambda request: (
        fault
        if request.method == method
        and words in request.target
        and next(left, None) is not None
        else None
    )


def sometimes(share, faults, seed):
    """Do one of these to a share of the requests; which request gets which depends on the seed, not
    on their order."""

    def rule(request):
        draw = random.Random(f"{seed} {request}")
        return draw.choice(faults) if draw.random() < share else None

    return rule


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def small_folder(tmp_path):
    """Three files; returns the folder and their contents."""
    contents = {
        name: random.Random(name).randbytes(70_000)
        for name in ("one", "two", "manifest.json")
    }
    (tmp_path / "folder").mkdir()
    for name, data in contents.items():
        (tmp_path / "folder" / name).write_bytes(data)
    return str(tmp_path / "folder"), contents


TABLE = pa.table(
    {
        "row": range(5000),
        "text": [random.Random(row).randbytes(50).hex() for row in range(5000)],
    }
)
"""Larger than what Arrow reads together with the footer."""


@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_each_operation_survives_a_fault_of_each_of_its_requests(
    fault, s3, proxy, direct, small_folder, cache, tmp_path
):
    root = f"{s3}/each/{fault.kind}-{fault.status}-{fault.code}".replace(" ", "-")
    local_dir, contents = small_folder
    data = random.Random(1).randbytes(300_000)
    direct.pipe_file(f"{root}/table.parquet", write_table(row_group_size=1000))

    def struck(operation, *arguments, **options):
        before = proxy.faults[fault]
        proxy.rule = at_first(1, fault)
        result = operation(*arguments, **options)
        proxy.rule = lambda request: None
        assert proxy.faults[fault] > before
        return result

    struck(storage.put_bytes, f"{root}/data", data)
    assert direct.cat_file(f"{root}/data") == data
    assert struck(storage.read_bytes, f"{root}/data") == data
    assert struck(storage.exists, f"{root}/data") is True
    assert struck(storage.exists, f"{root}/nothing") is False
    names = [file.uri for file in struck(list_below, root).files]
    assert names == [f"{root}/data", f"{root}/table.parquet"]
    assert [file.size for file in struck(list_below, f"{root}/d*").files] == [len(data)]
    assert struck(inspect, f"{root}/table.parquet").row_groups == [1000] * 5
    assert struck(
        read_rows, f"{root}/table.parquet", ["text", "row"], start=1500, stop=3700
    ).equals(TABLE.slice(1500, 2200).select(["text", "row"]))
    struck(put_folder, local_dir, f"{root}/folder", last="manifest.json")
    assert {name: direct.cat_file(f"{root}/folder/{name}") for name in contents} == contents
    copy = struck(fetch_folder, f"{root}/folder", "tests", "key", list(contents))
    assert {
        name: read_file(os.path.join(copy, name)) for name in os.listdir(copy)
    } == contents


def write_table(**options):
    sink = pa.BufferOutputStream()
    pq.write_table(TABLE, sink, **options)
    return sink.getvalue().to_pybytes()


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.parametrize(
    ("count", "fault"),
    [(7, SLOW_DOWN), (4, INTERNAL), (7, DROP), (4, Fault("cut answer"))],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
def test_a_burst_longer_than_the_clients_own_patience_is_sat_out(
    count, fault, s3, proxy, direct, monkeypatch
):
    data = random.Random(2).randbytes(100_000)
    direct.pipe_file(f"{s3}/burst", data)
    monkeypatch.setenv("RUBERT_OOD_RETRY_S", "0")
    proxy.rule = matching(count, fault, "GET", "burst")
    with pytest.raises(StorageUnavailableError, match=f"{s3}/burst: "):
        storage.read_bytes(f"{s3}/burst")
    monkeypatch.delenv("RUBERT_OOD_RETRY_S")
    proxy.faults.clear()
    proxy.rule = matching(count, fault, "GET", "burst")
    assert storage.read_bytes(f"{s3}/burst") == data
    proxy.rule = matching(count, fault, "PUT", "burst")
    storage.put_bytes(f"{s3}/burst", data[::-1])
    assert direct.cat_file(f"{s3}/burst") == data[::-1]
    assert proxy.faults[fault] == 2 * count


def test_many_refused_uploads_at_once_do_not_block_the_connections(
    s3, proxy, direct, tmp_path
):
    contents = {f"file-{number:02d}": str(number).encode() * 1000 for number in range(24)}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    proxy.rule = at_first(1, SLOW_DOWN)
    put_folder(str(tmp_path), f"{s3}/many", last="file-00")
    assert proxy.faults[SLOW_DOWN] == len(contents)
    assert {name: direct.cat_file(f"{s3}/many/{name}") for name in contents} == contents


@pytest.fixture
def impatient(s3, monkeypatch):
    """A client that waits 3 s for an answer instead of 20, and 6 s for an upload instead of 40."""
    patch_storage(monkeypatch, "READ_TIMEOUT_S", 3)
    patch_storage(monkeypatch, "UPLOAD_START_S", 6)
    storage.objects._s3.cache_clear()
    yield
    storage.objects._s3.cache_clear()


def test_a_server_that_says_nothing_is_asked_again(s3, proxy, direct, impatient):
    direct.pipe_file(f"{s3}/silent", b"at last")
    stall = Fault("drop", seconds=60)
    proxy.rule = matching(1, stall, "GET", "silent")
    started = time.monotonic()
    assert storage.read_bytes(f"{s3}/silent") == b"at last"
    assert proxy.faults[stall] == 1
    assert 3 < time.monotonic() - started < 30


def test_a_server_that_stays_silent_is_given_up(s3, proxy, direct, monkeypatch, impatient):
    direct.pipe_file(f"{s3}/silence/table.parquet", write_table())
    monkeypatch.setenv("RUBERT_OOD_RETRY_S", "2")
    proxy.rule = lambda request: Fault("drop", seconds=600)
    operations = [
        lambda: storage.read_bytes(f"{s3}/silence/table.parquet"),
        lambda: list_below(f"{s3}/silence"),
        lambda: read_rows(f"{s3}/silence/table.parquet", ["row"]),
        lambda: storage.put_bytes(f"{s3}/silence/small", b"x"),
        lambda: storage.put_bytes(f"{s3}/silence/large", bytes(2_000_000)),
    ]
    give_up_at = time.monotonic() + 60
    with ThreadPoolExecutor(len(operations)) as pool, contextlib.ExitStack() as stack:
        stack.callback(proxy.fail)  # ends what still waits
        for future in [pool.submit(operation) for operation in operations]:
            with pytest.raises(StorageUnavailableError, match=f"{s3}/silence"):
                future.result(timeout=give_up_at - time.monotonic())


@pytest.mark.parametrize(
    "fault",
    [DROP, Fault("reset answer"), Fault("cut answer"), SLOW_DOWN],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
@pytest.mark.parametrize(
    ("name", "reading", "good_answers"),
    [
        ("table.parquet", inspect, 0),
        ("table.parquet", partial(read_rows, columns=["text"]), 1),
        ("table.csv", inspect, 0),
    ],
    ids=["footer", "rows", "csv"],
)
def test_a_broken_connection_is_not_taken_for_a_damaged_table(
    name, reading, good_answers, fault, s3, proxy, direct, monkeypatch
):
    uri = f"{s3}/good/{name}"
    direct.pipe_file(
        uri,
        write_table() if name.endswith(".parquet") else b"row,text\n" + b"1,text\n" * 5000,
    )
    monkeypatch.setenv("RUBERT_OOD_RETRY_S", "0")
    good = iter(range(good_answers))
    proxy.rule = lambda request: (
        fault if request.method == "GET" and next(good, None) is None else None
    )
    with pytest.raises(StorageUnavailableError, match=uri):
        reading(uri)
    assert proxy.faults[fault] > 0


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "model.bin"
    path.write_bytes(random.Random(3).randbytes(2 * PART_BYTES + 2**20))
    return path


@pytest.mark.parametrize(
    ("count", "fault", "method", "words"),
    [
        (1, INTERNAL, "PUT", "partNumber=3"),
        (7, SLOW_DOWN, "PUT", "partNumber=3"),
        (1, Fault("reset upload"), "PUT", "partNumber=2"),
        (1, INTERNAL, "POST", "uploadId="),
        (4, INTERNAL, "POST", "uploadId="),
        (1, Fault("error", status=200, code="InternalError"), "POST", "uploadId="),
        (1, Fault("lose answer"), "POST", "uploadId="),
        (1, Fault("lose answer"), "POST", "uploads"),
    ],
    ids=[
        "last part",
        "last part, for long",
        "reset in a part",
        "complete",
        "complete, for long",
        "complete says 200 and means 500",
        "complete, and nobody hears of it",
        "create, and nobody hears of it",
    ],
)
def test_s3_multipart_upload_is_whole_under_faults(
    count, fault, method, words, s3, proxy, direct, large_file
):
    folder = f"{s3}/multipart/{count}-{fault.kind}-{method}-{fault.status}".replace(
        " ", "-"
    )
    proxy.rule = matching(count, fault, method, words)
    put_folder(str(large_file.parent), folder, last=large_file.name)
    assert proxy.faults[fault] == count
    assert direct.cat_file(f"{folder}/{large_file.name}") == large_file.read_bytes()


@pytest.mark.parametrize("kind", ["reset answer", "cut answer"])
def test_s3_large_download_is_whole_under_faults(
    kind, s3, proxy, direct, large_file, cache
):
    direct.put_file(str(large_file), f"{s3}/download/model.bin")
    proxy.rule = at_first(3, Fault(kind))
    copy = fetch_folder(f"{s3}/download", "tests", kind, ["model.bin"])
    assert read_file(os.path.join(copy, "model.bin")) == large_file.read_bytes()
    assert proxy.faults[Fault(kind)] >= 3
    proxy.rule = at_first(3, Fault(kind))
    assert storage.read_bytes(f"{s3}/download/model.bin") == large_file.read_bytes()
    assert proxy.faults[Fault(kind)] >= 6


OUTAGES = {
    "accepts and closes": DROP,
    "SlowDown": SLOW_DOWN,
    "504": Fault("error", status=504),
}


@pytest.fixture
def operations(s3, direct, large_file, small_folder, cache):
    """Every storage operation by name, as a function of nothing, with the URI that its error must
    name."""
    root = f"{s3}/gone"
    direct.pipe_file(f"{root}/table.parquet", write_table())
    direct.pipe_file(f"{root}/data", b"data")
    return {
        "put_bytes": (f"{root}/put", lambda: storage.put_bytes(f"{root}/put", b"x")),
        "read_bytes": (f"{root}/data", lambda: storage.read_bytes(f"{root}/data")),
        "exists": (f"{root}/data", lambda: storage.exists(f"{root}/data")),
        "list_below": (root, lambda: list_below(root)),
        "list_below of a glob": (
            f"{root}/*.parquet",
            lambda: list_below(f"{root}/*.parquet"),
        ),
        "inspect": (f"{root}/table.parquet", lambda: inspect(f"{root}/table.parquet")),
        "read_rows": (
            f"{root}/table.parquet",
            lambda: read_rows(f"{root}/table.parquet", ["row"]),
        ),
        "put_folder": (
            f"{root}/put",
            lambda: put_folder(small_folder[0], f"{root}/put", last="manifest.json"),
        ),
        "put_folder, large": (
            f"{root}/put/{large_file.name}",
            lambda: put_folder(str(large_file.parent), f"{root}/put", last=large_file.name),
        ),
        "fetch_folder": (
            f"{root}/data",
            lambda: fetch_folder(root, "tests", "gone", ["data"]),
        ),
    }


def assert_unavailable(uri, operation):
    """Assert that the operation gives up in time, in one line that names the URI."""
    started = time.monotonic()
    with pytest.raises(StorageUnavailableError) as caught:
        operation()
    assert time.monotonic() - started < 30
    assert str(caught.value).startswith(uri)
    assert "storage does not answer" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 6


def test_every_operation_gives_up_when_nobody_listens_any_more(
    operations, proxy, monkeypatch
):
    monkeypatch.setenv("RUBERT_OOD_RETRY_S", "2")
    proxy.fail()
    for uri, operation in operations.values():
        assert_unavailable(uri, operation)


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_permanent_outage_of_another_kind_ends_as_well(
    outage, operations, proxy, monkeypatch
):
    monkeypatch.setenv("RUBERT_OOD_RETRY_S", "2")
    proxy.rule = lambda request: OUTAGES[outage]
    for name in ("put_bytes", "read_bytes", "list_below", "read_rows"):
        assert_unavailable(*operations[name])
    assert proxy.faults[OUTAGES[outage]] > 8


def test_an_outage_that_ends_in_time_is_not_noticed(operations, proxy, direct, s3):
    proxy.fail()
    timer = threading.Timer(6, proxy.recover)
    timer.start()
    operations["put_bytes"][1]()
    timer.join()
    assert direct.cat_file(f"{s3}/gone/put") == b"x"


@pytest.mark.parametrize(
    ("operation", "times"),
    [
        (lambda root: storage.read_bytes(f"{root}/no/such/key"), 1),
        (lambda root: list_below(f"{root}/no/such/folder"), 1),
        (lambda root: read_rows(f"{root}/no/such/table.parquet", ["row"]), 1),
        (lambda root: storage.read_bytes("s3://no-such-bucket/key"), 1),
    ],
    ids=["key", "folder", "table", "bucket"],
)
def test_what_is_missing_is_not_asked_for_again(operation, times, s3, proxy):
    with pytest.raises(InputError, match="no such file, folder or bucket"):
        operation(s3)
    assert most_often(proxy) == times


@pytest.mark.parametrize("key", ["read-key", "unknown-key", "test-key"])
def test_what_is_denied_is_not_asked_for_again(key, s3, proxy, direct, monkeypatch):
    direct.pipe_file(f"{s3}/closed", write_table())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv(
        "AWS_SECRET_ACCESS_KEY", "read-secret"
    )  # right for read-key, which may not write
    with pytest.raises(OutputError, match=f"{s3}/closed/put: access denied"):
        storage.put_bytes(f"{s3}/closed/put", b"x")
    assert most_often(proxy) == 1
    if key == "read-key":
        assert read_rows(f"{s3}/closed", ["row"]).num_rows == TABLE.num_rows
        return
    for operation in (
        lambda: storage.read_bytes(f"{s3}/closed"),
        lambda: list_below(f"{s3}/closed"),
        lambda: storage.exists(f"{s3}/closed"),
        lambda: read_rows(f"{s3}/closed", ["row"]),
    ):
        proxy.requests.clear()
        with pytest.raises(InputError, match=f"{s3}/closed: access denied"):
            operation()
        assert most_often(proxy) == 1


def most_often(proxy):
    """Return how often the most frequent request was made."""
    return max(
        Counter((request.method, request.target) for request in proxy.requests).values()
    )


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


def start(folder, output, environment):
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
    command += ["--ray_address", "local"]
    environment = {**os.environ, **environment}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def undisturbed(catalogue, trained_bundle, tmp_path_factory):
    """The predictions of a run on this machine's disk."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "ads").symlink_to(catalogue)
    (folder / "bundle").symlink_to(trained_bundle)
    process = start(folder, str(folder), {})
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
    parts = sorted(direct.glob(f"{run}/*.parquet"))
    assert len(parts) == len(direct.ls(f"{run}/_run/receipts")) == NUM_SHARDS
    same_rows(
        pa.concat_tables(
            [pq.read_table(pa.BufferReader(direct.cat_file(part))) for part in parts]
        ),
        undisturbed,
    )
    manifest = json.loads(direct.cat_file(f"{run}/_run/manifest.json"))
    assert manifest["outcome"] == "published"
    assert manifest["counts"]["rows_in"] == manifest["counts"]["rows_scored"] == NUM_ADS


def test_a_run_under_random_faults_is_right(undisturbed, job, proxy, direct):
    output, run = job
    random_faults = sometimes(
        0.05,
        [fault for fault in FAULTS if fault.kind != "trickle"]
        + [Fault("trickle", seconds=2)],
        5,
    )
    swap = matching(1, Fault("lose answer"), "PUT", "/latest.json")
    proxy.rule = lambda request: swap(request) or random_faults(request)
    code, stderr = finish(run())
    assert code == 0, stderr
    assert_published(output, direct, undisturbed)
    assert sum(proxy.faults.values()) > 10
    assert len({fault.kind for fault in proxy.faults}) > 4


def test_a_run_sits_out_an_outage_of_20_seconds(undisturbed, job, proxy, direct):
    output, run = job
    proxy.rule = Outage(receipts=3, seconds=20)
    code, stderr = finish(run())
    assert code == 0, stderr
    assert proxy.faults[DROP] > 10
    assert_published(output, direct, undisturbed)


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
    receipts = direct.cat(f"{output}/run_date=2026-11-24/run_id=night/_run/receipts/*.json")
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
    done = {
        "part-" + os.path.basename(name).replace(".json", ".parquet") for name in receipts
    }
    assert not written & done
    assert len([name for name in written if name.startswith("part-")]) == NUM_SHARDS - len(
        done
    )
