import re
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
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
    out_of_domain_texts,
    write_catalogue,
)
from rubert_ood.synthetic.lexicon import Phrase
from rubert_ood.synthetic.noise import (
    Style,
    misspell,
    phone_number,
    roughen,
)

DATA_DIR = Path(catalogue.__file__).parent / "data"
PHONE = re.compile(r"\+?[78](?:[\s().\-]*[\dо]){10}")
PLAIN = Style(0.0, True, False, False, False, ". ", "", False)


@pytest.fixture(scope="module")
def training_set() -> pa.Table:
    return pa.Table.from_batches(generate_ads(10_000, seed=42, balanced=True))


@pytest.fixture(scope="module")
def texts(training_set: pa.Table) -> list[str]:
    titles, bodies = training_set["title"].to_pylist(), training_set["description"].to_pylist()
    return [f"{title} {body}" for title, body in zip(titles, bodies, strict=True)]


def table(num_ads: int, **arguments: object) -> pa.Table:
    return pa.Table.from_batches(generate_ads(num_ads, **arguments), schema=CATALOGUE_SCHEMA)


def test_same_arguments_give_the_same_ads_and_another_seed_others() -> None:
    assert table(2000, seed=3).equals(table(2000, seed=3))
    assert table(2000, seed=3, batch_rows=77).equals(table(2000, seed=3))
    other = table(2000, seed=4)
    same = sum(a == b for a, b in zip(table(2000, seed=3)["title"], other["title"], strict=True))
    assert same < 100


def test_schema_and_values(training_set: pa.Table) -> None:
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


def test_balanced_set_has_200_ads_a_category(training_set: pa.Table) -> None:
    assert categories() == sorted(set(categories()))
    assert Counter(training_set["category"].to_pylist()) == dict.fromkeys(categories(), 200)
    first_hundred = training_set["category"].to_pylist()[:100]
    assert len(set(first_hundred)) > 30  # in random order, not category by category


def test_balance_holds_for_any_total() -> None:
    counts = Counter(table(12_345, seed=1, balanced=True)["category"].to_pylist())
    assert sum(counts.values()) == 12_345
    assert set(counts.values()) <= {246, 247}


def test_natural_mix_follows_the_weights() -> None:
    counts = Counter(table(20_000, seed=5)["category"].to_pylist())
    entries = yaml.safe_load((DATA_DIR / "taxonomy.yaml").read_text(encoding="utf-8"))["categories"]
    total = sum(entry["weight"] for entry in entries.values())
    for name, entry in entries.items():
        expected = 20_000 * entry["weight"] / total
        assert abs(counts[name] - expected) < 5 * expected**0.5, name
    assert max(counts.values()) > 5 * min(counts.values())


def test_ad_ids_are_unique(training_set: pa.Table) -> None:
    assert len(set(training_set["ad_id"].to_pylist())) == 10_000


def test_about_15_percent_repeat_an_earlier_ad(training_set: pa.Table, texts: list[str]) -> None:
    entries = yaml.safe_load((DATA_DIR / "cities.yaml").read_text(encoding="utf-8"))
    names = sorted(
        {entry[form] for entry in entries for form in ("name", "in")}, key=len, reverse=True
    )
    city = re.compile("|".join(map(re.escape, names)))
    keys = [city.sub("", PHONE.sub("", text)).lower() for text in texts]
    keys = [
        f"{category} {key}"
        for category, key in zip(training_set["category"].to_pylist(), keys, strict=True)
    ]
    assert 1 - len(set(keys)) / len(keys) == pytest.approx(0.15, abs=0.02)
    assert 1 - len(set(texts)) / len(texts) < 0.12  # many re-posts differ in phone or city


def test_without_duplicates_texts_hardly_repeat() -> None:
    ads = table(3000, seed=2, duplicate_fraction=0.0)
    assert (
        len(set(zip(ads["title"].to_pylist(), ads["description"].to_pylist(), strict=True)))
        > 0.97 * 3000
    )


def test_lengths_are_heavy_tailed(texts: list[str]) -> None:
    num_words = np.array([len(text.split()) for text in texts])
    median, p90, p99 = np.quantile(num_words, [0.5, 0.9, 0.99])
    assert 18 <= median <= 24
    assert 70 <= p90 <= 100
    assert 200 <= p99 <= 350
    assert 35 <= num_words.mean() <= 45
    assert (num_words >= 500).sum() >= 5
    assert num_words.max() < 2000


