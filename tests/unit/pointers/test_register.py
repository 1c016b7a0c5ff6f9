"""A bundle is told to a server that speaks MLflow's REST, once, whatever is repeated."""

from dataclasses import replace

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.pointers import register as module
from rubert_ood.pointers.champion import resolve
from rubert_ood.pointers.mlflow_run import Number, RunContent, content_of
from rubert_ood.pointers.register import register_bundle
from rubert_ood.settings import MlflowSettings, RegisterSettings
from tests.mlflow_server import PASSWORD

BOTH = MlflowSettings(experiment="shop", register_as="ads")


def test_register_bundle_sends_a_run_and_a_version_that_resolves_to_it(
    bundle, mlflow_server
):
    assert register_bundle(bundle, BOTH, started_at_ms=1_000) == "models:/ads/1"
    ((run_id, run),) = mlflow_server.runs.items()
    assert run["experiment_id"] == mlflow_server.experiments["shop"]
    assert (run["status"], run["start_time"]) == ("FINISHED", 1_000)
    assert run["tags"].items() >= content_of(bundle).tags.items()
    (version,) = mlflow_server.models["ads"]
    assert version["source"] == f"runs:/{run_id}/bundle"  # MLflow takes no local path
    found = resolve("models:/ads/1")
    assert (found.uri, found.fingerprint) == (bundle.uri, bundle.fingerprint)


def test_register_bundle_on_s3_has_its_own_uri_as_the_source(bundle, mlflow_server):
    there = replace(bundle, uri="s3://shop/bundles/v1")
    register_bundle(there, BOTH)
    assert mlflow_server.models["ads"][0]["source"] == "s3://shop/bundles/v1"


def test_register_bundle_shows_the_address_nowhere(bundle, mlflow_server, capfd, caplog):
    register_bundle(bundle, BOTH)
    for text in (*capfd.readouterr(), caplog.text):
        assert str(mlflow_server.server_port) not in text
        assert PASSWORD not in text


def test_register_bundle_twice_sends_it_once(bundle, mlflow_server):
    for _ in range(2):
        assert register_bundle(bundle, BOTH) == "models:/ads/1"
    assert len(mlflow_server.runs) == len(mlflow_server.models["ads"]) == 1
    moved = replace(bundle, uri="s3://shop/bundles/v1")
    assert register_bundle(moved, BOTH) == "models:/ads/2"


def test_register_bundle_goes_on_with_a_run_that_was_cut_off(bundle, mlflow_server):
    mlflow_server.fails_at = "runs/update"
    with pytest.raises(Exception, match="runs/update"):
        register_bundle(bundle, BOTH)
    mlflow_server.fails_at = ""
    assert register_bundle(bundle, BOTH) == "models:/ads/1"
    assert [run["status"] for run in mlflow_server.runs.values()] == ["FINISHED"]


def test_register_bundle_without_a_model_sends_the_run_alone(bundle, mlflow_server):
    assert register_bundle(bundle, MlflowSettings(experiment="shop")) == ""
    assert len(mlflow_server.runs) == 1
    assert mlflow_server.models == {}


def test_register_bundle_sends_many_numbers_in_parts(bundle, mlflow_server, monkeypatch):
    params = {f"p{number}": "1" for number in range(101)}
    metrics = [Number("loss", number / 7, number) for number in range(2001)]
    content = RunContent("v1", content_of(bundle).tags, params, metrics)
    monkeypatch.setattr(module, "content_of", lambda _: content)
    register_bundle(bundle, BOTH)
    (run,) = mlflow_server.runs.values()
    assert run["params"] == params
    sent = [(one["key"], one["value"], one["step"]) for one in run["metrics"]]
    assert sent == [("loss", number / 7, number) for number in range(2001)]
    assert mlflow_server.asked.count("runs/log-batch") == 2 + 3


def test_register_bundle_into_a_deleted_experiment_says_what_to_do(bundle, mlflow_server):
    register_bundle(bundle, BOTH)
    mlflow_server.deleted.add("shop")
    with pytest.raises(SettingsError, match=r"shop was deleted on the server. Restore"):
        register_bundle(bundle, BOTH)


def test_register_bundle_beside_another_program_takes_what_that_has_made(
    bundle, mlflow_server
):
    mlflow_server.refusals = [
        "RESOURCE_DOES_NOT_EXIST"
    ]  # and then the experiment is there
    mlflow_server.experiments["shop"] = "7"
    mlflow_server.models["ads"] = []  # no version yet
    assert register_bundle(bundle, BOTH) == "models:/ads/1"
    assert [run["experiment_id"] for run in mlflow_server.runs.values()] == ["7"]


@pytest.mark.parametrize("name", ["ads@best", "a/b", "x'y", ""])
def test_settings_of_mlflow_refuse_names_that_no_uri_can_hold(name):
    with pytest.raises(SettingsError):
        MlflowSettings(experiment="shop", register_as=name)


def test_settings_of_mlflow_refuse_a_model_without_an_experiment():
    with pytest.raises(
        SettingsError, match=r"mlflow\.experiment: mlflow\.register_as nee"
    ):
        MlflowSettings(register_as="ads")


def test_settings_of_register_ask_for_the_experiment():
    with pytest.raises(
        SettingsError, match=r"mlflow\.experiment: missing. Pass --mlflow"
    ):
        RegisterSettings(bundle_uri="b")
