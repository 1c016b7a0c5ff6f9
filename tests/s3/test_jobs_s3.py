"""Train and score with nothing local: input, checkpoint, training storage, bundle and output on S3."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.scoring.publish import read_pointer
from tests.conftest import write_parquet
from tests.s3.conftest import SECRET


def _run(s3_env, verb, *arguments):
    environment = {**os.environ, **s3_env}
    command = [sys.executable, "-m", "rubert_ood.cli", verb, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_train_and_score_with_everything_on_s3(s3, s3_env, labelled_ads, tiny_bert):
    write_parquet(f"{s3}/labelled/ads.parquet", labelled_ads)
    for name in os.listdir(tiny_bert):
        with open(os.path.join(tiny_bert, name), "rb") as file:
            storage.put_bytes(f"{s3}/tiny_bert/{name}", file.read())
    arguments = ["--input_uri", f"{s3}/labelled/", "--output_uri", f"{s3}/out", "--base_model", f"{s3}/tiny_bert"]
    arguments += ["--version", "v1", "--optimiser.num_epochs", "2", "--optimiser.max_length", "48"]
    arguments += ["--workers.num_workers", "2", "--no-evaluation.baseline", "--ray_address", "local"]
    trained = _run(s3_env, "train", *arguments)
    assert trained.returncode == 0, trained.stderr
    names = {file.uri.rpartition("/")[2] for file in storage.list_files(f"{s3}/out/bundles/v1")}
    assert {"manifest.json", "model.safetensors", "evaluation.html", "ood_statistics.safetensors"} <= names
    config = f"{s3}/jobs/score.yaml"
    settings = {"input_uri": f"{s3}/labelled", "bundle_uri": f"{s3}/out/bundles/v1", "output_uri": f"{s3}/scored"}
    settings |= {"gate": {"max_ood_rate": 1, "max_other_rate": 1}, "run_id": "first", "shard_rows": 500}
    storage.put_bytes(config, json.dumps(settings).encode())
    scored = _run(s3_env, "score", "--config", config, "--ray_address", "local")
    assert scored.returncode == 0, scored.stderr
    pointer = read_pointer(f"{s3}/scored")
    assert pointer["run_id"] == "first"
    run_uri = f"{s3}/scored/{pointer['path']}"
    fs, _ = storage.arrow_filesystem(run_uri)
    parts = [file.uri for file in storage.list_files(run_uri, (".parquet",))]
    rows = [
        row for part in parts for row in pq.read_table(part.removeprefix("s3://"), filesystem=fs)["ad_id"].to_pylist()
    ]
    assert rows == labelled_ads["ad_id"].to_pylist()
    assert _run(s3_env, "verify", "--run_uri", run_uri).returncode == 0
    everything = b"".join(storage.read_bytes(f.uri) for f in storage.list_files(f"{run_uri}/_run"))
    assert SECRET.encode() not in everything
    assert SECRET not in trained.stderr + scored.stderr
    wrong = _run({**s3_env, "AWS_SECRET_ACCESS_KEY": "nope"}, "score", "--config", config)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert wrong.stderr.startswith(f"error: config: {config}: access denied")


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (["--input_uri", "s3://marketplace/nothing/"], 3, "s3://marketplace/nothing"),
        (["--bundle_uri", "s3://marketplace/no-bundle"], 2, "s3://marketplace/no-bundle: no bundle here"),
        (["--input_uri", "s3://no-such-bucket/ads"], 3, "s3://no-such-bucket/ads"),
    ],
)
def test_what_is_missing_on_s3_is_one_line(s3, s3_env, trained_bundle, changes, code, message):
    storage.put_bytes(f"{s3}/ads/a.csv", "ad_id,description\n1,диван\n".encode())
    values = {"--input_uri": f"{s3}/ads", "--bundle_uri": trained_bundle, "--output_uri": f"{s3}/elsewhere"}
    values |= dict(zip(changes[::2], changes[1::2], strict=True))
    result = _run(s3_env, "plan", *[part for pair in values.items() for part in pair])
    assert result.returncode == code, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in result.stderr
