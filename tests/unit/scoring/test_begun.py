"""A run goes on with the bundle that it was planned with, whichever is the champion since."""

import logging
import shutil
from dataclasses import replace
from datetime import date

import pytest

from rubert_ood.bundle import derive_bundle
from rubert_ood.pointers.champion import look, name_of
from rubert_ood.pointers.mlflow_run import FINGERPRINT_TAG, URI_TAG
from rubert_ood.pointers.pointer import swap
from rubert_ood.runs.manifest import Manifest, manifest_uri
from rubert_ood.runs.plan import load_plan, save_plan
from rubert_ood.scoring import begun
from rubert_ood.scoring.check_input import check_input
from rubert_ood.settings import ScoreSettings
from rubert_ood.storage import put_json
from tests.conftest import write_parquet


@pytest.fixture
def bundles(bundle, tmp_path):
    found = []
    for version in ("v1", "v2"):
        uri, text = str(tmp_path / "bundles" / version), {"README.md": version}
        found.append(derive_bundle(bundle, uri, documents=text))
    return found


@pytest.fixture
def promote(bundles):
    def name(number: int) -> None:
        place = look(bundles[number].uri.rpartition("/")[0])
        swap(place, place.pointer_to(name_of(bundles[number])).replacing(place.pointer))

    return name


@pytest.fixture
def night(ads, tmp_path):
    write_parquet(tmp_path / "in" / "a.parquet", ads.slice(0, 20))

    def settings(**changes) -> ScoreSettings:
        given = {
            "input_uri": str(tmp_path / "in"),
            "bundle_uri": str(tmp_path / "bundles" / "champion"),
            "output_uri": str(tmp_path / "out"),
            "run_date": date(2026, 11, 24),
        }
        return ScoreSettings(**given | changes)

    return settings


def _note(plan, outcome: str) -> None:
    """Write the manifest of a run that came so far."""
    started_at = "2026-11-24T02:00:00+00:00"
    manifest = Manifest.of(plan, {}, outcome=outcome, started_at=started_at)
    put_json(manifest_uri(plan.run_uri), manifest)


