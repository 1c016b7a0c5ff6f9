"""Train and score with nothing local: input, checkpoint, training storage, bundle and output on
S3."""

import json
import logging
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import s3fs

from rubert_ood import cli, ray_session, storage
from rubert_ood.bundle import load_bundle
from rubert_ood.classifier.checkpoint import load_network
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.planning import make_plan
from rubert_ood.settings import ScoreSettings
from rubert_ood.storage.listing import list_below
from tests.conftest import write_parquet
from tests.s3.server import KEY, SECRET

pytestmark = pytest.mark.timeout(900)  # whole jobs, one after another


def _run(s3_env, verb, *arguments):
    environment = {**os.environ, **s3_env}
    command = [sys.executable, "-m", "rubert_ood.cli", verb, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300
    )


def test_train_and_score_with_everything_on_s3(s3, s3_env, labelled_ads, tiny_bert):
    write_parquet(f"{s3}/labelled/ads.parquet", labelled_ads)
    for name in os.listdir(tiny_bert):
        with open(os.path.join(tiny_bert, name), "rb") as file:
            storage.put_bytes(f"{s3}/tiny_bert/{name}", file.read())
    arguments = [
        "--input_uri",
        f"{s3}/labelled/",
        "--output_uri",
        f"{s3}/out",
        "--base_model",
        f"{s3}/tiny_bert",
    ]
    arguments += [
        "--version",
        "v1",
        "--optimiser.num_epochs",
        "1",
        "--text.max_length",
        "48",
    ]
    arguments += [
        "--compute.num_workers",
        "2",
        "--no-evaluation.baseline",
        "--ray_address",
        "local",
    ]
    trained = _run(s3_env, "train", *arguments)
    assert trained.returncode == 0, trained.stderr
    names = {
        file.uri.rpartition("/")[2] for file in list_below(f"{s3}/out/bundles/v1").files
    }
    assert {
        "manifest.json",
        "model.safetensors",
        "evaluation.html",
        "ood_statistics.safetensors",
    } <= names
    config = f"{s3}/jobs/score.yaml"
    settings = {
        "input_uri": f"{s3}/labelled",
        "bundle_uri": f"{s3}/out/bundles/v1",
        "output_uri": f"{s3}/scored",
    }
    settings |= {
        "gate": {"max_ood_rate": 1, "max_other_rate": 1},
        "run_id": "first",
        "shard_rows": 500,
    }
    storage.put_bytes(config, json.dumps(settings).encode())
    scored = _run(s3_env, "score", "--config", config, "--ray_address", "local")
    assert scored.returncode == 0, scored.stderr
    pointer = read_pointer(f"{s3}/scored")
    assert pointer.run_id == "first"
    run_uri = f"{s3}/scored/{pointer.path}"
    fs, _ = storage.arrow_filesystem(run_uri)
    parts = [file.uri for file in list_below(f"{run_uri}/*.parquet").files]
    rows = [
        row
        for part in parts
        for row in pq.read_table(part.removeprefix("s3://"), filesystem=fs)[
            "ad_id"
        ].to_pylist()
    ]
    assert rows == labelled_ads["ad_id"].to_pylist()
    assert _run(s3_env, "verify", "--run_uri", run_uri).returncode == 0
    everything = b"".join(
        storage.read_bytes(f.uri) for f in list_below(f"{run_uri}/_run").files
    )
    assert SECRET.encode() not in everything
    assert SECRET not in trained.stderr + scored.stderr
    wrong = _run({**s3_env, "AWS_SECRET_ACCESS_KEY": "nope"}, "score", "--config", config)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert wrong.stderr.startswith(f"error: config: {config}: access is denied")


def test_pretrain_with_everything_on_s3(s3, s3_env, labelled_ads, tiny_bert):
    texts = labelled_ads.select(["description"]).slice(0, 1_000)
    write_parquet(f"{s3}/unlabelled/ads.parquet", texts)
    for name in os.listdir(tiny_bert):
        with open(os.path.join(tiny_bert, name), "rb") as file:
            storage.put_bytes(f"{s3}/tiny_bert/{name}", file.read())
    arguments = ["--input_uri", f"{s3}/unlabelled/*", "--output_uri", f"{s3}/out"]
    arguments += ["--base_model", f"{s3}/tiny_bert", "--version", "v1"]
    arguments += ["--max_length", "32", "--ray_address", "local"]
    made = _run(s3_env, "pretrain", *arguments)
    assert made.returncode == 0, made.stderr
    uri = f"{s3}/out/pretrained/v1"
    record = json.loads(storage.read_bytes(f"{uri}/pretraining.json"))
    assert record["history"][0]["held_out_loss"] > 0
    assert SECRET not in made.stderr
    network = load_network(uri, ["а", "б"])
    assert network.config.num_labels == 2
    again = _run(s3_env, "pretrain", *arguments)
    assert again.returncode == 0
    assert f"{uri} exists already, nothing to do" in again.stderr


