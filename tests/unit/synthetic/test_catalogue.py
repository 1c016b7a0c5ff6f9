import re
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from rubert_ood.synthetic import catalogue
from rubert_ood.synthetic.catalogue import (
    CATALOGUE_SCHEMA,
    categories,
    generate_ads,
    hard_cases,
    write_catalogue,
)

DATA_DIR = Path(catalogue.__file__).parent / "data"
PHONE = re.compile(r"\+?[78](?:[\s().\-]*[\dо]){10}")


def table(num_ads: int, **arguments: object) -> pa.Table:
    return pa.Table.from_batches(
        generate_ads(num_ads, **arguments), schema=CATALOGUE_SCHEMA
    )


def test_generate_ads_with_the_same_arguments_gives_the_same_ads_and_another_seed_others() -> (
    None
):
    ads, again, other = (
        table(800, seed=3),
        table(800, seed=3, batch_rows=77),
        table(800, seed=4),
    )
    assert ads.equals(again)
    assert sum(a == b for a, b in zip(ads["title"], other["title"], strict=True)) < 40


def test_generate_ads_has_the_schema_and_plausible_values(training_set: pa.Table) -> None:
    assert training_set.schema == CATALOGUE_SCHEMA
    nulls = {name: training_set[name].null_count for name in training_set.column_names}
    assert nulls.pop("price") / 10_000 == pytest.approx(0.05, abs=0.02)
    assert set(nulls.values()) == {0}
    assert min(filter(None, training_set["price"].to_pylist())) > 0
    known_cities = {
        city["name"]
        for city in yaml.safe_load((DATA_DIR / "cities.yaml").read_text(encoding="utf-8"))
    }
    assert set(training_set["city"].to_pylist()) == known_cities
    dates = training_set["published_at"].to_pylist()
    assert (
        datetime(2026, 6, 1, tzinfo=UTC)
        <= min(dates)
        <= max(dates)
        < datetime(2026, 9, 29, tzinfo=UTC)
    )


def test_generate_ads_balanced_has_200_ads_a_category(training_set: pa.Table) -> None:
    assert categories() == sorted(set(categories()))
    assert Counter(training_set["category"].to_pylist()) == dict.fromkeys(
        categories(), 200
    )
    first_hundred = training_set["category"].to_pylist()[:100]
    assert len(set(first_hundred)) > 30  # in random order, not category by category


def test_generate_ads_balanced_holds_for_any_total() -> None:
    counts = Counter(table(1_234, seed=1, balanced=True)["category"].to_pylist())
    assert sum(counts.values()) == 1_234
    assert set(counts.values()) <= {24, 25}


def test_generate_ads_natural_mix_follows_the_weights() -> None:
    counts = Counter(table(8_000, seed=5)["category"].to_pylist())
    entries = yaml.safe_load((DATA_DIR / "taxonomy.yaml").read_text(encoding="utf-8"))[
        "categories"
    ]
    total = sum(entry["weight"] for entry in entries.values())
    for name, entry in entries.items():
        expected = 8_000 * entry["weight"] / total
        assert abs(counts[name] - expected) < 5 * expected**0.5, name
    assert max(counts.values()) > 5 * min(counts.values())


def test_generate_ads_gives_unique_ids(training_set: pa.Table) -> None:
    assert len(set(training_set["ad_id"].to_pylist())) == 10_000


def test_generate_ads_about_15_percent_repeat_an_earlier_ad(
    training_set: pa.Table, texts: list[str]
) -> None:
    entries = yaml.safe_load((DATA_DIR / "cities.yaml").read_text(encoding="utf-8"))
    names = sorted(
        {entry[form] for entry in entries for form in ("name", "in")},
        key=len,
        reverse=True,
    )
    city = re.compile("|".join(map(re.escape, names)))
    keys = [city.sub("", PHONE.sub("", text)).lower() for text in texts]
    keys = [
        f"{category} {key}"
        for category, key in zip(training_set["category"].to_pylist(), keys, strict=True)
    ]
    assert 1 - len(set(keys)) / len(keys) == pytest.approx(0.15, abs=0.02)
    assert (
        1 - len(set(texts)) / len(texts) < 0.12
    )  # many re-posts differ in phone or city


def test_generate_ads_without_duplicates_hardly_repeats() -> None:
    ads = table(3000, seed=2, duplicate_fraction=0.0)
    assert (
        len(
            set(
                zip(ads["title"].to_pylist(), ads["description"].to_pylist(), strict=True)
            )
        )
        > 0.97 * 3000
    )


def test_generate_ads_is_lazy() -> None:
    first, second = islice(generate_ads(10**9, seed=1, batch_rows=100), 2)
    assert (first.num_rows, second.num_rows) == (100, 100)


def test_generate_ads_of_none_is_empty() -> None:
    assert list(generate_ads(0, seed=1)) == []


def test_write_catalogue_splits_files_and_row_groups(tmp_path: Path) -> None:
    uris = write_catalogue(
        str(tmp_path / "ads"), 2500, seed=9, rows_per_file=1000, row_group_rows=300
    )
    assert [Path(uri).name for uri in uris] == [
        "part-00000.parquet",
        "part-00001.parquet",
        "part-00002.parquet",
    ]
    assert sorted(path.name for path in (tmp_path / "ads").iterdir()) == [
        Path(uri).name for uri in uris
    ]
    groups = []
    for uri in uris:
        metadata = pq.read_metadata(uri)
        groups.append(
            [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
        )
        assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert groups == [[300, 300, 300, 100], [300, 300, 300, 100], [300, 200]]
    written = pa.concat_tables([pq.read_table(uri) for uri in uris]).cast(
        CATALOGUE_SCHEMA
    )  # Parquet has no seconds
    assert written.equals(table(2500, seed=9))


def test_hard_cases_have_known_labels_and_are_not_generated(texts: list[str]) -> None:
    cases = hard_cases()
    assert len(cases) >= 55
    assert {case.label for case in cases} == set(categories())
    assert len({case.text for case in cases}) == len(cases)
    assert not {case.text for case in cases} & {text.strip() for text in texts}
    labels = {case.text: case.label for case in cases}
    assert labels["Продам валик для покраски стен в доме"] == "Ремонт и стройматериалы"
    assert (
        labels["Шлифовка стен, укладка плитки и стяжка пола — работаем по договору"]
        == "Услуги ремонта"
    )
    assert labels["Планшет Apple iPad Pro 2021, 11 дюймов"] == "Планшеты"
    assert labels["Дом с земельным участком 15 соток в Твери"] == "Дома и дачи — продажа"
    assert labels["Отдам даром диван б/у, самовывоз"] == "Мебель"
