from collections.abc import Iterable
from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from rubert_ood.runs.cities import (
    MAX_NAMES,
    NAME_CHARACTERS,
    CityCounter,
    add_cities,
)

from rubert_ood.ads.text import TextCleaner
from tests.unit.messy_runs import BAD

CLEANER = TextCleaner(cities=["Москва", " Нижний Новгород "])
names = st.sampled_from(
    [None, "", " ", "Москва", "МОСКВА ", "нижний новгород", "Тверь", "тверь", "Омск", "Уфа"]
)


def count_cities(values: Iterable[str | bytes | None]) -> dict[str, Any]:
    counter = CityCounter(CLEANER)
    for value in values:
        counter.add(value)
    return counter.counts()


@given(st.lists(names, max_size=60))
def test_counts_are_those_of_pandas(values):
    series = pd.Series(values, dtype=object).dropna().str.strip().str.lower()
    cities = series[series != ""]
    unseen = cities[~cities.isin(["москва", "нижний новгород"])]
    assert count_cities(values) == {
        "rows": len(cities),
        "rows_unseen": len(unseen),
        "unseen": unseen.value_counts().to_dict(),
    }


def test_a_name_that_is_not_utf8_is_no_city():
    assert count_cities(["Тверь", BAD, None, "Тверь"]) == {
        "rows": 2,
        "rows_unseen": 2,
        "unseen": {"тверь": 2},
    }


def test_names_are_few_and_short_and_the_most_frequent():
    values = [f"город {n:02d} {'о' * 500}" for n in range(50) for _ in range(n)]
    found = count_cities(values)
    assert (found["rows"], found["rows_unseen"]) == (1225, 1225)
    assert list(found["unseen"].values()) == list(range(49, 49 - MAX_NAMES, -1))
    assert {len(name) for name in found["unseen"]} == {NAME_CHARACTERS}


def test_counts_of_shards_add_up():
    parts = [["Тверь", "Омск", "Москва"], [], ["тверь", "Уфа"], None]
    found = [None if part is None else count_cities(part) for part in parts]
    total = add_cities(found)
    assert total == {"rows": 5, "rows_unseen": 4, "unseen": {"тверь": 2, "омск": 1, "уфа": 1}}
    assert list(total["unseen"]) == ["тверь", "омск", "уфа"]
    assert add_cities([None, None]) is None
    assert add_cities([]) is None


def test_the_names_of_a_run_are_bounded():
    total = add_cities(
        count_cities(f"город {shard} {n}" for n in range(MAX_NAMES)) for shard in range(3)
    )
    assert (total["rows_unseen"], len(total["unseen"])) == (3 * MAX_NAMES, MAX_NAMES)