@pytest.mark.parametrize(
    ("changes", "environment", "code", "message"),
    [
        (
            {"input_uri": "s3://marketplace/nothing/"},
            {},
            3,
            "s3://marketplace/nothing: no such file, folder or bucket",
        ),
        (
            {"input_uri": "s3://no-such-bucket/ads"},
            {},
            3,
            "s3://no-such-bucket/ads: no such file, folder or bucket",
        ),
        (
            {"bundle_uri": "s3://marketplace/no-bundle"},
            {},
            2,
            "s3://marketplace/no-bundle: no bundle is here",
        ),
        (
            {},
            {"AWS_SECRET_ACCESS_KEY": "wrong-secret"},
            3,
            "s3://marketplace/elsewhere/latest.json: access is denied",
        ),
        (
            {},
            {"AWS_ACCESS_KEY_ID": "nobody"},
            3,
            "s3://marketplace/elsewhere/latest.json: access is denied",
        ),
        (
            {},
            {"AWS_ACCESS_KEY_ID": "read-key", "AWS_SECRET_ACCESS_KEY": "read-secret"},
            2,
            (
                "/_run/plan.json: access is denied. Check the credentials and the"
                " policy of the bucket"
            ),
        ),
        (
            {},
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            3,
            "s3://marketplace/elsewhere/latest.json: no credentials were found. Set",
        ),
    ],
    ids=[
        "prefix",
        "bucket",
        "bundle",
        "wrong secret",
        "wrong key",
        "read-only",
        "no key",
    ],
)
def test_what_is_wrong_on_s3_is_one_line_before_any_actor(
    s3, trained_bundle, monkeypatch, capsys, caplog, changes, environment, code, message
):
    storage.put_bytes(f"{s3}/ads/a.csv", "ad_id,description\n1,диван\n".encode())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    storage.objects._s3.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    values = {
        "input_uri": f"{s3}/ads",
        "bundle_uri": trained_bundle,
        "output_uri": f"{s3}/elsewhere",
        **changes,
    }
    arguments = [part for name, value in values.items() for part in (f"--{name}", value)]
    started = []
    monkeypatch.setattr(ray_session, "_quieten", lambda: started.append("ray"))
    with caplog.at_level(logging.INFO):
        found = cli.run(["score", *arguments])
    said = capsys.readouterr().err
    assert found == code, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert started == []
    assert "Traceback" not in said + caplog.text
    assert "wrong-secret" not in said + caplog.text


def test_credentials_that_expire_are_fetched_again(s3, s3_env, tmp_path, monkeypatch):
    """A profile whose credentials come from a process, as those of a role do, and are old within
    seconds."""
    calls = tmp_path / "calls"
    script = tmp_path / "credentials.py"
    script.write_text(
        "import datetime as d, json\n"
        f"open({str(calls)!r}, 'a').write('x')\n"
        "until = (d.datetime.now(d.UTC) + d.timedelta(seconds=30)).isoformat()\n"
        f"key = {{'AccessKeyId': {KEY!r}, 'SecretAccessKey': {SECRET!r}}}\n"
        "print(json.dumps({'Version': 1, 'Expiration': until, **key}))"
    )
    (tmp_path / "config").write_text(
        f"[profile role]\ncredential_process = {sys.executable} {script}\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "role")
    storage.objects._s3.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    storage.put_bytes(f"{s3}/role/a", b"1")
    before = len(calls.read_text())
    assert storage.read_bytes(f"{s3}/role/a") == b"1"
    assert len(calls.read_text()) > before >= 1


def test_no_key_travels_with_a_job(s3, trained_bundle):
    import ray.cloudpickle

    storage.put_bytes(f"{s3}/ads/a.csv", "ad_id,description\n1,диван\n".encode())
    settings = ScoreSettings(
        input_uri=f"{s3}/ads", bundle_uri=trained_bundle, output_uri=f"{s3}/out"
    )
    plan = make_plan(settings, load_bundle(trained_bundle))
    job = ScoringJob.of(plan)
    travels = ray.cloudpickle.dumps(
        [settings, plan, job, storage.arrow_filesystem(f"{s3}/out")[0]]
    )
    assert b"marketplace" in travels
    assert KEY.encode() not in travels
    assert SECRET.encode() not in travels
