"""The image as far as it can be looked at without a container engine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rubert_ood import __version__
from tests.unit.deploy.composed import KUBERAY, ROOT

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
HADOLINT = Path(sys.executable).parent / "hadolint"
RESOLVE = ROOT / "deploy" / "docker" / "resolve_digest.sh"
TEXT = DOCKERFILE.read_text()


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, path], capture_output=True, text=True, timeout=60)


def last_stage() -> str:
    return TEXT.rpartition("\nFROM ")[2]


def test_hadolint_has_nothing_against_the_dockerfile():
    done = hadolint(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("good", "bad", "rule"),
    [
        ("USER 1000:1000", "USER root", "DL3002"),
        ("ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1", "", "DL3042"),
        ("--no-install-recommends ", "", "DL3015"),
        ("-euo", '-euz"o', "error"),
    ],
)
def test_hadolint_refuses_a_worse_dockerfile(tmp_path, good, bad, rule):
    assert good in TEXT
    worse = tmp_path / "Dockerfile"
    worse.write_text(TEXT.replace(good, bad))
    done = hadolint(worse)
    assert done.returncode != 0
    assert rule in done.stdout or "error" in done.stderr + done.stdout


def test_both_stages_start_from_one_base_that_is_pinned_by_a_digest():
    assert re.findall(r"^FROM (\S+)", TEXT, re.M) == ["${BASE_IMAGE}", "${BASE_IMAGE}"]
    base = re.search(r"^ARG BASE_IMAGE=(\S+)@sha256:([0-9a-f]{64})$", TEXT, re.M)
    assert base is not None
    assert base[1].startswith("python:3.11-slim-")  # that of constraints.txt
    assert set(base[2]) == {"0"}  # a placeholder: `make image` gives the real one


def test_the_last_stage_runs_as_the_user_of_the_pods_and_installs_no_compiler():
    stage = last_stage()
    assert re.search(r"^USER 1000:1000$", stage, re.M)
    pods = (KUBERAY / "base" / "rayjob.yaml").read_text()
    assert "runAsUser: 1000" in pods
    assert re.search(r"^ENV .*HOME=/home/ray", stage, re.M | re.S)
    assert "mountPath: /home/ray" in pods
    assert not re.search(r"\b(gcc|g\+\+|build-essential|clang|make)\b", stage)


def test_everything_that_is_copied_is_in_the_context():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    admitted = {line[1:].split("/")[0] for line in ignored if line.startswith("!")}
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.M)
        for source in line.split()[:-1]
    ]
    assert copied
    assert set(copied) == admitted
    assert ignored[1] == "*"
    for source in copied:
        assert (ROOT / source).exists()


def test_what_the_image_installs_is_pinned():
    installs = re.findall(r"pip install(.+)", TEXT)
    assert len(installs) == 4
    assert ["--constraint constraints.txt" in line for line in installs] == [
        False,
        True,
        True,
        True,
    ]
    assert "grep '^torch==' constraints.txt" in installs[0]


def make_image(variant: str) -> str:
    command = ["make", "--dry-run", "image", f"VARIANT={variant}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("overlay", "variant"), [("cpu", "cpu"), ("gpu-spot", "cuda")])
def test_make_image_makes_the_tag_that_the_overlay_names(overlay, variant):
    command = make_image(variant)
    base = re.search(r"^ARG BASE_IMAGE=(\S+)@", TEXT, re.M)
    assert base is not None
    assert f"resolve_digest.sh {base[1]})" in command
    assert f"--tag rubert-ood:{__version__}-{variant} ." in command
    overlaid = (KUBERAY / "overlays" / overlay / "kustomization.yaml").read_text()
    assert f"newTag: {__version__}-{variant}" in overlaid
    given = set(re.findall(r"--build-arg (\w+)=", command))
    assert given == set(re.findall(r"^ARG (\w+)=", TEXT, re.M))


def resolved(tmp_path: Path, tool: str, answer: str) -> subprocess.CompletedProcess[str]:
    """Run resolve_digest.sh with one tool on the PATH, which gives an answer."""
    if tool:
        path = tmp_path / tool
        path.write_text(f"#!/bin/bash\necho '{answer}'\n")
        path.chmod(0o755)
    (tmp_path / "tr").symlink_to("/usr/bin/tr")
    command = ["/bin/bash", RESOLVE, "python:3.11-slim"]
    return subprocess.run(
        command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )


def test_resolve_digest_without_a_tool_says_which_are_missing(tmp_path):
    done = resolved(tmp_path, "", "")
    assert done.returncode == 2
    assert "install docker with buildx, or crane, or skopeo" in done.stderr


@pytest.mark.parametrize("tool", ["docker", "crane", "skopeo"])
def test_resolve_digest_prints_the_image_with_its_digest(tmp_path, tool):
    digest = "sha256:" + "0a" * 32
    done = resolved(tmp_path, tool, digest)
    assert (done.returncode, done.stdout) == (0, f"python:3.11-slim@{digest}\n")


def test_resolve_digest_refuses_what_is_not_a_digest(tmp_path):
    done = resolved(tmp_path, "crane", "not found")
    assert done.returncode == 3
    assert "gave no digest" in done.stderr
