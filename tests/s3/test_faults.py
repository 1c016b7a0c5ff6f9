"""Storage behind a proxy that drops, resets, refuses and stalls: the result is right
all the same."""

import contextlib
import os
import random
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
from rubert_ood.storage import folders, retry
from rubert_ood.storage.folders import fetch_folder, put_folder
from rubert_ood.storage.listing import list_below
from tests.conftest import patch_storage
from tests.s3.proxy import DROP, FAULTS, INTERNAL, SLOW_DOWN, Fault, matching

pytestmark = pytest.mark.timeout(600)  # outages are sat out

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
    fault, s3, proxy, direct, small_folder, cache, monkeypatch
):
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.05)
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
    assert {
        name: direct.cat_file(f"{root}/folder/{name}") for name in contents
    } == contents
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


def test_a_server_that_stays_silent_is_given_up(
    s3, proxy, direct, monkeypatch, impatient
):
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
        write_table()
        if name.endswith(".parquet")
        else b"row,text\n" + b"1,text\n" * 5000,
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
            lambda: put_folder(
                str(large_file.parent), f"{root}/put", last=large_file.name
            ),
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
    with pytest.raises(OutputError, match=f"{s3}/closed/put: access is denied"):
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
        with pytest.raises(InputError, match=f"{s3}/closed: access is denied"):
            operation()
        assert most_often(proxy) == 1


def most_often(proxy):
    """Return how often the most frequent request was made."""
    return max(
        Counter((request.method, request.target) for request in proxy.requests).values()
    )
