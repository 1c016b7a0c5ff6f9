"""What two URIs mean, before anything is compared."""

import pytest

from rubert_ood.errors import InputError, SettingsError
from rubert_ood.pointers.mlflow_run import FINGERPRINT_TAG, URI_TAG
from rubert_ood.runs.manifest import Manifest, manifest_uri
from rubert_ood.runs.plan import load_plan
from rubert_ood.settings import DiffSettings
from rubert_ood.storage import put_json
from rubert_ood.workflows.diff import diff


@pytest.fixture
def registered(mlflow_server, bundle) -> str:
    tags = {URI_TAG: bundle.uri, FINGERPRINT_TAG: bundle.fingerprint}
    mlflow_server.register("ads", "s3://elsewhere/x", tags, alias="best")
    return "models:/ads@best"


def test_diff_of_two_registered_models_asks_for_the_ads(registered):
    with pytest.raises(SettingsError, match=r"^input_uri: it is missing"):
        diff(DiffSettings(a_uri=registered, b_uri="models:/ads/1"))


def test_diff_of_a_registered_model_and_a_run_is_refused(registered, place):
    run_uri, started_at = place("A"), "2026-11-24T02:00:00+00:00"
    manifest = Manifest.of(
        load_plan(run_uri), {}, outcome="complete", started_at=started_at
    )
    put_json(manifest_uri(run_uri), manifest)
    with pytest.raises(InputError, match="one is a run, the other is a bundle"):
        diff(DiffSettings(a_uri=registered, b_uri=run_uri))


def test_diff_of_two_bundles_of_a_hub_asks_for_the_ads(hub):
    hub.create("shop/ads", **{"manifest.json": b"{}"})
    with pytest.raises(SettingsError, match=r"^input_uri: it is missing"):
        diff(DiffSettings(a_uri="hf://shop/ads", b_uri="hf://shop/ads@main"))
