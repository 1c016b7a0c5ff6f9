"""The scoring job as a process of its own that is started, killed and started again, and what it
leaves on storage."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

RUN_DATE, RUN_ID = "2026-11-24", "night"
RUN_PATH = f"run_date={RUN_DATE}/run_id={RUN_ID}"
PARTIAL, KILLED = 6, -9
"""Exit codes: resumable; by SIGKILL."""


def _heed_sigint() -> None:
    """A shell ignores SIGINT in the background, and so would whatever it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class ScoreRun:
    """One command, started as often as needed. Its run folder has a fixed name."""

    fs: Any
    """fsspec filesystem of the output, built by the test: what it says does not depend on
    rubert_ood."""
    output_uri: str
    log_dir: Path
    """Where each start writes what it prints."""
    options: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    logs: list[Path] = field(default_factory=list)
    outcomes: list[int] = field(default_factory=list)
    """Exit codes so far."""

    @property
    def run_uri(self) -> str:
        return f"{self.output_uri}/{RUN_PATH}"

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "rubert_ood.cli",
            "score",
            "--output_uri",
            self.output_uri,
        ]
        command += ["--run_date", RUN_DATE, "--run_id", RUN_ID, *self.options]
        self.logs.append(self.log_dir / f"start{len(self.logs)}.log")
        with open(self.logs[-1], "wb") as log:
            env = {**os.environ, **self.env}
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=env, preexec_fn=_heed_sigint
            )

    def running(self) -> bool:
        """Say whether the driver lives; note its exit code when it ended."""
        if self.process is not None and self.process.poll() is not None:
            self.outcomes.append(self.process.returncode)
            self.process = None
        return self.process is not None

    def kill(self) -> None:
        """Kill -9 the driver, if it still lives."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.running()

    def finish(self, timeout_s: float) -> int:
        """Wait for the driver's exit code."""
        deadline = time.monotonic() + timeout_s
        while self.running():
            assert time.monotonic() < deadline, (
                f"the driver did not end in {timeout_s:g} s:\n{self.log()}"
            )
            time.sleep(0.05)
        return self.outcomes[-1]

    def log(self) -> str:
        return "\n".join(
            f"{path.name}\n{path.read_text(errors='replace')}" for path in self.logs
        )

    def num_receipts(self) -> int:
        return len(self._names("_run/receipts"))

    def receipts(self) -> dict[str, tuple[bytes, object]]:
        """Return the bytes of each receipt, and what changes when it is written again, by shard id:
        a shard that is scored again has another one, with other times."""
        files = self.files()
        names = [name.removesuffix(".json") for name in self._names("_run/receipts")]
        folder = f"{self.run_uri}/_run/receipts"
        return {
            name: (
                self.fs.cat_file(f"{folder}/{name}.json"),
                files[f"{RUN_PATH}/_run/receipts/{name}.json"],
            )
            for name in names
        }

    def files(self) -> dict[str, object]:
        """Return everything below the output by its path in it, with what changes when it is
        written again."""
        root = self.fs._strip_protocol(self.output_uri)
        return {
            name[len(root) + 1 :]: tuple(
                info.get(key) for key in ("ETag", "LastModified", "ino", "mtime")
            )
            for name, info in self.fs.find(root, detail=True).items()
        }

    def rows(self) -> pa.Table:
        """Read all sealed files, in the order of their names."""
        names = sorted(
            name for name in self.files() if re.match(rf"{RUN_PATH}/data-", name)
        )
        return pa.concat_tables([self._table(name) for name in names])

    def rejected(self) -> list[tuple[str, int, str]]:
        """Return file, row and reason of each rejected row."""
        names = sorted(
            name for name in self.files() if name.startswith(f"{RUN_PATH}/_errors/")
        )
        rows = [row for name in names for row in self._table(name).to_pylist()]
        return [
            (row["file"].rpartition("/")[2], row["row"], row["reason"]) for row in rows
        ]

    def planned(self) -> dict[str, str]:
        """Return the file of each planned shard by its id."""
        plan = json.loads(self.read(f"{RUN_PATH}/_run/plan.json"))
        return {
            shard_id: file["uri"]
            for file in plan["shards"]
            for shard_id, _, _ in file["shards"]
        }

    def read(self, name: str) -> bytes:
        return bytes(self.fs.cat_file(f"{self.output_uri}/{name}"))

    def _table(self, name: str) -> pa.Table:
        return pq.read_table(pa.BufferReader(self.read(name)))

    def _names(self, folder: str) -> list[str]:
        """List a folder of the run that may not be there yet; files on their way are hidden."""
        try:
            paths = self.fs.ls(f"{self.run_uri}/{folder}", detail=False, refresh=True)
        except FileNotFoundError:
            return []
        names = [path.rpartition("/")[2] for path in paths]
        return sorted(name for name in names if name and not name.startswith("."))
