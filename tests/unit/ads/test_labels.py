import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.dataset import (
    clean_labelled,
    clean_subcategories,
    load_dataset,
    read_labelled,
)
from rubert_ood.ads.extra_texts import read_texts
from rubert_ood.ads.labels import (
    check_subcategories,
    is_missing,
    label_index,
    normal_label,
    warn_of_alike,
)
from rubert_ood.ads.text import TextCleaner
from rubert_ood.errors import SchemaError
from rubert_ood.settings import ColumnSettings, SubheadColumnSettings, TrainSettings

COLUMNS = ColumnSettings()
NFD = unicodedata.normalize("NFD", "Йод")


def put(path: Path, labels: list[str | None], **more: list[str]) -> str:
    descriptions = [f"вещь номер {number}" for number in range(len(labels))]
    table = {"title": ["вещь"] * len(labels), "description": descriptions, **more}
    pq.write_table(pa.table(table | {"category": labels}), path)
    return str(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Мебель", "Мебель"),
        ("  Мебель\t", "Мебель"),
        ("Шины\u00a0и\u202fдиски", "Шины и диски"),
        ("Шины\u2007 \n и  диски", "Шины и диски"),
        (NFD, "Йод"),
        ("Ме\u200bбель\ufeff", "Мебель"),
        ("Ме\u00adбель", "Мебель"),
        ("Мебель\x00\x1b", "Мебель"),
        ("Мебель \u200b ", "Мебель"),
        ("И\u200b\u0306од", "Йод"),
        ("\u200b\u00a0", ""),
        ("МЕБЕЛЬ", "МЕБЕЛЬ"),
        ("б/у №1 «А»", "б/у №1 «А»"),
        ("🪑 мебель", "🪑 мебель"),
    ],
)
def test_label_normal_form_by_hand(text, expected):
    assert normal_label(text) == expected
    assert normal_label(expected) == expected


@pytest.mark.parametrize(
    "word", ["", "nan", "NaN", "NAN", "null", "NULL", "None", "none", "<NA>", "<na>"]
)
def test_what_programs_write_for_nothing_is_missing(word):
    assert is_missing(word)


@pytest.mark.parametrize("word", ["Нан", "nano", "n/a", "Nullmodem", "0", "-"])
def test_label_of_other_words_is_kept(word):
    assert not is_missing(word)


def test_spellings_that_look_the_same_are_one_class_and_counted(tmp_path, caplog):
    labels = [
        "Йод",
        "Йод ",
        "Йод\u00a0",
        NFD,
        "Мебель",
        "Мебель",
        "Мебель\u200b",
        " Мебель",
    ]
    table = read_labelled(put(tmp_path / "a.parquet", labels), COLUMNS)
    assert table["category"].to_pylist() == ["Йод"] * 4 + ["Мебель"] * 4
    assert [record.getMessage() for record in caplog.records] == [
        (
            "data      rewrote 5 labels in normal form, 5 spellings in all: 'Йод ' ->"
            r" 'Йод', 'Йод\xa0' -> 'Йод', '\u0418\u0306\u043e\u0434' -> 'Йод',"
            r" 'Мебель\u200b' -> 'Мебель', ' Мебель' -> 'Мебель'"
        )
    ]


def test_only_the_most_frequent_spellings_are_named(tmp_path, caplog):
    labels = [f"класс  {number}" for number in range(8)] + ["класс  7"] * 3
    read_labelled(put(tmp_path / "a.parquet", labels), COLUMNS)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        "data      rewrote 11 labels in normal form, 8 spellings in all: 'класс"
        "  7' -> 'класс 7',"
    )
    assert line.endswith(", and 3 more")


def test_texts_in_the_column_of_labels_are_counted_and_not_told(tmp_path, caplog):
    """A wrong `columns.category`: what a message says of labels must not hold an ad."""
    texts = ["Диван,  8 916 123-45-67", "ДИВАН, 8 916 123-45-67", "Очень " * 20]
    uri = put(tmp_path / "a.parquet", texts)
    table = read_labelled(uri, COLUMNS)
    warn_of_alike([*{*table["category"].to_pylist()}, "диван, 8 916 123-45-67"])
    with pytest.raises(SchemaError) as caught:
        read_labelled(uri, COLUMNS, known=["Мебель", "ДИВАН, 8 916 123-45-67"])
    said = [*caplog.messages, str(caught.value)]
    assert "(a text of 22 characters)" in said[0]
    assert "(a text of 119 characters)" in said[0]
    assert "(a text of 22 characters) / (a text of 22 characters)" in said[1]
    assert str(caught.value).endswith(
        "no label (a text of 22 characters). Did you mean (a text of 22 characters)?"
    )
    for line in said:
        assert "916" not in line
        assert "Очень" not in line


def test_labels_in_normal_form_are_not_mentioned(tmp_path, caplog):
    read_labelled(put(tmp_path / "a.parquet", ["Мебель", "МЕБЕЛЬ"]), COLUMNS)
    assert caplog.records == []


@pytest.mark.parametrize("word", ["nan", "NaN", "null", "None", "<NA>", " nan\u00a0"])
def test_a_missing_label_written_as_text_is_named_with_file_row_and_column(
    tmp_path, word
):
    uri = put(tmp_path / "a.parquet", ["Мебель", word])
    with pytest.raises(SchemaError) as caught:
        read_labelled(uri, COLUMNS)
    label = word.strip()
    assert str(caught.value) == (
        f"{uri}: row 2 (without the header): column 'category' has no label but"
        f" {label!r}. Fill it in, or drop the row"
    )


