"""A real S3 server on loopback: SeaweedFS with credentials. `s3_env` is all that a job needs to
know of it."""

from collections.abc import Iterator

import pytest
import s3fs

from tests.s3.proxy import Proxy
from tests.s3.server import BUCKET, KEY, SECRET, seaweedfs


@pytest.fixture(scope="session")
def s3_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start the server; yield the AWS_* environment that leads to it."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as env:
        yield env


@pytest.fixture
def s3(s3_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Point this process at the server; yields the bucket's URI."""
    from rubert_ood import storage

    for name, value in s3_env.items():
        monkeypatch.setenv(name, value)
    storage.objects._s3.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    yield f"s3://{BUCKET}"
    storage.objects._s3.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def proxy(
    s3: str, s3_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Proxy]:
    """Put a proxy between this process and the server; `direct` goes round it."""
    proxy = Proxy(int(s3_env["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


@pytest.fixture
def direct(s3_env: dict[str, str]) -> s3fs.S3FileSystem:
    """The server as it is, without rubert_ood and without faults."""
    return s3fs.S3FileSystem(
        key=KEY,
        secret=SECRET,
        endpoint_url=s3_env["AWS_ENDPOINT_URL"],
        skip_instance_cache=True,
        use_listings_cache=False,
    )