def test_noise_of_real_ads_occurs(training_set: pa.Table, texts: list[str]) -> None:
    everything = "\n".join(texts)
    forms = [
        r"\+7 9\d\d \d{3}-",
        r"8\(9\d\d\)",
        r"8-9\d\d-",
        r"\b89\d{9}",
        r"\+79\d{9}",
        r"8 9 \d \d \d",
        r"\d-\d*о",
    ]
    for form in forms:
        assert len(re.findall(form, everything)) >= 10, form
    assert sum("✅" in text or "🔥" in text for text in texts) > 20
    assert 0.03 < np.mean([title.isupper() for title in training_set["title"].to_pylist()]) < 0.1
    assert not re.search(r"[{}\x01\x02\x03]", everything)


def test_a_share_of_ads_hardly_says_what_it_sells(texts: list[str]) -> None:
    anyones = (DATA_DIR / "phrases.yaml").read_text(encoding="utf-8") + (
        DATA_DIR / "cities.yaml"
    ).read_text("utf-8")
    anyones_words = set(re.findall(r"[а-яё]{4,}", anyones.lower())) | set(
        re.findall(r"[а-яё]{4,}", anyones.lower().replace("ё", "е"))
    )
    silent = [set(re.findall(r"[^\W\d]{4,}", text.lower())) <= anyones_words for text in texts]
    assert 0.008 < np.mean(silent) < 0.03


def test_generation_is_lazy() -> None:
    first, second = islice(generate_ads(10**9, seed=1, batch_rows=100), 2)
    assert (first.num_rows, second.num_rows) == (100, 100)


def test_no_ads() -> None:
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
        groups.append([metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)])
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


def test_out_of_domain_texts_are_many_and_different() -> None:
    kinds = out_of_domain_texts(500, seed=1)
    assert set(kinds) == {"news", "talk", "code", "english", "gibberish", "other_goods"}
    for kind, found in kinds.items():
        assert len(set(found)) == 500, kind
        assert all(text.strip() and "[[" not in text for text in found), kind
    assert not set(kinds["news"]) & set(kinds["talk"])
    assert kinds == out_of_domain_texts(500, seed=1)
    assert kinds["news"] != out_of_domain_texts(500, seed=2)["news"]
    assert all(re.fullmatch(r"[\x00-\x7f]+", text) for text in kinds["english"] + kinds["code"])


def test_out_of_domain_says_when_a_kind_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"num_more": [0, 0], "separator": " ", "slots": {}, "first": ["one {1-2}"]}
    monkeypatch.setattr("rubert_ood.synthetic.ood.load_data", lambda _: {"short": entry})
    assert sorted(out_of_domain_texts(2, seed=1)["short"]) == ["one 1", "one 2"]
    with pytest.raises(ValueError, match="'short' yields only 2 texts of 3"):
        out_of_domain_texts(3, seed=1)


def test_phrase_slots() -> None:
    rng = Random(1)
    phrase = Phrase("{item} {a|b} {2-6/2} {color}!", {"color": ["red", "blue"]})
    rendered = {phrase.render(rng, {"item": "cup"}) for _ in range(500)}
    assert rendered == {
        f"cup {x} {n} {c}!" for x in "ab" for n in (2, 4, 6) for c in ("red", "blue")
    }


def test_every_phrase_of_the_lexicons_renders() -> None:
    """A slot with a misspelt name would fail only when an ad draws its phrase."""
    names = set(yaml.safe_load((DATA_DIR / "phrases.yaml").read_text(encoding="utf-8"))["slots"])
    names |= {"item", "acc", "other_item", "model", "brand", "price", "phone", "city", "city_in"}
    for file_name in ("taxonomy.yaml", "phrases.yaml"):
        content = "\n".join((DATA_DIR / file_name).read_text(encoding="utf-8").splitlines()[6:])
        for slot in re.findall(r"\{([^{}]*)\}", content):
            assert "|" in slot or re.fullmatch(r"\d+-\d+(/\d+)?", slot) or slot in names, (
                f"{file_name}: {{{slot}}}"
            )


def test_misspell_makes_one_small_error() -> None:
    rng = Random(3)
    for word in ("холодильник", "стиральная"):
        for _ in range(200):
            assert abs(len(misspell(word, rng)) - len(word)) <= 1
    assert {misspell(word, rng) for word in ("дом", "i7-8550", "\x01")} == {
        "дом",
        "i7-8550",
        "\x01",
    }


def test_roughen_leaves_a_careful_seller_alone() -> None:
    assert roughen("Чёрный стол, новый", PLAIN, Random(1)) == "Чёрный стол, новый"


def test_phone_numbers_hold_ten_digits_after_the_prefix() -> None:
    rng = Random(5)
    for _ in range(300):
        digits = re.sub(r"\D", "", phone_number(rng).replace("о", "0"))
        assert re.fullmatch(r"[78]9\d{9}", digits)
