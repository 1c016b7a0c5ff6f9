"""A model in a notebook: the rows of the nightly job, for ads of every kind of table."""

import copy
import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from rubert_ood.ads.text import ad_text
from rubert_ood.bundle import network
from rubert_ood.classifier import tokenizer
from rubert_ood.errors import BundleError, InputError, SchemaError, SettingsError
from rubert_ood.ood.outputs import Outputs
from rubert_ood.predictor import ADS_AT_ONCE, Model, load
from rubert_ood.settings import ColumnSettings
from tests.unit.messy_runs import Run, score_plan

SCORES = ("confidence", "ood_distance", "ood_z")


@pytest.fixture(scope="module")
def model(bundle) -> Model:
    return load(bundle.uri)


@pytest.fixture(scope="module")
def table(ads) -> pa.Table:
    """120 ads, some of them twice, some with nothing to read."""
    titles = ads["title"].to_pylist()[:120]
    descriptions = ads["description"].to_pylist()[:120]
    titles[3], descriptions[3] = titles[2], descriptions[2]
    for row, description in ((5, ""), (6, None), (7, "Продам"), (8, "\u200b")):
        titles[row], descriptions[row] = None, description
    titles[9] = None
    columns = {"title": titles, "description": descriptions}
    return pa.table({"ad_id": [f"ad-{n}" for n in range(120)], **columns})


@pytest.fixture(scope="module")
def night(bundle, table, tmp_path_factory) -> pa.Table:
    """What the nightly job writes for these ads, but for the id of the run: one shard, so that its
    batches are the model's."""
    from rubert_ood.scoring.planning import make_plan
    from rubert_ood.settings import ScoreSettings

    folder = tmp_path_factory.mktemp("night")
    (folder / "in").mkdir()
    pq.write_table(table, folder / "in" / "ads.parquet")
    places = {"input_uri": str(folder / "in"), "output_uri": str(folder / "out")}
    plan = make_plan(
        ScoreSettings(bundle_uri=bundle.uri, embedding=True, **places), bundle
    )
    run = Run(plan, score_plan(plan))
    part = pq.read_table(run.part(0)).replace_schema_metadata()
    return part.drop_columns("scored_in")


def test_predict_of_a_table_is_what_the_nightly_job_writes(model, table, night):
    rows = model.predict(table, embedding=True)
    assert rows.schema.names == night.schema.names
    for name in night.schema.names:
        assert rows[name].equals(night[name]), name


def test_predict_of_a_frame_is_what_the_nightly_job_writes(model, table, night):
    frame = table.to_pandas().set_axis(np.arange(120) * 10)
    rows = model.predict(frame, embedding=True)
    pd.testing.assert_frame_equal(rows, night.to_pandas().set_axis(frame.index))


def test_predict_in_other_batches_is_the_nightly_job_to_rounding(
    model, table, night, monkeypatch
):
    monkeypatch.setitem(ADS_AT_ONCE, False, 7)
    rows = model.predict(table)
    for name in (
        "ad_id",
        "label",
        "topk_labels",
        "is_ood",
        "status",
        "num_tokens",
        "text_key",
    ):
        assert rows[name].to_pylist() == night[name].to_pylist(), name
    for name in SCORES:
        np.testing.assert_allclose(
            rows[name].to_numpy(), night[name].to_numpy(), rtol=1e-4
        )


def test_predict_is_the_decision_rule_on_each_ad_alone(model, table, bundle, by_the_rule):
    pairs = zip(table["title"].to_pylist(), table["description"].to_pylist(), strict=True)
    cleaned = [bundle.cleaner.clean(ad_text(*pair)) for pair in pairs]
    filled = [row for row, text in enumerate(cleaned) if row not in (5, 6, 7, 8)]
    expected = by_the_rule([cleaned[row] for row in filled])
    rows = model.predict(table).take(filled).to_pylist()
    cls_NH = model.embed(table)
    clear = 0
    for row, got, want in zip(filled, rows, expected, strict=True):
        assert got["confidence"] == pytest.approx(want["confidence"], abs=1e-5)
        assert got["ood_distance"] == pytest.approx(want["ood_distance"], rel=1e-4)
        assert got["ood_z"] == pytest.approx(want["ood_z"], abs=1e-3)
        np.testing.assert_allclose(got["topk_scores"], want["topk_scores"], atol=1e-5)
        np.testing.assert_allclose(cls_NH[row], want["embedding"], atol=1e-4, rtol=1e-4)
        if not want["close_call"]:
            clear += 1
            for name in ("label", "is_ood", "topk_labels", "ood_p"):
                assert got[name] == want[name], (row, name)
    assert clear > 0.9 * len(filled)


