"""A real S3 server on loopback: SeaweedFS with credentials, and one bucket."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import s3fs

KEY, SECRET, BUCKET = "test-key", "test-secret", "marketplace"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _free_port_pair() -> int:
    """A port whose number + 10000 is free as well: SeaweedFS puts gRPC there."""
    while True:
        port = _free_port()
        if port < 55000:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port + 10000)) != 0:
                    return port


@contextmanager
def seaweedfs(folder: Path) -> Iterator[dict[str, str]]:
    """Start the server, with its files in a folder; yield the AWS_* environment that leads to
    it."""
    identity = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    reader = {
        "name": "reader",
        "credentials": [{"accessKey": "read-key", "secretKey": "read-secret"}],
        "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity, reader]}))
    ports = {name: _free_port_pair() for name in ("master", "volume", "filer", "s3")}
    command = [
        str(Path(sys.executable).with_name("weed")),
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-s3",
    ]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    command += [
        f"-s3.config={folder}/s3.json",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=50",
    ]
    command += ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        _create_bucket(env, server, folder / "log")
        yield env
    finally:
        server.kill()
        server.wait()


def _create_bucket(env: dict[str, str], server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            fs = s3fs.S3FileSystem(
                key=KEY,
                secret=SECRET,
                endpoint_url=env["AWS_ENDPOINT_URL"],
                skip_instance_cache=True,
            )
            fs.mkdir(f"s3://{BUCKET}")
            fs.pipe_file(f"{BUCKET}/ready", b"yes")
            return
        except Exception:
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError(
                    f"SeaweedFS did not start: {log.read_text()[-2000:]}"
                ) from None
            time.sleep(0.3)
