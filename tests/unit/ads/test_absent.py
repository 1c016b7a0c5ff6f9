"""Tables that lack a column that they may lack, by each way that reads ads."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.absent import warn_of_absent
from rubert_ood.ads.dataset import load_dataset, read_labelled
from rubert_ood.ads.given import given_ads
from rubert_ood.ads.text import TextCleaner
from rubert_ood.auditing.material import read_ads
from rubert_ood.pretraining.texts import look_at_catalogue
from rubert_ood.promotion.material import read_sample
from rubert_ood.settings import (
    CleanerSettings,
    ColumnSettings,
    PlanSettings,
    TrainSettings,
)

TITLE = (
    "reads the ads of 1 of 2 files without a title: no column 'title'. Set columns.title"
    " to the column that has it, or to null where there is none"
)
CITY = (
    "learns no city names from 2 of 2 files: no column 'city'. Set columns.city to the"
    " column that has it, or to null where there is none"
)
ADS = {
    "ad_id": [f"{row}" for row in range(40)],
    "description": [f"вещь {row}" for row in range(40)],
    "category": ["шины", "мебель"] * 20,
}


@pytest.fixture
def folder(tmp_path) -> str:
    """Two files, of which one calls its titles otherwise."""
    titles = ["диван"] * 40
    pq.write_table(pa.table(ADS | {"title": titles}), tmp_path / "a.parquet")
    pq.write_table(pa.table(ADS | {"Title": titles}), tmp_path / "b.parquet")
    return str(tmp_path)


def _warnings(caplog) -> list[str]:
    found = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    return [line.partition(" ")[2].strip() for line in found]


def test_reading_labelled_ads_says_in_how_many_files_a_title_is_absent(folder, caplog):
    read_labelled(folder, ColumnSettings())
    assert _warnings(caplog) == [TITLE]


def test_training_says_what_is_absent_title_and_city(folder, caplog):
    load_dataset(TrainSettings(input_uri=folder))
    assert _warnings(caplog) == [TITLE, CITY]


def test_training_that_keeps_cities_says_nothing_of_them(folder, caplog):
    cleaner = CleanerSettings(remove_cities=False)
    load_dataset(TrainSettings(input_uri=folder, cleaner=cleaner))
    assert _warnings(caplog) == [TITLE]


def test_pretraining_says_that_a_title_is_absent(folder, caplog):
    look_at_catalogue(folder, ColumnSettings())
    assert _warnings(caplog) == [TITLE]


def test_sample_of_a_promotion_says_that_a_title_is_absent(folder, caplog):
    read_sample(folder, ColumnSettings(), 10)
    assert _warnings(caplog) == [TITLE]


def test_audit_says_what_is_absent_cities_where_it_makes_its_own_cleaner(folder, caplog):
    read_ads(folder, ColumnSettings())
    assert _warnings(caplog) == [TITLE, CITY]
    caplog.clear()
    read_ads(folder, ColumnSettings(), TextCleaner())
    assert _warnings(caplog) == [TITLE]


def test_plan_says_that_a_title_is_absent(folder, caplog):
    from rubert_ood.ads.sources import survey_tables
    from rubert_ood.scoring.carry import CarriedTypes
    from rubert_ood.scoring.inspection import inspect_files

    settings = PlanSettings(input_uri=folder, bundle_uri="b", output_uri="o")
    carried = CarriedTypes(())
    inspect_files(survey_tables(folder), settings, carried, count_cities=False)
    assert _warnings(caplog) == [TITLE]
    assert caplog.records[-1].getMessage().startswith("plan ")


def test_null_says_that_there_is_no_title(folder, caplog):
    columns = ColumnSettings(title=None)
    read_labelled(folder, columns)
    warn_of_absent([{}], ColumnSettings(title=None, city=None), roles=("title", "city"))
    assert _warnings(caplog) == []


def test_title_in_another_case_is_named_in_a_notebook(caplog):
    ads = pd.DataFrame({"Title ": ["диван"], "description": ["б/у"]})
    assert given_ads(ads, ColumnSettings()).texts == [" б/у"]
    assert _warnings(caplog) == [
        "reads the ads without a title: the column is called 'Title ', not 'title'."
        " Rename it, or pass columns"
    ]


def test_table_without_a_title_in_a_notebook_is_nothing_to_warn_of(caplog):
    given_ads(pd.DataFrame({"description": ["б/у"], "city": ["Уфа"]}), ColumnSettings())
    assert _warnings(caplog) == []