def test_predict_with_a_stack_is_the_rule_on_logits_that_were_mixed_by_hand(
    stacked, ad_texts, one_by_one, word_labels
):
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    svm = LinearSVC(random_state=0)
    heads = [text[:4_096] for text in ad_texts[:300]]
    svm.fit(tfidf.fit_transform(heads), word_labels[:300])
    texts = [text for text in ad_texts[300:400] if text and len(text) < 4_096]
    logits_NC, cls_NH, _ = one_by_one(stacked.folder, texts, stacked.text.max_length)
    margins_NC = svm.decision_function(tfidf.transform(texts))
    expected = stacked.fitted.decide(
        Outputs.unlabelled(logits_NC + 1.25 * margins_NC, cls_NH, cls_NH)
    )
    rows = Model(stacked).predict(texts)
    assert rows["label"].tolist() == expected.label_N.tolist()
    assert rows["is_ood"].tolist() == expected.is_ood_N.tolist()
    scores = np.stack(rows["topk_scores"])
    np.testing.assert_allclose(scores, expected.topk_scores_Nk, atol=1e-3)
    alone = stacked.fitted.decide(Outputs.unlabelled(logits_NC, cls_NH, cls_NH))
    assert (alone.label_N != expected.label_N).mean() > 0.1


def test_predict_of_an_ad_with_nothing_to_read_is_other_without_scores(model, table):
    rows = model.predict(table).to_pylist()
    assert [row["status"] for row in rows].count("empty") == 4
    for row in (5, 6, 7, 8):
        got = rows[row]
        assert (got["status"], got["label"], got["is_ood"], got["num_tokens"]) == (
            "empty",
            "Other",
            False,
            0,
        )
        assert {got[name] for name in (*SCORES, "ood_p", "topk_labels")} == {None}
    assert rows[2]["text_key"] == rows[3]["text_key"] != rows[4]["text_key"]


def test_predict_of_texts_is_that_of_ads_with_such_a_description(model, table):
    texts = table["description"].to_pylist()
    expected = model.predict(pa.table({"description": texts})).to_pandas()
    pd.testing.assert_frame_equal(model.predict(texts), expected)
    series = pd.Series(texts, index=[f"row {n}" for n in range(120)])
    pd.testing.assert_frame_equal(model.predict(series), expected.set_axis(series.index))
    pd.testing.assert_frame_equal(model.predict(texts[0]), expected[:1], rtol=1e-4)
    assert "ad_id" not in expected


def test_predict_keeps_ids_of_any_type_and_a_frame_its_index(model):
    index = pd.MultiIndex.from_tuples([("a", 1), ("a", 1)])
    frame = pd.DataFrame({"ad_id": [7, 7], "description": ["Диван", "шины"]}, index=index)
    rows = model.predict(frame)
    assert rows.index.equals(index)
    assert rows.columns[0] == "ad_id"
    assert rows["ad_id"].dtype == frame["ad_id"].dtype
    table = model.predict(
        pa.table({"ad_id": pa.array([7], pa.int16()), "description": ["Диван"]})
    )
    assert table.schema.field("ad_id").type == pa.int16()


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA], ids=repr)
def test_predict_takes_null_for_no_text(model, nothing):
    frame = pd.DataFrame({"title": [nothing, "Диван"], "description": [nothing, nothing]})
    rows = model.predict(frame.astype(object))
    assert rows["status"].tolist() == ["empty", "ok"]
    columns = {"title": [nothing] * 2, "description": ["Диван", "Диван"]}
    assert model.predict(pd.DataFrame(columns))["status"].tolist() == ["ok", "ok"]


def test_predict_reads_columns_of_other_names(model):
    columns = ColumnSettings(ad_id="id", title="head", description="body")
    frame = pd.DataFrame({"id": ["x"], "head": ["Диван"], "body": ["угловой"]})
    expected = model.predict(
        pd.DataFrame({"title": ["Диван"], "description": ["угловой"]})
    )
    rows = model.predict(frame, columns=columns)
    assert rows.pop("ad_id").tolist() == ["x"]
    pd.testing.assert_frame_equal(rows, expected)
    np.testing.assert_array_equal(
        model.embed(frame, columns=columns), model.embed(["Диван угловой"])
    )


def test_predict_of_no_ads_has_all_columns(model, table):
    expected = model.predict(table)
    assert model.predict(table.slice(0, 0)).schema == expected.schema
    assert model.predict([]).columns.tolist() == expected.schema.names[1:]
    assert model.embed([]).shape == (0, 32)


def test_predict_and_embed_of_a_wrong_table_are_one_line_that_names_the_column(model):
    for method in (model.predict, model.embed):
        with pytest.raises(SchemaError) as caught:
            method(pd.DataFrame({"title": ["x"]}))
        assert str(caught.value) == (
            "ads: the table has no column 'description' (setting"
            " columns.description). Use one that it has: title"
        )


