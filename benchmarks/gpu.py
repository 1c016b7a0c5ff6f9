"""One GPU at work: its tests, then its figures, in less than nine minutes: make gpu, or python -m
benchmarks.gpu --device cuda; and of training: make gpu-training, or the same with --part training

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
PYTHON = [sys.executable, "-m"]
WHOLE_TRAINING = ["benchmarks.training", "--device", "cuda", "--shape", "base"]
WHOLE_TRAINING += ["--batch", "128", "--epochs", "3", "--ads", "3000", "--rounds", "1"]
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


@dataclass(frozen=True)
class Steps:
    """What can be run on a device, in the folder of the figures."""

    device: str
    folder: Path
    shapes: list[str]
    keywords: str

    def of(self, part: str) -> list[Step]:
        """Return what is run, in order."""
        found = [
            Step("prepare", self._measure("prepare", ",".join(self.shapes)), 100),
            Step("kernels", self._pytest(*KERNEL_TESTS, "-k", self.device), 60),
        ]
        return found + (self.scoring() if part == "scoring" else self.training())

    def scoring(self) -> list[Step]:
        chosen = f"{self.device} and ({self.keywords})" if self.keywords else self.device
        tests = self._pytest("tests/ray/test_gpu.py", "-k", chosen)
        found = [Step("tests", tests, 200)]
        for shape in self.shapes:
            on_ray, forward = self._measure("ray", shape), self._measure("forward", shape)
            found.append(Step(f"{shape}: Parquet to Parquet", on_ray, 140))
            found.append(Step(f"{shape}: forward pass", forward, 120))
        return found

    def training(self) -> list[Step]:
        found = []
        for shape in self.shapes:
            steps = self._measure("train", shape)
            found.append(Step(f"{shape}: steps of training", steps, 160))
        if self.device == "cuda":
            found.append(Step("training", [*PYTHON, *WHOLE_TRAINING], 300))
        return found

    def _measure(self, name: str, shapes: str) -> list[str]:
        module = "benchmarks.gpu_steps"
        return [*PYTHON, module, name, str(self.folder), self.device, shapes]

    def _pytest(self, *arguments: str) -> list[str]:
        return [*PYTHON, "pytest", "-q", "-p", "no:cacheprovider", *arguments]


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
    part = "" if report["part"] == "scoring" else f"-{report['part']}"
    name = f"gpu{part}-{report['device']}-{report['date']}"
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
        "--shapes",
        nargs="+",
        choices=("base", "small"),
        help="default: base and small; base for training",
    )
    parser.add_argument("--part", choices=("scoring", "training"), default="scoring")
    parser.add_argument("--tests", default="", help="only tests that match (pytest -k)")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "benchmarks/results")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    both = ["base", "small"] if arguments.part == "scoring" else ["base"]
    shapes = arguments.shapes or both
    now, deadline = datetime.now(), time.monotonic() + DEADLINE_S
    report: Line = {
        "title": "One GPU" if arguments.device == "cuda" else "The GPU command on CPU",
        "device": arguments.device,
        "date": now.strftime("%Y-%m-%dT%H%M"),
        "part": arguments.part,
        "command": f"python -m benchmarks.gpu --device {arguments.device}"
        f" --part {arguments.part}",
        "shapes": shapes,
        "machine": {},
        "steps": [],
        "figures": [],
    }
    folders = [arguments.output_dir]
    if os.environ.get("OUT"):
        folders.append(Path(os.environ["OUT"]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        todo = Steps(arguments.device, folder, shapes, arguments.tests)
        for step in todo.of(arguments.part):
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
