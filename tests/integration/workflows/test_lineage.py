"""A real run, a real server of events."""

import pyarrow.parquet as pq
import pytest

from rubert_ood.errors import PublicationRefusedError
from rubert_ood.settings import LineageSettings, ScoreSettings
from rubert_ood.workflows.score import score
from tests.conftest import read_parts, write_parquet
from tests.integration.workflows.test_score import WIDE_OPEN
from tests.lineage_server import check_event

NUM_ADS = 30


@pytest.fixture
def settings(ads, bundle, tmp_path) -> ScoreSettings:
    source = tmp_path / "in"
    source.mkdir()
    write_parquet(source / "a.parquet", ads.slice(0, NUM_ADS))
    return ScoreSettings(
        input_uri=str(source),
        bundle_uri=bundle.uri,
        output_uri=str(tmp_path / "out"),
        gate=WIDE_OPEN,
        executor="local",
        lineage=LineageSettings(send=True, namespace="shop"),
    )


def test_score_sends_the_start_and_the_end_of_a_published_run(settings, lineage_server):
    manifest = score(settings)
    first, last = lineage_server.bodies
    for body in (first, last):
        check_event(body)
    assert (first["eventType"], last["eventType"]) == ("START", "COMPLETE")
    assert first["run"]["runId"] == last["run"]["runId"]
    assert last["job"]["namespace"] == "shop"
    assert last["inputs"][0]["name"] == settings.input_uri
    (output,) = last["outputs"]
    assert output["name"] == manifest.run_uri
    statistics = output["outputFacets"]["outputStatistics"]
    assert statistics["rowCount"] == read_parts(manifest.run_uri).num_rows == NUM_ADS
    uri = f"{manifest.run_uri}/{manifest.files[0].path}"
    names = [field["name"] for field in output["facets"]["schema"]["fields"]]
    assert names == pq.read_schema(uri).names
    own = last["run"]["facets"]["rubertOod_scoring"]
    assert own["outcome"] == "published"
    assert own["bundleFingerprint"] == manifest.bundle.fingerprint


def test_score_that_the_gate_refuses_fails(settings, lineage_server):
    gate = WIDE_OPEN.model_copy(update={"max_other_rate": 0.0})
    with pytest.raises(PublicationRefusedError) as error:
        score(settings.model_copy(update={"gate": gate}))
    last = lineage_server.bodies[-1]
    assert last["eventType"] == "FAIL"
    facets = last["run"]["facets"]
    assert facets["rubertOod_scoring"]["outcome"] == "refused"
    assert facets["errorMessage"]["message"] == str(error.value)


def test_score_whose_events_are_not_taken_is_published(settings, lineage_server, caplog):
    lineage_server.statuses = [401] * 2
    assert score(settings).outcome == "published"
    assert caplog.text.count("could not send") == 2
