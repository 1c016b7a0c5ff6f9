"""The two halves of scoring, apart and in one; what they hold is looked at in test_predictor."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.classifier import windows
from rubert_ood.predictor import Model, load
from rubert_ood.score_table import score_table


@pytest.fixture(scope="module")
def model(bundle) -> Model:
    return load(bundle.uri)


@pytest.fixture(scope="module")
def texts(model, ad_texts) -> pa.Table:
    reader = model.reader()
    for text in ad_texts[:60]:
        reader.add(text)
    return reader.finish()[0]


def test_finish_of_forward_in_another_thread_is_score(model, texts):
    passed = model.forward(texts)
    with ThreadPoolExecutor(1) as other:
        finished = other.submit(model.finish, passed, embedding=True)
        again = model.forward(texts)  # the next texts, meanwhile
    assert finished.result().equals(model.score(texts, embedding=True))
    np.testing.assert_array_equal(again.outputs.cls_TH, passed.outputs.cls_TH)


def test_forward_holds_what_the_network_says(model, texts):
    passed = model.forward(texts)
    expected = model.outputs(texts).arrays()
    for name, array in passed.outputs.outputs.arrays().items():
        np.testing.assert_array_equal(array, expected[name])


def test_score_table_has_the_columns_of_the_texts_but_no_token_ids(model, texts):
    table = score_table(model.forward(texts), model.bundle, embedding=False)
    assert windows.IDS not in table.schema.names
    assert "embedding" not in table.schema.names
    assert table["text_key"].equals(texts["text_key"])
    assert table.num_rows == texts.num_rows
    distances = table["ood_distance"].to_numpy()
    statistics = model.bundle.fitted.statistics
    centred_TCH = model.outputs(texts).cls_NH[:, None].astype(float) - statistics.means_CH
    d2_TC = np.einsum("tch,hk,tck->tc", centred_TCH, statistics.precision_HH, centred_TCH)
    np.testing.assert_allclose(distances, d2_TC.min(axis=1), rtol=1e-9)
