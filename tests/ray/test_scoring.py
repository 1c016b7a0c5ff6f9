"""The scoring job on a real Ray: right for every ad, the same for any number of actors, exactly
once over kills."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.bundle import load_bundle
from rubert_ood.errors import PartialRunError
from rubert_ood.predictor import Model
from rubert_ood.runs.receipts import read_receipts
from rubert_ood.settings import GateSettings, ScoreSettings, ScoringComputeSettings
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.workflows.score import score
from tests.conftest import read_parts, same_rows, write_parquet

TIMINGS = {"seconds", "scorer_busy_s", "scorer_idle_s", "finished_at"}
"""What may differ of a receipt: when, and how long."""

NUM_ADS = 1500
SHARD_ROWS = 250


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """Ads in two files, with what real tables have: nulls, empty texts, other row groups."""
    table = pa.Table.from_batches(list(generate_ads(NUM_ADS, seed=11)))
    titles, descriptions, ids = (
        table[name].to_pylist() for name in ("title", "description", "ad_id")
    )
    titles[5], descriptions[5] = "", "  +7 900 123-45-67 "
    titles[6], descriptions[6] = None, None
    ids[7] = None
    for name, values in (
        ("title", titles),
        ("description", descriptions),
        ("ad_id", ids),
    ):
        table = table.set_column(
            table.schema.get_field_index(name), name, pa.array(values, pa.string())
        )
    folder = tmp_path_factory.mktemp("catalogue")
    write_parquet(folder / "a.parquet", table.slice(0, 850), row_group_size=100)
    write_parquet(folder / "b.parquet", table.slice(850), row_group_size=2000)
    return str(folder), table


def _settings(catalogue, trained_bundle, output, **changes) -> ScoreSettings:
    wide_open = GateSettings(max_ood_rate=1, max_other_rate=1)
    values = {
        "input_uri": catalogue[0],
        "bundle_uri": trained_bundle,
        "output_uri": str(output),
        "gate": wide_open,
    }
    return ScoreSettings(**{**values, "shard_rows": SHARD_ROWS, **changes})


@pytest.fixture(scope="module")
def undisturbed(ray_local, catalogue, trained_bundle, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    manifest = score(
        _settings(
            catalogue,
            trained_bundle,
            output,
            carry_columns=("city", "price"),
            compute=ScoringComputeSettings(num_workers=1),
        )
    )
    return manifest, read_parts(manifest.run_uri)


def test_score_with_the_local_executor_writes_what_ray_writes(
    undisturbed, catalogue, trained_bundle, tmp_path
):
    """Files byte for byte, receipts, with the digests of the parts, but for their times."""
    manifest, _ = undisturbed
    settings = _settings(
        catalogue,
        trained_bundle,
        tmp_path,
        carry_columns=("city", "price"),
        executor="local",
        run_id=manifest.run_id,
        run_date=manifest.run_date,
    )
    local = score(settings)
    ours, theirs = Path(manifest.run_uri), Path(local.run_uri)
    names = sorted(path.name for path in ours.glob("data-*"))
    assert names == sorted(path.name for path in theirs.glob("data-*"))
    assert names == [file.path for file in manifest.files]
    for name in names:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    receipts = [read_receipts(run.run_uri, run.fingerprint) for run in (manifest, local)]
    one, other = [
        {name: receipt.model_dump(exclude=TIMINGS) for name, receipt in found.items()}
        for found in receipts
    ]
    assert one == other


def test_run_scores_every_ad_as_if_it_were_alone(undisturbed, catalogue, trained_bundle):
    _, parts = undisturbed
    table = catalogue[1].filter(pa.compute.is_valid(catalogue[1]["ad_id"]))
    assert parts["ad_id"].to_pylist() == table["ad_id"].to_pylist()
    assert parts["city"].to_pylist() == table["city"].to_pylist()
    assert parts["price"].to_pylist() == table["price"].to_pylist()
    rows = [*range(0, 40), *range(40, len(table), 37)]
    texts = [
        f"{table['title'][row].as_py() or ''} {table['description'][row].as_py() or ''}"
        for row in rows
    ]
    model = Model(load_bundle(trained_bundle))
    for row, text in zip(rows, texts, strict=True):
        (alone,) = model.predict(pa.table({"description": [text]})).to_pylist()
        got = parts.slice(row, 1).to_pylist()[0]
        assert (got["label"], got["status"]) == (alone["label"], alone["status"])
        if alone["status"] == "ok":
            assert got["topk_labels"] == alone["topk_labels"]
            np.testing.assert_allclose(
                got["topk_scores"], alone["topk_scores"], atol=1e-5
            )
            assert got["ood_distance"] == pytest.approx(alone["ood_distance"], rel=1e-4)
            assert got["is_ood"] == alone["is_ood"]


def test_run_manifest_counts_and_report_agree(undisturbed):
    manifest, parts = undisturbed
    counts = manifest.counts
    assert manifest.outcome == "published"
    assert (counts.rows_in, counts.rows_scored, counts.rows_rejected) == (
        NUM_ADS,
        NUM_ADS - 1,
        1,
    )
    assert counts.rows_empty == parts["status"].to_pylist().count("empty") >= 2
    assert manifest.rejected_reasons == {"ad_id is null": 1}
    errors = pq.read_table(
        next(Path(manifest.run_uri).glob("_errors/*.rejected"))
    ).to_pylist()
    assert [(Path(row["file"]).name, row["row"], row["reason"]) for row in errors] == [
        ("a.parquet", 7, "ad_id is null")
    ]
    pointer = json.loads((Path(manifest.output_uri) / "latest.json").read_text())
    assert Path(manifest.output_uri, pointer["path"]) == Path(manifest.run_uri)
    assert (
        "It is published: readers of"
        in Path(manifest.run_uri, "_run", "report.html").read_text()
    )


def test_run_with_two_actors_other_shards_and_batches_gives_the_same_rows(
    undisturbed, catalogue, trained_bundle, tmp_path
):
    settings = _settings(
        catalogue,
        trained_bundle,
        tmp_path,
        carry_columns=("city", "price"),
        shard_rows=450,
        compute=ScoringComputeSettings(num_workers=2, token_budget=200),
    )
    same_rows(read_parts(score(settings).run_uri), undisturbed[1])


def test_a_finished_run_is_not_scored_again(undisturbed, catalogue, trained_bundle):
    manifest, _ = undisturbed
    before = {
        path: path.stat().st_mtime_ns for path in Path(manifest.run_uri).glob("data-*")
    }
    assert before
    settings = _settings(
        catalogue, trained_bundle, manifest.output_uri, carry_columns=("city", "price")
    )
    again = score(settings)
    assert again.outcome == "published"
    assert {
        path: path.stat().st_mtime_ns for path in Path(manifest.run_uri).glob("data-*")
    } == before


def test_a_file_that_breaks_during_the_run_ends_partial_and_names_it(
    catalogue, trained_bundle, tmp_path, ray_local
):
    source = tmp_path / "in"
    table = catalogue[1].slice(100, 500)
    write_parquet(source / "a.parquet", table, row_group_size=250)
    path = source / "broken.parquet"
    write_parquet(path, table, row_group_size=250, compression="none")
    data = bytearray(path.read_bytes())
    data[200:2000] = b"\xff" * 1800  # the footer stays whole: planning sees nothing
    path.write_bytes(data)
    settings = _settings((str(source), None), trained_bundle, tmp_path / "out")
    with pytest.raises(
        PartialRunError,
        match=(
            r"[23] of 4 shards are scored.*broken\.parquet: the file cannot be read as"
            " Parquet"
        ),
    ):
        score(settings)
    manifest = json.loads(
        next(
            (tmp_path / "out").glob("run_date=*/run_id=*/_run/manifest.json")
        ).read_text()
    )
    assert manifest["outcome"] == "partial"
    assert not (tmp_path / "out" / "latest.json").exists()