def test_check_input_writes_what_the_champion_was_into_the_plan(
    night, promote, bundles, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    promote(0)
    plan, bundle = check_input(night())
    assert plan.bundle == name_of(bundle)
    assert plan.bundle.uri == bundles[0].uri
    assert plan.bundle.fingerprint == bundles[0].fingerprint
    assert plan.bundle.alias == f"{tmp_path}/bundles/champion"
    save_plan(plan)
    assert load_plan(plan.run_uri).bundle == plan.bundle
    short = bundles[0].fingerprint[:12]
    line = f"bundle    {tmp_path}/bundles/champion names v1, fingerprint {short}"
    assert line in caplog.messages


@pytest.mark.parametrize(
    "outcome", [None, "running", "partial", "interrupted", "complete"]
)
@pytest.mark.parametrize("run_id", [None, "night"])
def test_check_input_of_a_run_that_was_begun_keeps_its_bundle(
    night, promote, bundles, outcome, run_id, caplog
):
    caplog.set_level(logging.INFO)
    promote(0)
    begun, _ = check_input(night(run_id=run_id))
    save_plan(begun)
    if outcome:
        _note(begun, outcome)
    promote(1)
    plan, bundle = check_input(night(run_id=run_id))
    assert bundle.fingerprint == bundles[0].fingerprint
    assert (plan.run_uri, plan.fingerprint) == (begun.run_uri, begun.fingerprint)
    assert save_plan(plan).bundle == begun.bundle
    assert any("resumes with bundle v1" in line for line in caplog.messages)


@pytest.mark.parametrize("outcome", ["published", "refused", "rolled_back"])
def test_check_input_after_a_run_that_is_done_takes_the_champion_of_now(
    night, promote, bundles, outcome
):
    promote(0)
    done, _ = check_input(night())
    save_plan(done)
    _note(done, outcome)
    promote(1)
    plan, _ = check_input(night())
    assert plan.bundle.fingerprint == bundles[1].fingerprint
    assert plan.run_uri != done.run_uri


@pytest.mark.parametrize(
    "changes",
    [{"run_date": date(2026, 11, 25)}, {"embedding": True}, {"shard_rows": 7}],
)
def test_check_input_of_other_work_takes_the_champion_of_now(
    night, promote, bundles, changes
):
    promote(0)
    save_plan(check_input(night())[0])
    promote(1)
    plan, _ = check_input(night(**changes))
    assert plan.bundle.fingerprint == bundles[1].fingerprint


@pytest.mark.parametrize(("before", "after"), [("a", "b"), (None, "b"), ("a", None)])
def test_check_input_of_another_run_id_takes_the_champion_of_now(
    night, promote, bundles, before, after, caplog
):
    """It is what one does to get rid of a run that stands still, or was scored by the wrong
    bundle: nothing of that run is resumed."""
    caplog.set_level(logging.INFO)
    promote(0)
    stuck, _ = check_input(night(run_id=before))
    save_plan(stuck)
    _note(stuck, "partial")
    promote(1)
    plan, bundle = check_input(night(run_id=after))
    assert plan.run_uri != stuck.run_uri
    assert plan.bundle.fingerprint == bundles[1].fingerprint == bundle.fingerprint
    assert not any("resumes with" in line for line in caplog.messages)


def test_check_input_with_a_version_never_goes_on_with_another(night, promote, bundles):
    promote(0)
    save_plan(check_input(night())[0])
    plan, _ = check_input(night(bundle_uri=bundles[1].uri))
    assert plan.bundle.fingerprint == bundles[1].fingerprint
    assert plan.bundle.alias == ""


def test_check_input_of_a_run_whose_bundle_is_gone_is_planned_anew(
    night, promote, bundles, caplog
):
    promote(0)
    save_plan(check_input(night())[0])
    promote(1)
    shutil.rmtree(bundles[0].uri)
    plan, _ = check_input(night())
    assert plan.bundle.fingerprint == bundles[1].fingerprint
    assert any(
        "does not resume an unfinished run of today" in line for line in caplog.messages
    )


def test_check_input_on_hardware_that_the_bundle_before_does_not_take_is_planned_anew(
    night, promote, bundles, caplog, monkeypatch
):
    """Its settings are for the champion of now: that they do not fit the one before is no fault."""
    promote(0)
    save_plan(check_input(night())[0])
    promote(1)
    real, first = begun.load_signed, bundles[0].fingerprint

    def int8(uri, key, **given):
        found = real(uri, key, **given)
        is_first = found.fingerprint == first
        return replace(found, precision="int8") if is_first else found

    monkeypatch.setattr(begun, "load_signed", int8)
    plan, _ = check_input(night(compute={"use_gpu": True}))
    assert plan.bundle.fingerprint == bundles[1].fingerprint
    assert any("v1 was fitted in int8" in line for line in caplog.messages)


def test_check_input_of_a_run_that_is_done_never_goes_on_with_an_older_one(
    night, promote, bundles
):
    """Two starts at once around a promotion leave two runs; the older one stays as it is."""
    promote(0)
    save_plan(check_input(night())[0])
    promote(1)
    other = {"bundle_uri": str(bundles[1].uri)}
    done = check_input(night(**other))[0]
    save_plan(done)
    _note(done, "published")
    plan, _ = check_input(night())
    assert plan.run_uri == done.run_uri


def test_check_input_after_the_champion_came_back_finds_its_own_run(
    night, promote, bundles
):
    promote(0)
    first, _ = check_input(night())
    save_plan(first)
    promote(1)
    promote(0)
    plan, _ = check_input(night())
    assert plan.run_uri == first.run_uri


def test_check_input_writes_what_a_registered_alias_was_into_the_plan_and_keeps_it(
    night, bundles, mlflow_server, caplog
):
    for bundle in bundles:
        tags = {URI_TAG: bundle.uri, FINGERPRINT_TAG: bundle.fingerprint}
        mlflow_server.register("ads", "s3://elsewhere/x", tags)
    mlflow_server.aliases["ads", "best"] = "1"
    settings = night(bundle_uri="models:/ads@best")
    begun, _ = check_input(settings)
    named = load_plan(save_plan(begun).run_uri).bundle
    assert (named.uri, named.version) == (bundles[0].uri, "v1")
    assert named.fingerprint == bundles[0].fingerprint
    assert (named.alias, named.registered) == ("models:/ads@best", "models:/ads/1")
    mlflow_server.aliases["ads", "best"] = "2"
    caplog.set_level(logging.INFO)
    plan, bundle = check_input(settings)
    assert bundle.fingerprint == bundles[0].fingerprint
    assert save_plan(plan).bundle == named
    line = (
        "resumes with bundle v1, which models:/ads@best named when this run was planned"
    )
    assert any(line in message for message in caplog.messages)
