import json
from dataclasses import replace
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openlineage.client.serde import Serde

from rubert_ood.publishing.lineage_events import (
    End,
    Start,
    dataset_name,
    input_name,
    run_event,
)
from rubert_ood.runs.plan import BundleName
from rubert_ood.runs.seals import DataFile
from tests.lineage_server import check_event
from tests.unit.made_up_receipts import a_plan
from tests.unit.publishing.manifests import a_manifest

NOW = "2026-11-24T23:10:00.000001+00:00"


@pytest.fixture
def start(tmp_path) -> Start:
    plan = a_plan(str(tmp_path), 3)
    bundle = BundleName(uri="s3://models/b/v1", version="v1", fingerprint="b" * 64)
    plan = replace(plan, input_uri="s3://ads/2026-11-24/*.parquet", bundle=bundle)
    return Start(plan, plan.num_rows, str(uuid4()), "shop", "score", "Europe/Moscow")


def _as_sent(event: object) -> dict:
    return json.loads(Serde.to_json(event))


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://ads/day/a.parquet", ("s3://ads", "day/a.parquet")),
        ("s3a://ads/day/", ("s3://ads", "day")),
        ("s3://ads", ("s3://ads", "/")),
        ("/data/ads/", ("file", "/data/ads")),
        ("hf://market/ads@0c4f", ("hf", "market/ads@0c4f")),
    ],
)
def test_dataset_name_is_by_the_rules_of_openlineage(uri, name):
    assert dataset_name(uri) == name
    assert input_name(uri) == name


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://ads/day=*/x/*.csv", ("s3://ads", "/")),
        ("/data/ads/part-?.csv", ("file", "/data/ads")),
        ("/*.csv", ("file", "/")),
    ],
)
def test_input_name_of_a_glob_is_the_folder_above_it(uri, name):
    assert input_name(uri) == name


def test_names_of_folders_with_brackets_are_whole(start, tmp_path):
    folder = tmp_path / "Объявления [2]"
    folder.mkdir()
    plan = replace(
        start.plan,
        input_uri=str(folder),
        run_uri="/out [1]/run",
        bundle=BundleName(uri="s3://m/b [1]/v1", fingerprint="b" * 64),
    )
    sent = _as_sent(run_event(replace(start, plan=plan), NOW))
    check_event(sent)
    names = [item["name"] for item in sent["inputs"] + sent["outputs"]]
    assert names == [str(folder), "b [1]/v1", "/out [1]/run"]


def test_run_event_of_a_start_names_ads_bundle_and_run(start):
    sent = _as_sent(run_event(start, NOW))
    check_event(sent)
    assert (sent["eventType"], sent["eventTime"]) == ("START", NOW)
    assert sent["run"]["runId"] == start.run_id
    assert (sent["job"]["namespace"], sent["job"]["name"]) == ("shop", "score")
    names = [(item["namespace"], item["name"]) for item in sent["inputs"]]
    assert names == [("s3://ads", "2026-11-24"), ("s3://models", "b/v1")]
    (output,) = sent["outputs"]
    assert (output["namespace"], output["name"]) == ("file", start.plan.run_uri)
    facets = sent["run"]["facets"]
    assert facets["nominalTime"]["nominalStartTime"] == "2026-11-24T00:00:00+03:00"
    assert facets["nominalTime"]["nominalEndTime"] == "2026-11-25T00:00:00+03:00"
    own = facets["rubertOod_scoring"]
    assert (own["runId"], own["bundleVersion"], own["rowsPlanned"]) == ("x", "v1", 30)
    assert "outcome" not in own


def test_run_event_of_a_whole_run_has_columns_rows_and_bytes(start, tmp_path):
    manifest = a_manifest(str(tmp_path))
    files = []
    for number, rows in enumerate((70, 30)):
        uri = tmp_path / manifest.run_uri / f"{number}.parquet"
        uri.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table({"ad_id": ["1"] * rows, "ood_p": pa.array([0.5] * rows)})
        pq.write_table(table, uri)
        size = uri.stat().st_size
        files.append(DataFile(path=uri.name, sha256="a" * 64, rows=rows, bytes=size))
    manifest = manifest.model_copy(update={"files": files})
    sent = _as_sent(run_event(start, NOW, End("COMPLETE", "published"), manifest))
    check_event(sent)
    (output,) = sent["outputs"]
    columns = [
        (item["name"], item["type"]) for item in output["facets"]["schema"]["fields"]
    ]
    assert columns == [("ad_id", "string"), ("ood_p", "double")]
    statistics = output["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["fileCount"]) == (100, 2)
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    assert statistics["size"] == on_disk
    read = sent["inputs"][0]["inputFacets"]["inputStatistics"]
    assert (read["rowCount"], read["size"]) == (100, 1000)
    own = sent["run"]["facets"]["rubertOod_scoring"]
    assert (own["outcome"], own["counts"]["rows_ood"]) == ("published", 5)


def test_run_event_of_an_older_run_leaves_out_bytes_that_it_does_not_know(
    start, tmp_path
):
    manifest = a_manifest(str(tmp_path))
    path = tmp_path / manifest.run_uri / "part.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"ad_id": ["1"]}), path)
    old = DataFile(path=path.name, sha256="a" * 64, rows=1)
    manifest = manifest.model_copy(update={"files": [old]})
    sent = _as_sent(run_event(start, NOW, End("COMPLETE", "complete"), manifest))
    assert "size" not in sent["outputs"][0]["outputFacets"]["outputStatistics"]


def test_run_event_of_an_error_has_its_message_and_no_statistics(start):
    end = End("ABORT", "partial", "2 shards are left")
    sent = _as_sent(run_event(start, NOW, end, None))
    check_event(sent)
    assert sent["eventType"] == "ABORT"
    error = sent["run"]["facets"]["errorMessage"]
    assert (error["message"], error["programmingLanguage"]) == (end.error, "python")
    assert "outputStatistics" not in sent["outputs"][0]["outputFacets"]
