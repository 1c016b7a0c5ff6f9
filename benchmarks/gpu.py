"""One GPU at work: its tests, then its figures, in less than nine minutes: make gpu, or python -m
benchmarks.gpu --device cuda

Needs neither network nor .venv: whatever PYTHON and PYTHONPATH find is used. Each step is a process
with a limit of its own; one that fails is told in the report, and the others run. Writes a dated
Markdown and JSON below benchmarks/results/, and into $OUT where that is set. Exit code 1 if a step
failed. --device cpu takes the same way with tiny models, and its figures mean nothing.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.gpu_report import Line, markdown

ROOT = Path(__file__).parents[1]
DEADLINE_S = 525
"""Of all steps; a minute less than a machine of ten minutes."""
FIGURES = "figures.jsonl"
KERNEL_TESTS = [
    "tests/unit/classifier/test_attention.py",
    "tests/unit/classifier/test_fused.py",
    "tests/unit/classifier/test_packed.py",
    "tests/unit/training/test_trained_attention.py",
    "tests/unit/training/test_trained_network.py",
]
LOG_CHARACTERS = 20_000


@dataclass(frozen=True)
class Step:
    name: str
    command: list[str]
    limit_s: float


@dataclass(frozen=True)
class Outcome:
    name: str
    outcome: str
    """ok, failed (exit code), timed out, or no time left."""
    seconds: float
    log: str


def steps(device: str, folder: Path, shapes: list[str], keywords: str) -> list[Step]:
    """Return what is run, in order."""
    python = [sys.executable, "-m"]
    pytest = [*python, "pytest", "-q", "-p", "no:cacheprovider"]
    chosen = f"{device} and ({keywords})" if keywords else device

    def measure(name: str, *shape: str) -> list[str]:
        return [*python, "benchmarks.gpu_steps", name, str(folder), device, *shape]

    found = [
        Step("prepare", measure("prepare", ",".join(shapes)), 100),
        Step("kernels", [*pytest, *KERNEL_TESTS, "-k", device], 60),
        Step("tests", [*pytest, "tests/ray/test_gpu.py", "-k", chosen], 200),
    ]
    for shape in shapes:
        found.append(Step(f"{shape}: Parquet to Parquet", measure("ray", shape), 140))
        found.append(Step(f"{shape}: forward pass", measure("forward", shape), 120))
    return found


def run(step: Step, deadline: float) -> Outcome:
    """Run a step; when its time is over it is killed, with all that it started."""
    limit_s = min(step.limit_s, deadline - time.monotonic())
    if limit_s <= 1:
        return Outcome(step.name, "no time left", 0.0, "")
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            step.command,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=_environment(),
            start_new_session=True,
        )
        try:
            code = process.wait(limit_s)
            outcome = f"failed ({code})" if code else "ok"
        except subprocess.TimeoutExpired:
            outcome = f"timed out ({limit_s:.0f} s)"
        finally:
            if process.poll() is None:  # also when this process is told to end
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.seek(0)
        text = log.read()[-LOG_CHARACTERS:]
    return Outcome(step.name, outcome, time.monotonic() - started, text)


def _environment() -> dict[str, str]:
    """Return the environment of a step: this project, and only plugins that a bare machine has."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",
    }


def read_figures(folder: Path) -> list[Line]:
    """Read what the steps have noted; the last line of one that was killed may be half."""
    path, found = folder / FIGURES, []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def write(report: Line, folders: list[Path]) -> None:
    name = f"gpu-{report['device']}-{report['date']}"
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n")
        (folder / f"{name}.md").write_text(markdown(report))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--shapes", nargs="+", choices=("base", "small"), default=["base", "small"]
    )
    parser.add_argument("--tests", default="", help="only tests that match (pytest -k)")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "benchmarks/results")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    now, deadline = datetime.now(), time.monotonic() + DEADLINE_S
    report: Line = {
        "title": "One GPU" if arguments.device == "cuda" else "The GPU command on CPU",
        "device": arguments.device,
        "date": now.strftime("%Y-%m-%dT%H%M"),
        "command": f"python -m benchmarks.gpu --device {arguments.device}",
        "shapes": arguments.shapes,
        "machine": {},
        "steps": [],
        "figures": [],
    }
    folders = [arguments.output_dir]
    if os.environ.get("OUT"):
        folders.append(Path(os.environ["OUT"]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        todo = steps(arguments.device, folder, arguments.shapes, arguments.tests)
        for step in todo:
            outcome = run(step, deadline)
            print(f"{outcome.seconds:4.0f} s  {step.name}: {outcome.outcome}", flush=True)
            report["steps"].append(asdict(outcome))
            report["figures"] = read_figures(folder)
            for line in report["figures"]:
                if line["kind"] == "machine":
                    report["machine"] = dict(list(line.items())[3:])
            write(report, folders)  # after each step: what is known stays
    print(markdown(report))
    sys.exit(any(step["outcome"] != "ok" for step in report["steps"]))


if __name__ == "__main__":
    main()
