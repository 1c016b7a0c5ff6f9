"""What OpenLineage is told of a training, by a server that takes the events."""

import pytest

from rubert_ood.errors import InputError, PartialRunError
from rubert_ood.publishing.training_lineage import tables_of, training_lineage
from rubert_ood.settings import EvaluationSettings, LineageSettings, TrainSettings
from tests.lineage_server import check_event

URI = "s3://shop/bundles/v1"


@pytest.fixture
def settings() -> TrainSettings:
    return TrainSettings(
        train_uri="s3://shop/train",
        valid_uri="s3://shop/valid/*.parquet",
        test_uri="s3://shop/test",
        calibration_uri="s3://shop/valid/*.parquet",
        evaluation=EvaluationSettings(ood_uri="/data/ood.csv"),
        lineage=LineageSettings(send=True, namespace="shop"),
    )


def _stopped_by(error: BaseException, settings: TrainSettings, fingerprint="") -> None:
    with training_lineage(settings) as lineage:
        lineage.planned(URI, {})
        if fingerprint:
            lineage.ended(fingerprint, {})
        raise error


def test_tables_of_a_training_are_named_once_each(settings):
    assert tables_of(settings) == [
        "s3://shop/train",
        "s3://shop/valid/*.parquet",
        "s3://shop/test",
        "/data/ood.csv",
    ]


def test_lineage_of_a_training_leads_from_its_tables_to_its_bundle(
    settings, lineage_server
):
    with training_lineage(settings) as lineage:
        lineage.planned(URI, {"trainAds": 7})
        lineage.ended("f" * 64, {"accuracy": 0.75})
    first, last = lineage_server.bodies
    for body in (first, last):
        check_event(body)
        assert (body["job"]["namespace"], body["job"]["name"]) == ("shop", "train")
        named = [(table["namespace"], table["name"]) for table in body["inputs"]]
        assert named == [
            ("s3://shop", "train"),
            ("s3://shop", "valid"),
            ("s3://shop", "test"),
            ("file", "/data/ood.csv"),
        ]
        (output,) = body["outputs"]
        assert (output["namespace"], output["name"]) == ("s3://shop", "bundles/v1")
    assert (first["eventType"], last["eventType"]) == ("START", "COMPLETE")
    assert first["run"]["runId"] == last["run"]["runId"]
    assert output["facets"]["version"]["datasetVersion"] == "f" * 64
    own = last["run"]["facets"]["rubertOod_training"]
    assert own.items() >= {"trainAds": 7, "accuracy": 0.75, "bundleUri": URI}.items()
    assert own["outcome"] == "complete"
    assert "accuracy" not in first["run"]["facets"]["rubertOod_training"]


@pytest.mark.parametrize(
    ("error", "kind", "outcome"),
    [
        (PartialRunError("a worker is gone"), "ABORT", "partial"),
        (KeyboardInterrupt(), "ABORT", "interrupted"),
        (ZeroDivisionError("+7 912 000-00-00"), "FAIL", "failed"),
    ],
)
def test_lineage_of_a_training_that_is_stopped_ends_it(
    settings, lineage_server, error, kind, outcome
):
    with pytest.raises(type(error)):
        _stopped_by(error, settings)
    last = lineage_server.bodies[-1]
    check_event(last)
    assert last["eventType"] == kind
    facets = last["run"]["facets"]
    assert facets["rubertOod_training"]["outcome"] == outcome
    assert "+7" not in str(last)
    assert "facets" not in last["outputs"][0] or not last["outputs"][0]["facets"]


def test_lineage_of_a_training_whose_promotion_is_refused_is_complete(
    settings, lineage_server
):
    with pytest.raises(InputError):
        _stopped_by(InputError("the file is gone"), settings, fingerprint="f" * 64)
    assert [body["eventType"] for body in lineage_server.bodies] == ["START", "COMPLETE"]


def test_lineage_of_a_training_that_nobody_asked_for_is_silent(settings, lineage_server):
    silent = settings.model_copy(update={"lineage": LineageSettings()})
    with training_lineage(silent) as lineage:
        lineage.planned(URI, {})
        lineage.ended("f" * 64, {})
    assert lineage_server.bodies == []
