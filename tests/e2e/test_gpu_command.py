"""`make gpu` on CPU: the first minute on a GPU is not for typos."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import Step, read_figures, run
from benchmarks.gpu_report import markdown, peak_of
from benchmarks.gpu_watch import GpuWatch, watched_gpu

ROOT = Path(__file__).parents[2]
LACKING = ("hypothesis", "playwright", "delta", "nbclient")
"""What a bare GPU machine has not; imported, it fails here."""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    for name in LACKING:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('{name}')")
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu"]
    command += ["--shapes", "base", "--tests", "agrees", "--output_dir", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(folder), "OUT": str(folder / "out")}
    result = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = folder.glob("gpu-cpu-*.json")
    assert path.read_bytes() == (folder / "out" / path.name).read_bytes()
    found = json.loads(path.read_text())
    found["markdown"] = path.with_suffix(".md").read_text()
    return found


def test_gpu_command_runs_every_step(report):
    assert [step["outcome"] for step in report["steps"]] == ["ok"] * 5
    prepare, kernels, tests, *_ = report["steps"]
    assert prepare["name"] == "prepare"
    assert " passed" in kernels["log"]
    assert "4 passed" in tests["log"]


def test_gpu_command_measures_every_way_and_the_stages(report):
    figures = report["figures"]
    assert [line for line in figures if line["kind"] == "failed"] == []
    rates = {
        line["name"]: line["tokens_per_s"] for line in figures if line["kind"] == "way"
    }
    assert {
        "ours, token ids",
        "transformers, token ids in length order",
        "torch.compile, token ids in length order",
        "HF pipeline, file order",
        "ours, Parquet to Parquet",
        "HF pipeline in Ray Data, Parquet to Parquet",
    } <= set(rates)
    assert min(rates.values()) > 0
    (stages,) = [line for line in figures if line["kind"] == "stages"]
    shares = [value for value in stages.values() if isinstance(value, float)]
    assert sum(shares) == pytest.approx(1)
    for name, tokens_per_s in rates.items():
        assert f"| {name} | {tokens_per_s:,.0f} |" in report["markdown"]


def test_a_step_that_fails_or_hangs_is_told_with_its_log():
    code = "import sys, time; print('half done', flush=True);"
    failed = run(Step("a", [sys.executable, "-c", code + "sys.exit(3)"], 30), 1e12)
    assert (failed.outcome, failed.log) == ("failed (3)", "half done\n")
    hung = run(Step("b", [sys.executable, "-c", code + "time.sleep(60)"], 3), 1e12)
    assert (hung.outcome, hung.log) == ("timed out (3 s)", "half done\n")
    late = run(Step("c", [sys.executable, "-c", code], 3), 0)
    assert late.outcome == "no time left"


def test_figures_of_a_killed_step_are_read_up_to_its_last_whole_line(tmp_path):
    assert read_figures(tmp_path) == []
    (tmp_path / "figures.jsonl").write_text('{"kind": "way"}\n{"kind": "wa')
    assert read_figures(tmp_path) == [{"kind": "way"}]


def test_a_report_has_the_failures_and_the_end_of_their_logs(report):
    step = {"name": "tests", "outcome": "failed (1)", "seconds": 3.0, "log": "E  broken"}
    failed = {"kind": "failed", "shape": "base", "name": "ours", "reason": "no memory"}
    text = markdown(report | {"steps": [step], "figures": [failed]})
    assert "| tests | failed (1) | 3 |" in text
    assert "- failed: base ours: no memory" in text
    assert text.endswith("```\nE  broken\n```\n")


def test_a_report_has_share_of_the_peak_and_idle_share_of_a_gpu(report):
    way = {"tokens_per_s": 1e6, "start_up_s": 1, "idle_share": 0.9, "folded_share": 0.1}
    watched = {
        "gpu_idle_share": 0.05,
        "power_w": 600,
        "clock_mhz": 1900,
        "memory_mb": 2048,
    }
    line = {"kind": "way", "shape": "base", "name": "ours", **way, **watched}
    floor = {"peak": 7e14, "model": 5e14, "flops_per_token": 1.7e8, "ads": 1}
    floor |= {"kind": "floor", "shape": "base", "name": "", "tokens_per_ad": 40.0}
    machine = {"gpu": "NVIDIA H100 80GB HBM3"}
    text = markdown(report | {"figures": [floor, line], "machine": machine})
    assert "| ours | 1,000,000 | 17.2% |" in text  # 1e6 x 1.7e8 / 989e12
    assert "ours: the GPU idles 5.0% (nvidia-smi), 600 W, 1900 MHz, 2.0 GiB" in text


def test_the_peak_of_a_card_is_by_its_name_and_of_an_unknown_one_what_was_measured():
    floor = {"peak": 5e14}
    assert peak_of("NVIDIA H100 80GB HBM3", floor) == (989e12, "data sheet")
    assert peak_of("NVIDIA H100 PCIe", floor)[0] == 756e12
    assert peak_of("NVIDIA H200", floor)[0] == 989e12
    for name in ("NVIDIA X9", None):
        assert peak_of(name, floor)[0] == 5e14


def test_samples_of_nvidia_smi_become_means_over_a_span():
    watch = GpuWatch()
    watch.read(iter(["90, 400.5, 1980, 20480\n", "70, [N/A], 1900, 30720\n", "Error\n"]))
    assert len(watch.samples) == 2
    found = watch.between(watch.samples[0][0], watch.samples[1][0])
    assert found["gpu_idle_share"] == pytest.approx(0.2)
    assert found["memory_mb"] == 30720
    assert watch.between(0, 1) == {}


def test_what_nvidia_smi_prints_is_read_as_it_comes(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nwhile :; do echo 25, 100, 1000, 512; sleep 0.1; done")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    begin = time.time()
    with watched_gpu() as watch:
        while len(watch.samples) < 3 and time.time() - begin < 30:
            time.sleep(0.05)
        found = watch.between(begin, time.time())
    assert found["gpu_idle_share"] == 0.75
    assert found["power_w"] == 100


def test_without_nvidia_smi_there_are_no_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with watched_gpu() as watch:
        pass
    assert watch.between(0, time.time()) == {}
