"""Sub-heads on a real Ray: trained on gathered features, applied by the scoring actors."""

import pyarrow as pa
import pytest

from rubert_ood.bundle import load_bundle
from rubert_ood.settings import GateSettings, ScoreSettings, SubheadsSettings
from rubert_ood.workflows.predict import predict_texts
from rubert_ood.workflows.score import score
from rubert_ood.workflows.subheads import subheads
from tests.conftest import read_parts, write_parquet


def test_ads_get_the_sub_category_that_prediction_gives_them(
    ray_local, labelled_ads, trained_bundle, tmp_path
):
    categories = sorted(set(labelled_ads["category"].to_pylist()))
    fine = set(categories[:4])
    rooms = [
        "дорого" if price and price > 5000 else "недорого"
        for price in labelled_ads["price"].to_pylist()
    ]
    subs = [
        sub if category in fine else None
        for sub, category in zip(rooms, labelled_ads["category"].to_pylist(), strict=True)
    ]
    table = labelled_ads.append_column("kind", pa.array(subs, pa.string()))
    source = write_parquet(tmp_path / "labelled.parquet", table)
    bundle = subheads(
        SubheadsSettings(
            bundle_uri=trained_bundle,
            input_uri=source,
            output_uri=str(tmp_path / "bundles"),
            version="fine",
            columns={"subcategory": "kind"},
            min_rows_per_class=5,
        )
    )
    assert set(bundle.subheads.heads) <= fine
    assert len(bundle.subheads.heads) >= 2
    manifest = score(
        ScoreSettings(
            input_uri=source,
            bundle_uri=bundle.uri,
            output_uri=str(tmp_path / "scored"),
            gate=GateSettings(max_ood_rate=1, max_other_rate=1),
            shard_rows=500,
        )
    )
    assert manifest.outcome == "published"
    parts = read_parts(manifest.run_uri).to_pylist()
    assert len(parts) == labelled_ads.num_rows
    with_head = set(bundle.subheads.heads)
    assert all(
        (row["sub_label"] is not None) == (row["label"] in with_head) for row in parts
    )
    rows = range(0, len(parts), 41)
    texts = [
        f"{labelled_ads['title'][n].as_py() or ''} {labelled_ads['description'][n].as_py() or ''}"
        for n in rows
    ]
    for n, alone in zip(rows, predict_texts(load_bundle(bundle.uri), texts), strict=True):
        assert parts[n]["sub_label"] == alone["sub_label"]
        assert parts[n]["sub_confidence"] == pytest.approx(
            alone["sub_confidence"], abs=1e-4
        )
