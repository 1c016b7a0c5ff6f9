"""What the chaos tests share: nodes to kill, a catalogue, and one undisturbed run to compare
with."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import fsspec
import pyarrow as pa
import pytest
import s3fs

from rubert_ood.synthetic.catalogue import generate_ads
from tests.chaos.machines import Machines
from tests.chaos.runs import ScoreRun
from tests.conftest import write_parquet
from tests.s3.conftest import s3_env
from tests.s3.server import BUCKET, KEY, SECRET

__all__ = ["s3_env"]

NUM_ADS = 6_000
NUM_SHARDS = 60
SHARD_ROWS = 100
RUN_TIMEOUT_S = 300


@pytest.fixture(scope="module")
def machines(s3_env: dict[str, str]) -> Iterator[Machines]:
    """Nodes whose workers know the S3 server."""
    machines = Machines(s3_env, node_cpus=2)
    yield machines
    machines.close()


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ads in two files, some without an id or without text; one file of small row groups, one of a
    large one."""
    table = pa.Table.from_batches(list(generate_ads(NUM_ADS, seed=11)))
    columns = {
        name: table[name].to_pylist() for name in ("title", "description", "ad_id")
    }
    for row in range(100, NUM_ADS, 1_000):
        columns["ad_id"][row] = None
        columns["title"][row + 1] = columns["description"][row + 1] = None
    for name, values in columns.items():
        table = table.set_column(
            table.schema.get_field_index(name), name, pa.array(values, pa.string())
        )
    folder = tmp_path_factory.mktemp("catalogue")
    write_parquet(
        folder / "a.parquet", table.slice(0, 3_000), row_group_size=SHARD_ROWS // 2
    )
    write_parquet(folder / "b.parquet", table.slice(3_000), row_group_size=NUM_ADS)
    return str(folder)


@dataclass(frozen=True)
class Place:
    """Where the input lies and the output goes, as the job and as the test see it."""

    input_uri: str
    bundle_uri: str
    output_uri: str
    fs: fsspec.AbstractFileSystem


@pytest.fixture(scope="session")
def local(catalogue: str, trained_bundle: str) -> Place:
    return Place(catalogue, trained_bundle, "", fsspec.filesystem("file"))


@pytest.fixture(scope="session")
def on_s3(s3_env: dict[str, str], catalogue: str, trained_bundle: str) -> Place:
    """The same input on the S3 server."""
    fs = s3fs.S3FileSystem(
        key=KEY,
        secret=SECRET,
        endpoint_url=s3_env["AWS_ENDPOINT_URL"],
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    root = f"s3://{BUCKET}/chaos"
    for name, source in (("catalogue", catalogue), ("bundle", trained_bundle)):
        for file in sorted(Path(source).iterdir()):
            fs.put_file(str(file), f"{root}/{name}/{file.name}")
    return Place(f"{root}/catalogue", f"{root}/bundle", root, fs)


class NewRun(Protocol):
    def __call__(self, place: Place, name: str, ray_address: str) -> ScoreRun: ...


@pytest.fixture(scope="session")
def new_run(
    s3_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NewRun]:
    """Make runs; no driver outlives the tests."""
    runs: list[ScoreRun] = []

    def new(place: Place, name: str, ray_address: str) -> ScoreRun:
        folder = tmp_path_factory.mktemp(name)
        options = [
            "--input_uri",
            place.input_uri,
            "--bundle_uri",
            place.bundle_uri,
            "--ray_address",
            ray_address,
        ]
        options += ["--shard_rows", str(SHARD_ROWS), "--carry_columns", "city,price"]
        options += ["--gate.max_ood_rate", "1", "--gate.max_other_rate", "1"]
        output_uri = f"{place.output_uri or folder}/{name}"
        runs.append(ScoreRun(place.fs, output_uri, folder, options, s3_env))
        return runs[-1]

    yield new
    for run in runs:
        run.kill()


@pytest.fixture(scope="session")
def undisturbed(new_run: NewRun, local: Place) -> ScoreRun:
    """A run that nobody disturbs, on a Ray of its own."""
    run = new_run(local, "undisturbed", "local")
    run.start()
    assert run.finish(RUN_TIMEOUT_S) == 0, run.log()
    assert run.num_receipts() == NUM_SHARDS
    return run
