"""Two starts of one run at the same time, by mistake: no harm is done, one ends it and the other
one says why not."""

import json
import re
import subprocess
import sys
import time

import pytest

from tests.chaos.conftest import RUN_TIMEOUT_S, NewRun, Place
from tests.chaos.machines import Machines
from tests.chaos.runs import PARTIAL, RUN_PATH, ScoreRun
from tests.chaos.test_kills import NUM_TRIALS
from tests.conftest import same_rows

pytestmark = pytest.mark.timeout(1500)  # a run that is killed again and again


@pytest.mark.parametrize("head_start_s", [0, 3] if NUM_TRIALS > 4 else [0])
def test_two_starts_of_one_run_do_no_harm(
    head_start_s: float,
    machines: Machines,
    new_run: NewRun,
    undisturbed: ScoreRun,
    local: Place,
) -> None:
    machines.heal(node_cpus=2)
    first = new_run(local, f"two{head_start_s}", machines.address)
    second = ScoreRun(
        first.fs, first.output_uri, first.log_dir / "second", first.options, first.env
    )
    second.log_dir.mkdir()
    try:
        first.start()
        time.sleep(head_start_s)
        second.start()
        codes = [first.finish(RUN_TIMEOUT_S), second.finish(RUN_TIMEOUT_S)]
    finally:
        first.kill()
        second.kill()
        log = f"{first.log()}\n{second.log()}"
        print(log)
    assert sorted(codes) in ([0, 0], [0, PARTIAL]), log
    errors = re.findall(r"^error: .*$", log, flags=re.MULTILINE)
    assert len(errors) == codes.count(PARTIAL), log
    assert all("has claimed this run" in error for error in errors), log

    same_rows(first.rows(), undisturbed.rows())
    assert first.rejected() == undisturbed.rejected()
    expected = {f"{RUN_PATH}/data-00000-of-00001.parquet", "latest.json"}
    assert {
        name for name in first.files() if not re.search(r"(^|/)[._]", name)
    } == expected
    assert json.loads(first.read("latest.json"))["path"] == RUN_PATH
    assert (
        json.loads(first.read(f"{RUN_PATH}/_run/manifest.json"))["outcome"] == "published"
    )
    verify = [
        sys.executable,
        "-m",
        "rubert_ood.cli",
        "verify",
        "--run_uri",
        first.run_uri,
    ]
    subprocess.run(verify, check=True)
