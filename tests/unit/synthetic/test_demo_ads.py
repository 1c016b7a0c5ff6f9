"""The tables of the demo, as its settings name them."""

import pyarrow.parquet as pq

from rubert_ood.synthetic import demo_ads
from rubert_ood.synthetic.catalogue import hard_cases
from rubert_ood.synthetic.demo_ads import DemoAds


def test_tables_have_the_columns_and_rows_that_the_demo_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_ads, "OOD_TEXTS_PER_KIND", 3)
    ads = DemoAds(str(tmp_path / "ads"))
    ads.write(num_train=100, num_score=60, seed=1)
    train = pq.read_table(ads.train)
    assert train.num_rows == 100
    assert len(set(train["category"].to_pylist())) == 50  # balanced
    catalogue = pq.read_table(ads.catalogue)
    assert catalogue.num_rows == 60
    assert set(catalogue["description"].to_pylist()) != set(
        train["description"].to_pylist()
    )
    cases = pq.read_table(ads.hard_cases).to_pylist()
    assert cases == [{"text": case.text, "label": case.label} for case in hard_cases()]
    ood = pq.read_table(ads.out_of_domain)
    kinds = ood["kind"].to_pylist()
    assert ood.num_rows == 3 * len(set(kinds)) > 3
