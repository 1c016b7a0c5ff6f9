"""What the S3 client says to the server, heard by a server that answers just well enough."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from rubert_ood import storage
from rubert_ood.errors import InputError, SettingsError
from rubert_ood.storage import retry
from rubert_ood.storage.listing import list_below
from rubert_ood.storage.s3 import OwnedS3FileSystem, bucket_owner

OWNER = "123456789012"
LIST = (
    "<ListBucketResult><Name>b</Name><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated><Contents><Key>x/a</Key>"
    "<LastModified>2026-11-24T00:00:00.000Z</LastModified><ETag>&quot;1&quot;</ETag><Size>4</Size></Contents>"
    "</ListBucketResult>"
)
BODIES = {
    "list-type": LIST,
    "uploads": (
        "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    ),
    "uploadId": "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>",
}


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[Quiet], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a handler answer for S3."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    storage.objects._s3.cache_clear()
    yield
    storage.objects._s3.cache_clear()
    server.shutdown()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str | None]]]:
    """Each request as its method, with what it asks for, and the owner that it expects."""
    requests: list[tuple[str, str | None]] = []

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = [
                name
                for name in BODIES
                if name in parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            ]
            requests.append(
                (
                    " ".join([self.command, *asked]),
                    self.headers.get("x-amz-expected-bucket-owner"),
                )
            )
            body = (
                BODIES[asked[0]].encode()
                if asked and self.command != "PUT"
                else b"data" * (self.command == "GET")
            )
            self.send_response(200)
            self.send_header("ETag", '"1"')
            self.send_header(
                "Content-Length", str(len(body) if self.command != "HEAD" else 4)
            )
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    with serving(Handler, monkeypatch):
        yield requests


def use_all_operations(tmp_path) -> None:
    assert storage.read_bytes("s3://b/x/a") == b"data"
    assert [file.uri for file in list_below("s3://b/x").files] == ["s3://b/x/a"]
    assert storage.exists("s3://b/x/a")
    storage.put_bytes("s3://b/x/c", b"data")
    assert storage.swap_bytes("s3://b/x/c", b"data", "")
    size = 11 * 2**20
    (tmp_path / "large").write_bytes(bytes(size))
    fs, path = storage.filesystem("s3://b/x/large")
    storage.upload(
        fs._put_file, str(tmp_path / "large"), path, size=size, chunksize=5 * 2**20
    )
    arrow, path = storage.arrow_filesystem("s3://b/x/a")
    assert arrow.open_input_file(path).read() == b"data"


def test_s3_requests_name_the_expected_owner_of_the_bucket(
    heard, monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("RUBERT_OOD_BUCKET_OWNER", OWNER)
    use_all_operations(tmp_path)
    assert {asked for asked, _ in heard} >= {
        *(
            "GET",
            "GET list-type",
            "HEAD",
            "PUT",
            "POST uploads",
            "PUT uploadId",
            "POST uploadId",
        ),
    }
    assert {owner for _, owner in heard} == {OWNER}


def test_s3_client_that_began_anew_still_names_the_owner(heard, monkeypatch) -> None:
    monkeypatch.setenv("RUBERT_OOD_BUCKET_OWNER", OWNER)
    fs, path = storage.filesystem("s3://b/x/a")
    fs.connect(refresh=True)
    fs.cat_file(path)
    assert {owner for _, owner in heard} == {OWNER}


def test_s3_requests_without_the_variable_name_no_owner(
    heard, monkeypatch, tmp_path
) -> None:
    monkeypatch.delenv("RUBERT_OOD_BUCKET_OWNER", raising=False)
    use_all_operations(tmp_path)
    assert {owner for _, owner in heard} == {None}


def test_s3_client_travels_to_workers_and_reads_their_environment(monkeypatch) -> None:
    import pickle

    monkeypatch.delenv("RUBERT_OOD_BUCKET_OWNER", raising=False)
    assert isinstance(
        pickle.loads(pickle.dumps(storage.filesystem("s3://b/x")[0])), OwnedS3FileSystem
    )


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Status codes that a server gives to the next requests; then 200."""
    codes: list[int] = []

    class Handler(Quiet):
        def answer(self) -> None:
            self.send_response(codes.pop(0) if codes else 200)
            self.end_headers()

        do_GET = do_HEAD = answer

    with serving(Handler, monkeypatch):
        yield codes


def test_s3_exists_of_a_bucket_waits_for_storage_that_is_busy(answers, monkeypatch):
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.01)
    answers += [503] * 5
    assert storage.exists("s3://bucket")
    assert answers == []


def test_s3_exists_of_a_bucket_that_is_denied_says_so(answers):
    answers += [403] * 2
    with pytest.raises(InputError, match="s3://bucket: access is denied"):
        storage.exists("s3://bucket")


def test_s3_exists_of_a_bucket_that_is_not_there_is_false(answers):
    answers += [404] * 2
    assert not storage.exists("s3://bucket")


def test_s3_endpoint_without_a_scheme_is_a_setting_that_is_wrong(answers, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:8333")
    with pytest.raises(SettingsError, match=r"^AWS_ENDPOINT_URL, .* not an address\."):
        storage.read_bytes("s3://bucket/key")


@pytest.mark.parametrize(
    "owner",
    [
        "",
        "12345678901",
        "1234567890123",
        "12345678901a",
        "arn:aws:iam::123456789012:root",
    ],
)
def test_s3_bucket_owner_that_is_not_an_account_is_refused(
    monkeypatch, owner: str
) -> None:
    monkeypatch.setenv("RUBERT_OOD_BUCKET_OWNER", owner)
    storage.objects._s3.cache_clear()
    for function in (bucket_owner, lambda: storage.read_bytes("s3://b/x")):
        with pytest.raises(
            SettingsError,
            match=r"^RUBERT_OOD_BUCKET_OWNER: .* is not an AWS account. Set its 12",
        ):
            function()
