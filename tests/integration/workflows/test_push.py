"""`rubert-ood push` and back: a bundle goes to a hub of this machine, jobs take it from there."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rubert_ood.bundle import derive_bundle, load_bundle
from rubert_ood.errors import BundleError
from rubert_ood.settings import GateSettings, PredictSettings, PushSettings, ScoreSettings
from rubert_ood.storage import folders
from rubert_ood.workflows.predict import predict
from rubert_ood.workflows.push import push
from rubert_ood.workflows.score import score
from tests.hub_server import TOKEN

COMMAND = [sys.executable, "-m", "rubert_ood.cli", "push"]


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path / "cache"))


def _settings(bundle, **values) -> PushSettings:
    return PushSettings(bundle_uri=bundle.uri, repo_id="acme/ads", **values)


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)


def test_pushed_bundle_is_the_same_bundle_when_it_comes_back(hub, bundle):
    pushed = push(_settings(bundle))
    back = load_bundle(pushed.uri)
    assert back.fingerprint == bundle.fingerprint == pushed.fingerprint
    for path in Path(back.folder).iterdir():
        assert path.read_bytes() == Path(bundle.folder, path.name).read_bytes(), path.name
    here = predict(PredictSettings(bundle_uri=bundle.uri, texts=["диван б/у"]))
    there = predict(PredictSettings(bundle_uri="hf://acme/ads", texts=["диван б/у"]))
    assert here == there


def test_dry_run_sends_nothing_and_lists_what_it_would_send(
    hub, bundle, tmp_path, capsys
):
    pushed = push(_settings(bundle, dry_run=True))
    assert pushed.uri == ""
    assert hub.requests == []
    shown = capsys.readouterr().out
    manifest = json.loads(Path(bundle.folder, "manifest.json").read_bytes())
    for name, file in manifest["files"].items():
        listed = {"README.md": "README.bundle.md"}.get(name, name)
        assert f"{file['size']:,}  {listed}\n" in shown
    assert "pipeline_tag: text-classification" in shown


def test_push_leaves_behind_what_is_not_of_the_bundle(hub, bundle, tmp_path):
    """Of a folder with another file nothing is sent at all: no load takes it either."""
    copy = derive_bundle(bundle, str(tmp_path / "v2"))
    (tmp_path / "v2" / "notes.txt").write_text("phone numbers")
    with pytest.raises(BundleError, match=r"notes\.txt is not in the manifest"):
        push(_settings(copy))
    assert hub.requests == []


def test_push_command_says_commit_and_fingerprint_and_hides_the_token(hub, bundle):
    done = _run("--bundle_uri", bundle.uri, "--repo_id", "acme/ads", "--license", "mit")
    assert done.returncode == 0, done.stderr
    oid = hub.repos["acme/ads"].branches["main"]
    assert f"hf://acme/ads@{oid}  fingerprint {bundle.fingerprint}" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert "license: mit\n" in hub.repos["acme/ads"].files()["README.md"].decode()


def test_push_command_to_a_hub_that_is_gone_is_one_line_and_exit_6(hub, bundle):
    hub.shutdown()
    hub.server_close()
    done = _run("--bundle_uri", bundle.uri, "--repo_id", "acme/ads")
    assert done.returncode == 6
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: acme/ads@main: the hub does not answer")
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr


def test_file_that_changed_on_the_hub_is_refused(hub, bundle):
    push(_settings(bundle))
    hub.repos["acme/ads"].files()["text.json"] = b"{}"
    with pytest.raises(BundleError, match=r"text\.json differs from the manifest"):
        load_bundle("hf://acme/ads")


def test_page_that_was_edited_on_the_hub_changes_no_bundle(hub, bundle):
    push(_settings(bundle))
    hub.repos["acme/ads"].files()["README.md"] = b"# Our own words\n"
    assert load_bundle("hf://acme/ads").fingerprint == bundle.fingerprint


def test_night_with_a_bundle_of_the_hub_is_that_of_the_folder_and_pins_its_commit(
    hub, bundle, ads, tmp_path
):
    pushed = push(_settings(bundle))
    pq.write_table(ads.slice(0, 60), tmp_path / "ads.parquet")
    labels = []
    for number, uri in enumerate((bundle.uri, "hf://acme/ads")):
        run = score(
            ScoreSettings(
                input_uri=str(tmp_path / "ads.parquet"),
                bundle_uri=uri,
                output_uri=str(tmp_path / f"scored{number}"),
                executor="local",
                gate=GateSettings(max_other_rate=1, max_ood_rate=1),
            )
        )
        plan = json.loads(Path(run.run_uri, "_run", "plan.json").read_bytes())
        labels.append(
            pq.read_table(f"{run.run_uri}").sort_by("ad_id")["label"].to_pylist()
        )
    assert plan["bundle"]["uri"] == pushed.uri
    assert plan["bundle"]["fingerprint"] == bundle.fingerprint
    assert labels[0] == labels[1]


def test_new_version_of_a_bundle_of_the_hub_wants_an_output(hub, bundle):
    pushed = push(_settings(bundle))
    with pytest.raises(
        BundleError, match=r"cannot be written to the hub\. Set output_uri"
    ):
        derive_bundle(load_bundle(pushed.uri), "hf://acme/v2")
