"""From ads with sub-categories to a new bundle, predictions and parts; without Ray."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rubert_ood.ads.text import ad_text
from rubert_ood.bundle import derive_bundle, load_bundle
from rubert_ood.errors import BundleError, SchemaError, SettingsError
from rubert_ood.runs.verify import verify_run
from rubert_ood.scoring.planning import make_plan
from rubert_ood.settings import PredictSettings, ScoreSettings, SubheadsSettings
from rubert_ood.workflows import subheads as workflow
from rubert_ood.workflows.predict import predict, predict_texts
from tests.small_model import LABELS, MAX_LENGTH
from tests.unit.messy_runs import score_plan, seal_plan

SUBS = {"Мебель": ["Диваны", "Столы", "Шкафы"], "Одежда": ["Обувь", "Платья"]}


@pytest.fixture(scope="module")
def table(ads) -> pa.Table:
    """500 ads; two of the five categories have sub-categories, and some ads of those have none."""
    categories = [LABELS[n % 5] for n in range(ads.num_rows)]
    subs = [
        (SUBS[category][n // 5 % len(SUBS[category])] if n % 9 else [None, " "][n % 2])
        if category in SUBS
        else None
        for n, category in enumerate(categories)
    ]
    ads = ads.set_column(
        ads.schema.names.index("category"), "category", pa.array(categories)
    )
    return ads.append_column("subcategory", pa.array(subs, pa.string()))


def _settings(bundle, table: pa.Table, folder: Path, **changes) -> SubheadsSettings:
    pq.write_table(table, folder / "ads.parquet")
    values = {
        "bundle_uri": bundle.uri,
        "input_uri": str(folder / "ads.parquet"),
        "output_uri": str(folder),
        "executor": "local",
    }
    return SubheadsSettings(**values | {"version": "v2", **changes})


@pytest.fixture(scope="module")
def derived(bundle, table, tmp_path_factory):
    return workflow.subheads(
        _settings(bundle, table, tmp_path_factory.mktemp("subheads"))
    )


def test_the_new_version_has_every_file_of_the_old_one_which_stays(bundle, derived):
    assert (derived.version, derived.uri == bundle.uri) == ("v2", False)
    assert sorted(derived.subheads.heads) == sorted(SUBS)
    old, new = Path(bundle.folder), Path(derived.folder)
    added = {"subheads.json", "subheads.safetensors"}
    assert set(os.listdir(new)) == set(os.listdir(old)) | added
    for name in set(os.listdir(old)) - {"manifest.json"}:
        assert (new / name).read_bytes() == (old / name).read_bytes()
    assert (
        load_bundle(bundle.uri).fingerprint == bundle.fingerprint != derived.fingerprint
    )
    assert load_bundle(bundle.uri).subheads is None
    assert bundle.fingerprint in (new / "manifest.json").read_text()


def test_a_derived_bundle_takes_another_fit(derived, fitted, tmp_path):
    """And keeps its sub-heads: what `tune` needs."""
    loose = dataclasses.replace(
        fitted, decision=fitted.decision.model_copy(update={"tau_other": 0.11})
    )
    tuned = derive_bundle(
        derived, str(tmp_path / "v3"), fitted=loose, documents={"README.md": "tuned"}
    )
    assert tuned.fitted.decision.tau_other == 0.11
    assert tuned.fitted.temperature == fitted.temperature
    assert sorted(tuned.subheads.heads) == sorted(SUBS)
    assert (tmp_path / "v3" / "README.md").read_text() == "tuned"
    with pytest.raises(
        BundleError, match=r"this bundle exists already. Choose another version"
    ):
        derive_bundle(derived, str(tmp_path / "v3"))


@pytest.fixture(scope="module")
def expected(bundle, table, one_by_one):
    """Per category: names, and probabilities of every ad by sklearn on features of plain
    transformers."""
    pairs = zip(table["title"].to_pylist(), table["description"].to_pylist(), strict=True)
    texts = [bundle.cleaner.clean(ad_text(*pair)) for pair in pairs]
    _, cls_NH, _ = one_by_one(bundle.folder, texts, MAX_LENGTH)
    categories, subs = (table[name].to_pylist() for name in ("category", "subcategory"))
    found = {}
    for category in SUBS:
        rows = [
            n
            for n in range(len(texts))
            if categories[n] == category and (subs[n] or "").strip() and texts[n]
        ]
        names = [subs[n] for n in rows]
        train, _ = train_test_split(
            rows, test_size=round(0.2 * len(rows)), stratify=names, random_state=42
        )
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(cls_NH[train].astype(np.float64), [subs[n] for n in train])
        found[category] = model.classes_, model.predict_proba(cls_NH.astype(np.float64))
    return found


@pytest.fixture(scope="module")
def parts(bundle, derived, table, tmp_path_factory) -> list[pa.Table]:
    """The same catalogue scored with the bundle, and with the one that has sub-heads."""
    tables = []
    for which in (bundle, derived):
        folder = tmp_path_factory.mktemp("scored")
        descriptions = ["", *table["description"].to_pylist()[1:]]
        titles = [None, *table["title"].to_pylist()[1:]]
        (folder / "in").mkdir()
        catalogue = {
            "ad_id": [str(n) for n in range(len(titles))],
            "title": titles,
            "description": descriptions,
        }
        pq.write_table(pa.table(catalogue), folder / "in" / "ads.parquet")
        plan = make_plan(
            ScoreSettings(
                input_uri=str(folder / "in"),
                bundle_uri=which.uri,
                output_uri=str(folder / "out"),
                embedding=True,
            ),
            which,
        )
        seal_plan(plan, score_plan(plan), (0,))
        verify_run(plan)
        tables.append(pq.read_table(Path(plan.run_uri) / plan.shards[0].part_name))
    return tables


def test_scores_are_those_of_sklearn_inside_the_label_and_null_elsewhere(parts, expected):
    seen = set()
    for n, row in enumerate(parts[1].to_pylist()):
        if row["label"] not in SUBS:
            assert (row["sub_label"], row["sub_confidence"]) == (None, None)
            continue
        names, p_NS = expected[row["label"]]
        assert row["sub_confidence"] == pytest.approx(p_NS[n].max(), abs=2e-3)
        assert p_NS[n][list(names).index(row["sub_label"])] == pytest.approx(
            p_NS[n].max(), abs=4e-3
        )
        seen.add(row["sub_label"])
    assert len(seen) >= 4
    assert parts[1]["label"][0].as_py() == "Other"
    assert (
        parts[1]["label"].to_pylist().count("Other"),
        len(set(parts[1]["label"].to_pylist())),
    ) > (1, 4)


def test_without_sub_heads_the_parts_are_as_before(parts):
    plain, fine = parts
    names = plain.schema.names
    assert [name for name in fine.schema.names if name not in names] == [
        "sub_label",
        "sub_confidence",
    ]
    assert (
        fine.schema.field("sub_label").type,
        fine.schema.field("sub_confidence").type,
    ) == (
        pa.string(),
        pa.float32(),
    )
    names.remove("scored_in")  # another run
    assert fine.select(names).equals(plain.select(names))


def test_prediction_prints_the_sub_category(derived, bundle, parts, table, capsys):
    row = next(
        n for n, label in enumerate(parts[1]["label"].to_pylist()) if label in SUBS
    )
    text = ad_text(table["title"][row].as_py(), table["description"][row].as_py())
    (result,) = predict_texts(derived, [text])
    scored = parts[1].slice(row, 1).to_pylist()[0]
    assert result["sub_label"] == scored["sub_label"]
    assert result["sub_confidence"] == pytest.approx(scored["sub_confidence"], abs=1e-4)
    assert "sub_label" not in predict_texts(bundle, [text])[0]
    predict(PredictSettings(bundle_uri=derived.uri, texts=[text]))
    assert (
        f"sub-category {result['sub_label']}  {result['sub_confidence']:.3f}"
        in capsys.readouterr().out
    )


def test_a_carried_column_of_that_name_is_refused_only_where_there_are_sub_heads(
    bundle, derived, table, tmp_path
):
    catalogue = table.select(["ad_id", "title", "description"]).append_column(
        "sub_label", table["city"]
    )
    pq.write_table(catalogue, tmp_path / "ads.parquet")
    values = {
        "input_uri": str(tmp_path / "ads.parquet"),
        "output_uri": "out",
        "carry_columns": ("sub_label",),
    }
    make_plan(ScoreSettings(bundle_uri=bundle.uri, **values), bundle)
    with pytest.raises(
        SettingsError, match="'sub_label' is a column of the output already"
    ):
        make_plan(ScoreSettings(bundle_uri=derived.uri, **values), derived)


def test_subheads_of_bad_input_is_one_line(bundle, table, tmp_path):
    with pytest.raises(BundleError, match="this bundle exists"):
        workflow.subheads(
            _settings(bundle, table, tmp_path, output_uri=None, version="v1")
        )
    with pytest.raises(
        SchemaError, match=r"no column 'fine' \(setting columns.subcategory\)"
    ):
        workflow.subheads(
            _settings(bundle, table, tmp_path, columns={"subcategory": "fine"})
        )
    unknown = table.set_column(
        table.schema.names.index("category"),
        "category",
        pa.array(["Яхты", *table["category"].to_pylist()[1:]]),
    )
    with pytest.raises(
        SchemaError, match=r"row 1 .*: the training split has no label 'Яхты'"
    ):
        workflow.subheads(_settings(bundle, unknown, tmp_path))
    none = table.set_column(
        table.schema.names.index("subcategory"), "subcategory", pa.nulls(500, pa.string())
    )
    with pytest.raises(
        SchemaError, match=r"ads\.parquet: no ad has both text and a sub-category"
    ):
        workflow.subheads(_settings(bundle, none, tmp_path))
    subs = [
        "Other" if sub == "Столы" else sub for sub in table["subcategory"].to_pylist()
    ]
    reserved = table.set_column(
        table.schema.names.index("subcategory"), "subcategory", pa.array(subs)
    )
    with pytest.raises(SchemaError, match=r"ads\.parquet: column 'subcategory': .*Other"):
        workflow.subheads(_settings(bundle, reserved, tmp_path))
    assert not (tmp_path / "v2").exists()
