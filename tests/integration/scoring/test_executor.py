"""`score --executor local`, as the command: without Ray, with the exit codes of any run. What no
process of its own shows better is run in this one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from rubert_ood import cli
from rubert_ood.scoring.executor import LocalExecutor, make_executor
from rubert_ood.scoring.item import ShardResult
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.settings import ScoreSettings
from tests.conftest import damage_first_page, read_parts, write_parquet

COMMAND = "import sys; from rubert_ood import cli; sys.exit(cli.main('score'))"
SPY = "import atexit, sys; atexit.register(lambda: print('ray' in sys.modules)); "
SHARDS = 40


@pytest.fixture(scope="module")
def source(ads, tmp_path_factory) -> Path:
    """800 ads in 40 shards."""
    folder = tmp_path_factory.mktemp("source")
    table = pa.concat_tables([ads, ads.slice(0, 300)])
    ids = pa.array([str(number) for number in range(table.num_rows)])
    table = table.set_column(table.schema.get_field_index("ad_id"), "ad_id", ids)
    write_parquet(folder / "ads.parquet", table, row_group_size=20, compression="none")
    return folder


def _arguments(source: Path, bundle_uri: str, output: Path, *more: str) -> list[str]:
    places = [
        "--input_uri",
        str(source),
        "--bundle_uri",
        bundle_uri,
        "--output_uri",
        str(output),
    ]
    run = ["--run_id", "x", "--run_date", "2026-11-24", "--shard_rows", "20"]
    limits = ["--gate.max_ood_rate", "1", "--gate.max_other_rate", "1"]
    return [*places, *run, *limits, "--executor", "local", *more]


def _start(arguments: list[str], code: str = COMMAND) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, errors = process.communicate(timeout=200)
    return process.returncode, output + errors


def _run_dir(output: Path) -> Path:
    return output / "run_date=2026-11-24" / "run_id=x"


def test_score_with_the_local_executor_publishes_and_imports_no_ray(
    source, bundle, tmp_path
):
    code, said = _end(_start(_arguments(source, bundle.uri, tmp_path), SPY + COMMAND))
    assert code == 0, said
    assert "True" not in said.split()
    assert f"scores {SHARDS} shards in this process" in said
    assert read_parts(_run_dir(tmp_path))["ad_id"].to_pylist() == [
        str(n) for n in range(800)
    ]


def test_score_with_the_local_executor_ends_with_6_after_a_bad_file(
    source, bundle, tmp_path, capsys
):
    copy = Path(shutil.copytree(source, tmp_path / "in"))
    damage_first_page(copy / "ads.parquet")
    code = cli.run(["score", *_arguments(copy, bundle.uri, tmp_path / "out")])
    said = capsys.readouterr().err
    assert code == 6, said
    assert (
        f"{SHARDS - 1} of {SHARDS} shards are scored, the others cannot be read" in said
    )


def test_score_with_the_local_executor_ends_with_2_at_a_damaged_bundle(
    source, bundle, tmp_path, capsys
):
    copy = Path(shutil.copytree(bundle.folder, tmp_path / "bundle"))
    (copy / "temperature.json").write_text("{}")
    code = cli.run(["score", *_arguments(source, str(copy), tmp_path / "out")])
    said = capsys.readouterr().err
    assert (code, "temperature.json" in said) == (2, True), said


def test_score_with_the_local_executor_goes_on_after_a_signal(source, bundle, tmp_path):
    arguments = _arguments(source, bundle.uri, tmp_path)
    process = _start(arguments)
    receipts = _run_dir(tmp_path) / "_run" / "receipts"
    deadline = time.monotonic() + 150
    while not receipts.exists() or not any(receipts.glob("*.json")):
        assert process.poll() is None, _end(process)
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    code, said = _end(process)
    assert code == 143, said
    manifest = json.loads(
        (_run_dir(tmp_path) / "_run" / "manifest.json").read_text("utf-8")
    )
    assert manifest["outcome"] == "interrupted"
    done = len(list(receipts.glob("*.json")))
    assert 0 < done < SHARDS
    code, said = _end(_start(arguments))
    assert code == 0, said
    assert f"resumes with {done} of {SHARDS} shards done" in said


def test_local_executor_gives_torch_its_threads_back(full_run, tmp_path):
    import dataclasses

    plan = dataclasses.replace(full_run.plan, run_uri=str(tmp_path))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        results = LocalExecutor().run(ScoringJob.of(plan), plan.shards[:2])
        assert next(results) == ShardResult(plan.shards[0].shard_id)
        assert torch.get_num_threads() == len(os.sched_getaffinity(0))
        assert list(results) == [ShardResult(plan.shards[1].shard_id)]
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_make_executor_takes_what_the_settings_name():
    places = {"input_uri": "in", "bundle_uri": "b", "output_uri": "out"}
    assert isinstance(
        make_executor(ScoreSettings(**places, executor="local")), LocalExecutor
    )
    assert not isinstance(make_executor(ScoreSettings(**places)), LocalExecutor)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_noticed_before_anything_is_written(
    source, bundle, tmp_path, capsys
) -> None:
    output = tmp_path / "out"
    arguments = _arguments(source, bundle.uri, output, "--compute.use_gpu")
    assert cli.run(["score", *arguments]) == 2
    assert "torch finds no GPU on this machine" in capsys.readouterr().err
    assert not output.exists()
