from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.text import TextCleaner
from rubert_ood.annotating.texts import AdText, read_texts
from rubert_ood.classifier.fold import TextFolder
from rubert_ood.runs.plan import Shard

LONG = "Слово " * 30_000
CLEANER = TextCleaner(cities=["Москва"])


@pytest.fixture
def plan(tmp_path) -> SimpleNamespace:
    """Three ads in one file, of which two have one id."""
    uri = str(tmp_path / "a.parquet")
    descriptions = [LONG, "Диван, Москва", "Стол"]
    ids = ["long", "twice", "twice"]
    pq.write_table(pa.table({"id": ids, "text": descriptions}), uri)
    columns = {"ad_id": "id", "description": "text"}
    shard = Shard("0", uri, columns, 0, 3)
    return SimpleNamespace(shards=[shard], num_rows=3)


def _keys(bundle, ads: list[str]) -> list[str]:
    """Return the keys that a run gives to such ads."""
    from rubert_ood.classifier.tokenizer import load_tokenizer

    folder = TextFolder(CLEANER, load_tokenizer(bundle.folder), bundle.text)
    for ad in ads:
        folder.add(ad)
    texts, _ = folder.finish()
    return texts["text_key"].to_pylist()


def test_texts_are_found_by_the_keys_of_a_run_those_of_long_ads_too(plan, bundle):
    long, sofa = _keys(bundle, [f" {LONG}", " Диван, Москва"])
    wanted = dict.fromkeys([("long", long), ("twice", sofa), ("gone", sofa)])
    found = read_texts(plan, wanted, CLEANER)
    assert found == {
        ("long", long): AdText("", LONG, ""),
        ("twice", sofa): AdText("", "Диван, Москва", ""),
    }
