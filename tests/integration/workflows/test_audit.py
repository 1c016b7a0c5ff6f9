"""Planted wrong labels are found, by words and by the features of a bundle."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.errors import SchemaError
from rubert_ood.settings import AuditLabelsSettings
from rubert_ood.workflows.audit_labels import audit_labels
from tests.conftest import write_parquet

PHONE = "+7 912 345-67-89"


@pytest.fixture(scope="module")
def planted(labelled_ads, tmp_path_factory) -> tuple[str, set[str]]:
    """2,000 ads, of which 3 % have a label of another class; their ids."""
    rng = np.random.default_rng(0)
    labels = labelled_ads["category"].to_pylist()
    ids = labelled_ads["ad_id"].to_pylist()
    classes = sorted(set(labels))
    chosen = rng.choice(len(labels), 60, replace=False)
    for row in chosen:
        labels[row] = rng.choice([name for name in classes if name != labels[row]])
    texts = [f"{text} {PHONE}" for text in labelled_ads["description"].to_pylist()]
    for name, values in (("category", labels), ("description", texts)):
        place = labelled_ads.schema.names.index(name)
        labelled_ads = labelled_ads.set_column(place, name, pa.array(values))
    folder = tmp_path_factory.mktemp("audit")
    write_parquet(folder / "ads.parquet", labelled_ads)
    return str(folder / "ads.parquet"), {ids[row] for row in chosen}


def _audit(uri: str, folder: Path, **changes):
    values = {"input_uri": uri, "output_uri": str(folder), "executor": "local"} | changes
    return audit_labels(AuditLabelsSettings(**values))


@pytest.mark.parametrize("judge", ["words", "bundle"])
def test_audit_of_planted_labels_finds_four_of_five(
    judge, planted, trained_bundle, tmp_path
):
    uri, wrong = planted
    bundle = {"bundle_uri": trained_bundle} if judge == "bundle" else {}
    found = _audit(uri, tmp_path, **bundle)
    suspects = found.suspects.to_pylist()
    hits = sum(row["ad_id"] in wrong for row in suspects)
    assert hits >= 0.8 * len(wrong)
    assert hits >= 0.7 * len(suspects)
    table = pq.read_table(uri)
    for row in suspects:
        assert row["ad_id"] == table["ad_id"][row["row"] - 1].as_py()
        assert row["label"] == table["category"][row["row"] - 1].as_py()
    assert sum(pair.count for pair in found.pairs) == len(suspects)
    page = (tmp_path / "audit.html").read_text("utf-8")
    assert f"{len(suspects)} of 1,999 labels are in doubt" in page
    assert pq.read_table(tmp_path / "suspects.parquet").num_rows == len(suspects)
    for name in ("audit.html", "suspects.csv"):
        assert "345-67-89" not in (tmp_path / name).read_text("utf-8")


def test_audit_names_a_text_that_stands_under_two_labels(labelled_ads, tmp_path):
    ads = labelled_ads.slice(0, 300).select(["title", "description", "category"])
    first = ads.slice(0, 1)
    own = first["category"][0].as_py()
    other = next(name for name in ads["category"].to_pylist() if name != own)
    again = first.set_column(2, "category", pa.array([other]))
    write_parquet(tmp_path / "ads.parquet", pa.concat_tables([ads, again]))
    found = _audit(str(tmp_path / "ads.parquet"), tmp_path / "out")
    pairs = [set(conflict.labels) for conflict in found.conflicts]
    assert {other, own} in pairs


def test_audit_of_one_class_is_refused(labelled_ads, tmp_path):
    ads = labelled_ads.slice(0, 20)
    one = ads.set_column(
        ads.schema.names.index("category"), "category", pa.array(["Одежда"] * 20)
    )
    write_parquet(tmp_path / "ads.parquet", one)
    with pytest.raises(SchemaError, match="two classes"):
        _audit(str(tmp_path / "ads.parquet"), tmp_path / "out")
