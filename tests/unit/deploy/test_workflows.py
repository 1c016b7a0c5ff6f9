"""The workflows, by the schemas that GitHub publishes and by zizmor. No GitHub runs here."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rubert_ood.settings import ScoreSettings, load_settings
from tests.unit.deploy.composed import KUBERAY, ROOT

BIN = Path(sys.executable).parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def checked(schema: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "check-jsonschema", "--builtin-schema", schema, *paths]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "zizmor", "--offline", "--persona", "pedantic", folder]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def load(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(), yaml.BaseLoader)  # `on` is a word


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


def test_workflows_and_dependabot_are_valid():
    done = checked("vendor.github-workflows", *WORKFLOWS)
    assert done.returncode == 0, done.stdout
    done = checked("vendor.dependabot", GITHUB / "dependabot.yml")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("good", "bad"), [("timeout-minutes", "timeout-minute"), ("runs-on", "run-on")]
)
def test_a_misspelt_field_of_a_workflow_is_refused(tmp_path, good, bad):
    worse = tmp_path / "ci.yml"
    worse.write_text((GITHUB / "workflows" / "ci.yml").read_text().replace(good, bad))
    assert checked("vendor.github-workflows", worse).returncode != 0


def test_zizmor_has_nothing_against_the_workflows():
    done = zizmor(GITHUB)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("good", "bad", "rule"),
    [
        ("permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("with: {persist-credentials: false}", "", "artipacked"),
        ("@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "unpinned-uses"),
    ],
)
def test_zizmor_refuses_a_worse_workflow(tmp_path, good, bad, rule):
    shutil.copytree(GITHUB, tmp_path / ".github")
    path = tmp_path / ".github" / "workflows" / "ci.yml"
    assert good in path.read_text()
    path.write_text(path.read_text().replace(good, bad))
    done = zizmor(tmp_path / ".github")
    assert done.returncode != 0
    assert rule in done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_nobody_has_more_rights_than_needed(path):
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)
    workflow = load(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert int(job["timeout-minutes"]) <= 360
        assert set(job["permissions"].values()) <= {"read", "write"}
        written = {name for name, right in job["permissions"].items() if right == "write"}
        assert written <= {"id-token"}


def test_ci_runs_the_commands_of_the_readme():
    commands = [step.get("run", "") for step in steps(GITHUB / "workflows" / "ci.yml")]
    targets = set(re.findall(r"^make (\w+)", "\n".join(commands), re.M))
    makefile = (ROOT / "Makefile").read_text()
    assert targets == {
        "check", "test", "unit", "lowest", "orchestrators", "mlflow", "image", "sbom", "audit",
        "install",
    }  # fmt: skip
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M)
    ours = (ROOT / ".ci" / "run").read_text()
    assert "make check" in ours
    assert "make test" in ours


def test_ci_tests_every_python_that_the_package_admits():
    matrix = load(GITHUB / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix == {
        "python": ["3.11", "3.12", "3.13"],
        "versions": ["pinned", "lowest"],
    }
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_shell_of_a_workflow_is_valid(path):
    is_script = path.suffix == ".sh"
    scripts = (
        [path.read_text()] if is_script else [step.get("run", "") for step in steps(path)]
    )
    for script in scripts:
        plain = re.sub(r"\$\{\{.*?\}\}", "x", script)
        done = subprocess.run(["bash", "-n"], input=plain, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_no_expression_is_pasted_into_a_shell():
    for path in WORKFLOWS:
        assert not [step for step in steps(path) if "${{" in step.get("run", "")]


def test_nightly_writes_where_the_job_file_says():
    nightly = load(GITHUB / "workflows" / "nightly.yml")
    config = ["--config", str(ROOT / "jobs" / "score.yaml")]
    settings = load_settings(ScoreSettings, config, program="score")
    assert settings.output_uri.rstrip("/") == nightly["env"]["OUTPUT"]
    cronjob = yaml.safe_load_all((KUBERAY / "base" / "nightly.yaml").read_text())
    assert nightly["env"]["TIME_ZONE"] == next(cronjob)["spec"]["timeZone"]


def test_nightly_has_no_key_of_aws():
    text = (GITHUB / "workflows" / "nightly.yml").read_text()
    assert set(re.findall(r"secrets\.(\w+)", text)) == {"RAY_TOKEN"}
    assert "id-token: write" in text
    assert "--follow" not in text


AWS = """
import json, sys, jmespath
words = dict(zip(sys.argv[3:-1:2], sys.argv[4::2]))
if sys.argv[1] == "s3":
    _, _, _, source, target = sys.argv
    key = source.partition("//")[2].partition("/")[2]
    objects = json.load(open("objects.json"))
    if key not in objects:
        sys.exit(1)
    open(target, "w").write(objects[key])
    sys.exit()
pages = json.load(open("pages.json"))
if words["--output"] == "text":  # each page by itself, as the program does
    found = [jmespath.search(words["--query"], page) for page in pages]
    print(*found, sep="\\n")
else:
    whole = [one for page in pages for one in page.get("Contents", [])]
    page = {"Contents": whole} if whole else {}
    print(json.dumps(jmespath.search(words["--query"], page)))
"""


def outcome_of(
    tmp_path: Path, pages: list[Any], objects: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the step of the nightly that reads the manifest, against an `aws` of our own."""
    (step,) = [
        step
        for step in steps(GITHUB / "workflows" / "nightly.yml")
        if step.get("name", "").startswith("Outcome")
    ]
    (tmp_path / "pages.json").write_text(json.dumps(pages))
    (tmp_path / "objects.json").write_text(json.dumps(objects))
    fake = tmp_path / "aws"
    fake.write_text(f"#!{sys.executable}\n{AWS}")
    fake.chmod(0o755)
    env = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "OUTPUT": "s3://marketplace/classified",
        "RUN_DATE": "2026-11-25",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    command = ["bash", "-e", "-c", step["run"]]
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize(
    ("outcome", "code"), [("published", 0), ("refused", 5), ("interrupted", 6)]
)
def test_nightly_ends_with_the_outcome_of_the_newest_run_of_any_number_of_objects(
    tmp_path, outcome, code
):
    day = "classified/run_date=2026-11-25"
    older, newer = (f"{day}/run_id={name}/_run/manifest.json" for name in "ab")
    parts = [{"Key": f"{day}/run_id=a/{n}", "LastModified": "3"} for n in range(1_000)]
    pages = [
        {"Contents": [{"Key": newer, "LastModified": "2"}, *parts]},
        {"Contents": [{"Key": older, "LastModified": "1"}]},
        {"Contents": parts},
    ]
    objects = {
        newer: json.dumps({"outcome": outcome}),
        older: json.dumps({"outcome": "failed"}),
        newer.replace("manifest.json", "report.html"): "<p>",
    }
    done = outcome_of(tmp_path, pages, objects)
    assert done.returncode == code, done.stderr
    said = f"s3://marketplace/{day}/run_id=b: {outcome}\n"
    assert (tmp_path / "summary").read_text() == said
    assert (tmp_path / "build" / "night" / "report.html").exists()


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_nightly_without_a_run_of_the_day_says_so(tmp_path):
    done = outcome_of(tmp_path, [{}], {})
    assert done.returncode == 6
    assert done.stdout == "no run of 2026-11-25 has a manifest\n"
