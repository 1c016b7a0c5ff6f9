"""The command line as a process: how soon it answers, what it imports, streams that are closed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from rubert_ood.cli import VERBS

PROGRAM = Path(sys.executable).parent / "rubert-ood"
HEAVY = [
    "torch",
    "ray",
    "transformers",
    "tokenizers",
    "pandas",
    "pyarrow",
    "sklearn",
    "scipy",
    "matplotlib",
]
WITHOUT_TORCH_AND_RAY = [
    "rubert_ood.ads.text",
    "rubert_ood.ood.fit",
    "rubert_ood.ood.metrics",
    "rubert_ood.reports.evaluation",
    "rubert_ood.reports.html",
    "rubert_ood.synthetic.catalogue",
]


def program(
    *arguments: str, shell: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with redirections of the shell behind it; no settings of this machine."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RUBERT_OOD")
    }
    command = ["sh", "-c", f'"$@" {shell}', "sh", sys.executable, "-m", "rubert_ood.cli"]
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean, "COLUMNS": "1000", "NO_COLOR": "1", **env},
    )


def imported(names: list[str], after: list[str]) -> list[str]:
    """Return which modules of `names` a new process has after it imported `after`."""
    code = f"import sys, {', '.join(after)}; print(*(set({names}) & set(sys.modules)))"
    return subprocess.check_output([sys.executable, "-c", code], text=True).split()


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_of_the_installed_command_takes_less_than_a_second(
    arguments: list[str],
) -> None:
    """Of processor time, so that a busy machine does not matter."""
    before = os.times().children_user
    result = subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, check=True
    )
    verb = "" if arguments == ["--help"] else arguments[0]
    assert result.stdout.startswith(f"usage: rubert-ood {verb}")
    assert os.times().children_user - before < 1.0


@pytest.mark.parametrize(
    "module", ["rubert_ood", "rubert_ood.cli", "rubert_ood.ads.text"]
)
def test_import_of_the_command_line_brings_nothing_heavy(module: str) -> None:
    assert imported(HEAVY, [module]) == []


def test_import_of_text_ood_and_reports_brings_neither_torch_nor_ray() -> None:
    assert imported(["torch", "ray"], WITHOUT_TORCH_AND_RAY) == []


def test_import_of_what_tasks_do_brings_no_networks() -> None:
    """Each new process of a cluster would wait for them, one after the other on few cores."""
    networks = ["transformers.modeling_utils", "torch._dynamo", "sklearn", "matplotlib"]
    assert imported(networks, ["rubert_ood.training.token_dataset"]) == []
    tasks = ["rubert_ood.scoring.encode", "rubert_ood.training.ray_features"]
    assert imported(["torch", "transformers", *networks], tasks) == []


READ = """
import sys
from rubert_ood.bundle import load_bundle
from rubert_ood.predictor import Model
reader = Model(load_bundle(sys.argv[1])).reader()
for text in sys.argv[2:]:
    reader.add(text)
texts, _ = reader.finish()
print(texts["windows"].to_pylist())
print([name for name in ("torch", "transformers", "ray") if name in sys.modules])
"""


def test_process_that_reads_texts_of_a_bundle_has_neither_torch_nor_transformers(
    bundle,
) -> None:
    """It is what every encode task of a run does, and `predict` before its network is there."""
    texts = ["диван угловой раскладной", "шкаф [MASK] новый"]
    command = [sys.executable, "-c", READ, bundle.folder, *texts]
    ids, heavy = subprocess.check_output(command, text=True).splitlines()
    cleaned = [bundle.cleaner.clean(text) for text in texts]
    plain = AutoTokenizer.from_pretrained(bundle.folder)
    assert json.loads(ids) == [[plain(text)["input_ids"]] for text in cleaned]
    assert heavy == "[]"


@pytest.mark.parametrize("shell", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full"])
def test_command_with_closed_streams_leaves_no_trace(shell: str) -> None:
    result = program("verify", "--run_uri", "/absent/диван", shell=shell)
    assert result.returncode == 3
    assert result.stdout == ""
    assert result.stderr == "" if "2>&-" in shell else result.stderr.count("\n") == 1


def test_command_on_a_terminal_that_is_not_utf8_says_one_line_all_the_same() -> None:
    result = program("verify", "--run_uri", "/absent/диван", PYTHONIOENCODING="ascii")
    assert result.returncode == 3
    assert r"/absent/\u0434\u0438" in result.stderr


def test_help_into_a_pipe_that_closes_leaves_no_trace() -> None:
    assert program("train", "--help", shell="| head -n 1").stderr == ""


def test_command_in_a_watched_process_has_the_exit_codes_of_the_others() -> None:
    result = program("score", "--input_uri", "x")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: bundle_uri: missing. Pass --bundle_uri")
    assert program("score", "--help").returncode == 0
    assert program("score", "--nope").returncode == 2


def test_scoring_by_a_bert_brings_nothing_of_transformers(bundle) -> None:
    """Nor torch's compiler: each process that scores would wait for them, and a notebook."""
    code = f"""
import sys, rubert_ood
from rubert_ood.classifier.classifier import Classifier
model = rubert_ood.load({bundle.uri!r})
label = model.predict(["велосипед"])["label"][0]
Classifier.load(model.bundle.folder, precision="int8")
Classifier.load(model.bundle.folder, precision="bf16")
names = {{"torch", "transformers", "torch._dynamo", "sympy"}}
print(label, *(names & set(sys.modules)), sep="\\n")
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    found = subprocess.check_output(command, text=True).splitlines()
    assert found[0] in [*bundle.fitted.labels, "Other"]
    assert found[1:] == ["torch"]