@pytest.mark.parametrize("word", ["Other", " Other", "Other\u00a0", "Ot\u200bher"])
def test_the_reserved_label_is_known_in_every_spelling(tmp_path, word):
    uri = put(tmp_path / "a.parquet", ["Мебель", word])
    with pytest.raises(
        SchemaError, match=r"row 2 \(.*\): column 'category' holds the label 'Other'"
    ):
        read_labelled(uri, COLUMNS)


def test_integer_labels_are_read_as_before(tmp_path):
    table = read_labelled(put(tmp_path / "a.parquet", [7, 12]), COLUMNS)
    assert table["category"].to_pylist() == ["7", "12"]


def test_classes_that_differ_only_in_case_are_named(caplog):
    warn_of_alike(["Йод", "ЙОД", "Мебель", "мебель", "Мебель б/у"])
    assert [record.getMessage() for record in caplog.records] == [
        (
            "data      some classes differ only in case, and train as different"
            " classes: 'ЙОД' / 'Йод'; 'Мебель' / 'мебель'"
        )
    ]


def test_classes_that_differ_only_in_alphabet_are_named_with_the_letters(caplog):
    warn_of_alike(["Спорт", "Cпoрт", "Кино", "COM", "кино"])
    assert caplog.messages == [
        "data      some classes differ only in case, and train as different classes:"
        " 'Кино' / 'кино'",
        "data      some classes differ only in letters of two alphabets, and train as"
        " different classes: 'Cпoрт' (Latin: Co) / 'Спорт'",
    ]


def test_classes_of_two_alphabets_that_look_otherwise_are_not_named(caplog):
    warn_of_alike(["Авто", "Avto", "BMW", "БМВ", "Дом", "Том"])
    assert caplog.messages == []


def test_subcategories_of_one_category_that_look_alike_are_named(caplog):
    pairs = [("Мебель", "Столы"), ("Мебель", "столы"), ("Дача", "столы")]
    check_subcategories("a.csv", "fine", pairs)
    assert caplog.messages == [
        "data      some classes differ only in case, and train as different classes:"
        " 'Мебель / Столы' / 'Мебель / столы'"
    ]


def test_subcategory_with_the_name_of_doubtful_ads_is_refused():
    with pytest.raises(SchemaError) as raised:
        check_subcategories("a.csv", "fine", [("Мебель", "Столы"), ("Мебель", "Other")])
    assert str(raised.value) == (
        "a.csv: column 'fine': a sub-category of 'Мебель' is called 'Other', which is"
        " reserved for doubtful ads. Rename it"
    )


def test_label_in_another_alphabet_is_told_from_the_known_one(tmp_path):
    uri = put(tmp_path / "a.parquet", ["Cпорт"])
    with pytest.raises(SchemaError) as raised:
        read_labelled(uri, COLUMNS, known=["Спорт", "Мебель"])
    assert str(raised.value).endswith(
        "has no label 'Cпорт'. Did you mean 'Спорт', and not 'Cпорт' (Latin: C)?"
    )


def test_a_training_table_is_warned_of_case_once(tmp_path, caplog):
    labels = ["Йод", "ЙОД", "йод "] * 40
    uri = put(tmp_path / "a.parquet", labels, city=["Уфа"] * 120)
    dataset = load_dataset(TrainSettings(input_uri=uri))
    assert dataset.labels == ["ЙОД", "Йод", "йод"]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[1].endswith(
        "differ only in case, and train as different classes: 'ЙОД' / 'Йод' / 'йод'"
    )


def test_a_bundle_of_an_older_version_knows_its_labels_in_normal_form_too():
    assert label_index(["Йод ", "Мебель"]) == {"Йод ": 0, "Йод": 0, "Мебель": 1}
    assert label_index(["Йод ", "Йод"]) == {"Йод ": 0, "Йод": 1}


def test_an_unknown_label_that_differs_in_case_names_the_one_that_may_be_meant(tmp_path):
    uri = put(tmp_path / "a.parquet", ["мебель"])
    with pytest.raises(
        SchemaError,
        match=r"row 1 .* has no label 'мебель'\. Did you mean 'Мебель'\?",
    ):
        read_labelled(uri, COLUMNS, known=["Йод", "Мебель"])


def test_evaluated_labels_meet_those_of_the_bundle_in_normal_form(tmp_path):
    table = read_labelled(put(tmp_path / "a.parquet", [NFD, "Мебель\u00a0"]), COLUMNS)
    assert clean_labelled(table, TextCleaner(), ["Йод", "Мебель"]).labels_N.tolist() == [
        0,
        1,
    ]


def test_subcategories_have_the_same_normal_form_and_the_same_words_for_none(
    tmp_path, caplog
):
    subs = ["Столы", "Столы ", "nan", "NULL", "", "Двери\u00a0белые"]
    uri = put(tmp_path / "a.parquet", ["Мебель\u200b"] * 6, subcategory=subs)
    table = read_labelled(uri, SubheadColumnSettings(), extra=("subcategory",))
    caplog.clear()
    ads, pairs = clean_subcategories(table, TextCleaner(), ["Мебель"])
    assert pairs == [("Мебель", "Столы"), ("Мебель", "Двери белые")]
    assert ads.labels_N.tolist() == [0, 0, 1]
    assert (
        caplog.records[0]
        .getMessage()
        .startswith("data      rewrote 2 labels in normal form, 2 spellings")
    )


def test_expected_labels_of_hard_cases_have_the_same_normal_form(tmp_path):
    pq.write_table(
        pa.table({"text": ["диван"], "label": ["Мебель\u00a0"]}),
        tmp_path / "hard.parquet",
    )
    assert read_texts(str(tmp_path / "hard.parquet"), "label", TextCleaner()) == [
        ("диван", "диван", "Мебель")
    ]