def test_predict_and_embed_of_other_columns_than_settings_say_what_to_give(model):
    for method in (model.predict, model.embed):
        with pytest.raises(SettingsError) as caught:
            method(["x"], columns={"description": "text"})
        assert str(caught.value) == (
            "columns: {'description': 'text'} does not fit. Use a ColumnSettings"
        )


@pytest.mark.parametrize("uri", [None, 5, [], b"x"])
def test_load_of_what_is_not_a_uri_is_one_line(uri):
    with pytest.raises(SettingsError, match=r"^a URI must be text, and this is of type"):
        load(uri)


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("", "a URI is empty. Use a local path or s3://BUCKET/KEY"),
        ("s3://", "s3://: the bucket is missing. Use s3://BUCKET/KEY"),
        ("a\nb", r"a\nb: a URI must not hold control characters"),
    ],
)
def test_load_from_where_nothing_can_lie_is_one_line(uri, line):
    with pytest.raises(InputError) as caught:
        load(uri)
    assert str(caught.value) == line


def test_load_takes_a_path_object_and_only_a_bool_for_use_gpu(bundle):
    assert load(Path(bundle.uri)).bundle.fingerprint == bundle.fingerprint
    with pytest.raises(
        SettingsError, match=r"^use_gpu: 'yes' does not fit. Use True or False$"
    ):
        load(bundle.uri, use_gpu="yes")


def test_model_that_was_pickled_or_copied_gives_the_same_rows(bundle, table):
    model = Model(bundle, token_budget=500).with_network()
    expected = model.predict(table)
    for again in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        copy.copy(model),
    ):
        assert again.token_budget == 500
        assert again.bundle.fingerprint == bundle.fingerprint
        assert again.predict(table).equals(expected)


def test_model_whose_bundle_was_replaced_after_it_was_pickled_is_refused(bundle):
    other = dataclasses.replace(bundle, fingerprint="0" * 64)
    data = pickle.dumps(Model(other))
    with pytest.raises(BundleError, match="the bundle changed"):
        pickle.loads(data)


def test_predict_of_an_id_column_that_was_named_asks_for_it(model):
    with pytest.raises(
        SchemaError,
        match=(
            r"^ads: the table has no column 'id' \(setting columns\.ad_id\)\. Use one"
        ),
    ):
        model.predict(
            pd.DataFrame({"description": ["x"]}), columns=ColumnSettings(ad_id="id")
        )


def test_embed_is_the_embedding_of_predict_and_nan_where_there_is_nothing_to_read(
    model, table
):
    cls_NH = model.embed(table)
    assert (cls_NH.dtype, cls_NH.shape) == (np.float32, (120, 32))
    expected = model.predict(table, embedding=True)["embedding"].to_pylist()
    assert np.flatnonzero(np.isnan(cls_NH).all(axis=1)).tolist() == [5, 6, 7, 8]
    for row, values in zip(cls_NH, expected, strict=True):
        if values is not None:
            np.testing.assert_array_equal(
                row.astype(np.float16), np.array(values, np.float16)
            )


def test_load_reads_no_network_until_it_is_needed_and_then_once(bundle, monkeypatch):
    from rubert_ood.classifier.classifier import Classifier

    calls = []
    real = Classifier.load

    def counted(folder, tokenizer, **options):
        calls.append(folder)
        return real(folder, tokenizer, **options)

    monkeypatch.setattr(Classifier, "load", counted)
    model = load(bundle.uri)
    assert (model.labels, model.hidden_size, calls) == (bundle.fitted.labels, 32, [])
    model.predict("Диван")
    model.embed(["шины"])
    assert calls == [bundle.folder]


def test_load_reads_tokenizer_json_once(bundle, monkeypatch):
    """It takes 0.1 s for a vocabulary of 120,000."""
    calls = []
    real = tokenizer.read_backend

    def counted(folder):
        calls.append(folder)
        return real(folder)

    for module in (tokenizer, network):
        monkeypatch.setattr(module, "read_backend", counted)
    model = load(bundle.uri)
    model.predict("Диван")
    assert model.classifier.tokenizer is model.tokenizer
    assert calls == [bundle.folder]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_load_from_several_threads_at_once_gives_models_that_agree(
    bundle, table, num_threads
):
    """transformers breaks down where two threads load at once; the threads of torch are shared."""
    from concurrent.futures import ThreadPoolExecutor

    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        alone = load(bundle.uri).predict(table)
        with ThreadPoolExecutor(4) as pool:
            rows = list(pool.map(lambda _: load(bundle.uri).predict(table), range(4)))
    finally:
        torch.set_num_threads(before)
    assert all(other.equals(alone) for other in rows)


def test_load_of_a_damaged_bundle_names_the_file(bundle, tmp_path):
    import shutil

    copy = shutil.copytree(bundle.folder, tmp_path / "copy")
    (copy / "temperature.json").write_text("{}")
    with pytest.raises(BundleError, match=r"temperature\.json"):
        load(str(copy))
