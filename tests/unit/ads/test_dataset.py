from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.model_selection import train_test_split

from rubert_ood.ads.dataset import (
    Dataset,
    LabelledAds,
    build_cleaner,
    clean_labelled,
    clean_subcategories,
    load_dataset,
    read_labelled,
    split,
)
from rubert_ood.ads.extra_texts import read_texts
from rubert_ood.ads.schema import has
from rubert_ood.ads.text import TextCleaner
from rubert_ood.errors import InputError, RubertOodError, SchemaError, SettingsError
from rubert_ood.settings import (
    CleanerSettings,
    ColumnSettings,
    SplitSettings,
    SubheadColumnSettings,
    TrainSettings,
)
from rubert_ood.synthetic.catalogue import generate_ads

COLUMNS = ColumnSettings()
CP1251 = "Мебель".encode("cp1251")


def put_csv(path: Path, *lines: str) -> str:
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return str(path)


def put_parquet(path: Path, **columns: object) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def not_utf8(*values: bytes) -> pa.Array:
    return pa.array(values, pa.binary()).view(pa.string())


def message(error: type[RubertOodError], function, *arguments) -> str:
    """Return the one line of the error that the call must raise."""
    with pytest.raises(error) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def labelled(*rows: tuple[str | None, str | None, str, str | None]) -> pa.Table:
    names = ("title", "description", "category", "city")
    return pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in rows],
        pa.schema([(name, pa.string()) for name in names]),
    )


# read_labelled


def test_columns_are_mapped_and_files_joined_in_order(tmp_path: Path) -> None:
    put_csv(tmp_path / "b.csv", "рубрика,текст,лишнее", '007,"два, ""три""', 'строки",1')
    put_parquet(
        tmp_path / "a.parquet", текст=["раз"], рубрика=pa.array([5]).dictionary_encode()
    )
    table = read_labelled(
        str(tmp_path), ColumnSettings(description="текст", category="рубрика")
    )
    assert table.to_pydict() == {
        "title": [None, None],
        "description": ["раз", 'два, "три"\nстроки'],
        "category": ["5", "007"],
        "city": [None, None],
    }
    assert set(table.schema.types) == {pa.string()}


@pytest.mark.parametrize(
    "texts",
    [
        pa.array(["шины", None, "шины"]),
        pa.array(["шины", None, "шины"], pa.large_string()),
        pa.array(["шины", None, "шины"], pa.string_view()),
        pa.array(["шины", None, "шины"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type).replace("\n", " "),
)
def test_read_labelled_takes_every_kind_of_text_column(
    tmp_path: Path, texts: pa.Array
) -> None:
    uri = put_parquet(
        tmp_path / "a.parquet",
        title=texts,
        description=texts,
        city=texts,
        category=[3, 1, 2],
    )
    values = ["шины", None, "шины"]
    expected = {
        "title": values,
        "description": values,
        "category": ["3", "1", "2"],
        "city": values,
    }
    assert read_labelled(uri, COLUMNS).to_pydict() == expected


def test_a_null_typed_column_is_a_column_of_nulls(tmp_path: Path) -> None:
    uri = put_parquet(
        tmp_path / "a.parquet",
        title=["а", "б"],
        description=pa.nulls(2),
        category=["x", "y"],
    )
    assert read_labelled(uri, COLUMNS)["description"].to_pylist() == [None, None]


def test_read_labelled_with_title_null_reads_no_title(tmp_path: Path) -> None:
    uri = put_csv(tmp_path / "a.csv", "title,description,category,city", "a,b,c,d")
    table = read_labelled(uri, ColumnSettings(title=None, city=None))
    assert table.to_pylist() == [
        {"title": None, "description": "b", "category": "c", "city": None}
    ]


@pytest.mark.parametrize("name", ["title", "city"])
def test_an_explicit_name_must_exist(tmp_path: Path, name: str) -> None:
    uri = put_csv(tmp_path / "a.csv", "description,category", "b,c")
    line = message(SchemaError, read_labelled, uri, ColumnSettings(**{name: name}))
    assert line == (
        f"{uri}: the table has no column '{name}' (setting columns.{name})."
        " Use one that it has: description, category"
    )


def test_a_column_missing_in_the_second_file_names_that_file(tmp_path: Path) -> None:
    put_csv(tmp_path / "a.csv", "description,category", "b,c")
    put_csv(tmp_path / "b.csv", "description,label", "b,c")
    line = message(SchemaError, read_labelled, str(tmp_path), COLUMNS)
    assert line == (
        f"{tmp_path}/b.csv: the table has no column 'category' (setting"
        " columns.category). Use one that it has: description, label"
    )


def test_a_column_of_a_wrong_type_is_named(tmp_path: Path) -> None:
    uri = put_parquet(tmp_path / "a.parquet", description=[1.5], category=["x"])
    line = message(SchemaError, read_labelled, uri, COLUMNS)
    assert line == f"{uri}: column 'description' has the type double. Convert it to text"


def test_two_columns_of_one_name_are_named(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    pq.write_table(
        pa.table([["x"], ["a"], ["b"]], names=["description", "category", "category"]),
        uri,
    )
    assert message(SchemaError, read_labelled, uri, COLUMNS).startswith(
        f"{uri}: the table has two columns 'category'"
    )


@pytest.mark.parametrize("label", ["", "   "])
def test_an_empty_csv_label_is_named_with_its_row(tmp_path: Path, label: str) -> None:
    uri = put_csv(tmp_path / "a.csv", "description,category", "a,А", "b,Б", f"c,{label}")
    line = message(SchemaError, read_labelled, uri, COLUMNS)
    assert line == (
        f"{uri}: row 3 (without the header): column 'category' has no label. Fill it in,"
        " or drop the row"
    )


def test_a_null_label_is_named_with_its_row_across_row_groups(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    labels = ["x"] * 99 + [None]
    pq.write_table(
        pa.table({"description": ["т"] * 100, "метка": labels}), uri, row_group_size=7
    )
    line = message(SchemaError, read_labelled, uri, ColumnSettings(category="метка"))
    assert line == (
        f"{uri}: row 100 (without the header): column 'метка' has no label. Fill it in,"
        " or drop the row"
    )


def test_the_reserved_label_is_named_with_its_row(tmp_path: Path) -> None:
    uri = put_csv(
        tmp_path / "a.csv", "description,category", "a,Others", "b,other", "c,Other"
    )
    line = message(SchemaError, read_labelled, uri, COLUMNS)
    assert line == (
        f"{uri}: row 3 (without the header): column 'category' holds the label 'Other',"
        " which is reserved for doubtful ads. Rename it"
    )


def test_a_label_that_is_not_utf8_is_named_with_its_row(tmp_path: Path) -> None:
    uri = put_parquet(
        tmp_path / "a.parquet", description=["a", "b"], category=not_utf8(b"x", CP1251)
    )
    line = message(SchemaError, read_labelled, uri, COLUMNS)
    assert line == (
        f"{uri}: row 2 (without the header): column 'category' holds a label that is not"
        " UTF-8. Write it as UTF-8"
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_without_rows_is_named(tmp_path: Path, kind: str) -> None:
    uri = str(tmp_path / f"a.{kind}")
    if kind == "csv":
        put_csv(tmp_path / "a.csv", "description,category")
    else:
        put_parquet(
            tmp_path / "a.parquet",
            description=pa.array([], pa.string()),
            category=pa.array([], pa.string()),
        )
    assert (
        message(InputError, read_labelled, uri, COLUMNS)
        == f"{uri}: the table has no rows. Use a table with labelled ads"
    )


def test_an_empty_file_beside_a_full_one_does_not_matter(tmp_path: Path) -> None:
    put_csv(tmp_path / "a.csv", "description,category")
    put_csv(tmp_path / "b.csv", "description,category", "b,c")
    assert read_labelled(str(tmp_path), COLUMNS).num_rows == 1


def test_a_place_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert (
        message(InputError, read_labelled, f"{tmp_path}/x", COLUMNS)
        == f"{tmp_path}/x: no such file, folder or bucket"
    )


# split


@pytest.fixture(scope="module")
def ten_thousand() -> pa.Table:
    """10,000 ads of 50 classes, 200 each, in random order; the description is the row number."""
    categories = np.random.default_rng(3).permutation(
        np.repeat([f"класс {number:02}" for number in range(50)], 200)
    )
    empty = pa.nulls(10_000, pa.string())
    numbers = pa.array([str(row) for row in range(10_000)])
    return pa.table(
        {
            "title": empty,
            "description": numbers,
            "category": categories.tolist(),
            "city": empty,
        }
    )


def rows_of(part: pa.Table) -> list[int]:
    return [int(number) for number in part["description"].to_pylist()]


def test_split_of_ten_thousand_balanced_ads_gives_7200_800_2000(
    ten_thousand: pa.Table,
) -> None:
    parts = split(ten_thousand, SplitSettings())
    assert [part.num_rows for part in parts] == [7200, 800, 2000]
    for part, per_class in zip(parts, (144, 16, 40), strict=True):
        counts = Counter(part["category"].to_pylist())
        assert len(counts) == 50
        assert set(counts.values()) == {per_class}
    train, valid, test = (set(rows_of(part)) for part in parts)
    assert train | valid | test == set(range(10_000))
    assert len(train) + len(valid) + len(test) == 10_000


def test_split_keeps_rows_whole(ten_thousand: pa.Table) -> None:
    category = ten_thousand["category"].to_pylist()
    for part in split(ten_thousand, SplitSettings()):
        assert part["category"].to_pylist() == [category[row] for row in rows_of(part)]


@pytest.mark.parametrize("seed", [42, 7])
def test_split_equals_sklearn_on_the_rows(ten_thousand: pa.Table, seed: int) -> None:
    frame = ten_thousand.to_pandas()
    rest, test = train_test_split(
        frame, test_size=0.2, stratify=frame["category"], random_state=seed
    )
    train, valid = train_test_split(
        rest, test_size=0.1, stratify=rest["category"], random_state=seed
    )
    ours = split(ten_thousand, SplitSettings(seed=seed))
    assert [rows_of(part) for part in ours] == [
        part.index.tolist() for part in (train, valid, test)
    ]


def test_split_is_decided_by_the_seed(ten_thousand: pa.Table) -> None:
    first, again, other = (
        split(ten_thousand, SplitSettings(seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert rows_of(first[2]) != rows_of(other[2])


def test_split_fractions_are_settings(ten_thousand: pa.Table) -> None:
    parts = split(ten_thousand, SplitSettings(test_fraction=0.5, valid_fraction=0.2))
    assert [part.num_rows for part in parts] == [4000, 1000, 5000]


def test_calibration_rows_are_taken_before_valid(ten_thousand: pa.Table) -> None:
    frame = ten_thousand.to_pandas()
    rest, test = train_test_split(
        frame, test_size=0.2, stratify=frame["category"], random_state=42
    )
    rest, calibration = train_test_split(
        rest, test_size=0.1, stratify=rest["category"], random_state=42
    )
    train, valid = train_test_split(
        rest, test_size=0.1, stratify=rest["category"], random_state=42
    )
    ours = split(ten_thousand, SplitSettings(calibration_fraction=0.1))
    assert [rows_of(part) for part in ours] == [
        part.index.tolist() for part in (train, valid, test, calibration)
    ]


def test_test_ads_know_their_slices() -> None:
    rows = [
        ("ПРОДАМ ДИВАН", "б/у", "Мебель", "Уфа"),
        (None, "Кот " * 30, "Животные", None),
        (" ", "Кот", "Животные", ""),
        (None, "продам", "Мебель", "Уфа"),  # nothing is left of it
    ]
    ads = clean_labelled(
        labelled(*rows), TextCleaner(), ["Животные", "Мебель"], traits=True
    )
    assert len(ads) == 3
    assert ads.traits == {
        "length": ["up to 5 words", "21 to 60 words", "up to 5 words"],
        "title": ["with a title", "without a title", "without a title"],
        "capitals": ["mostly capitals", "ordinary letters", "ordinary letters"],
        "city": ["Уфа", "no city", "no city"],
    }
    assert (
        clean_labelled(labelled(*rows), TextCleaner(), ["Животные", "Мебель"]).traits
        == {}
    )


@pytest.mark.parametrize(
    ("counts", "count"),
    [({"Мебель": 100, "Шины": 1}, 1), ({"Мебель": 3, "Шины": 2}, 2)],
)
def test_a_class_too_small_to_split_is_named(counts: dict[str, int], count: int) -> None:
    table = labelled(
        *[
            (None, "т", name, None)
            for name, number in counts.items()
            for _ in range(number)
        ]
    )
    line = message(SchemaError, split, table, SplitSettings())
    assert line.startswith(f"{table.num_rows} ads cannot be split by class: ")
    assert f"The smallest of 2 classes, 'Шины', has {count}: " in line


# cleaning and numbering


def test_cities_of_the_training_ads_are_learnt() -> None:
    train = labelled(
        (None, "a", "x", "Уфа"),
        (None, "b", "x", None),
        (None, "c", "x", " Нижний Новгород "),
    )
    assert build_cleaner(train, CleanerSettings()).cities == ["нижний новгород", "уфа"]
    assert build_cleaner(train, CleanerSettings(remove_cities=False)).cities == []
    cleaner = build_cleaner(
        train, CleanerSettings(phone_pattern=r"\d+", noise_words=("срочно",))
    )
    assert cleaner.clean("Срочно торг 12 в Уфа") == "торг в"


def test_a_city_that_is_not_utf8_is_no_city() -> None:
    train = pa.table({"city": not_utf8("Уфа".encode(), CP1251)})
    assert build_cleaner(train, CleanerSettings()).cities == ["уфа"]


def test_ads_are_cleaned_and_numbered_and_those_without_text_dropped() -> None:
    table = labelled(
        ("Продам диван", "Уфа, 89161234567", "Мебель", "Уфа"),
        (None, "Зимние ШИНЫ", "Шины", None),
        ("Торг", "уфа", "Шины", None),
        (None, None, "Мебель", None),
        ("Кот", None, "Животные", None),
    )
    ads = clean_labelled(
        table, TextCleaner(cities=["Уфа"]), ["Животные", "Мебель", "Шины"]
    )
    assert ads.texts == ["диван ,", "зимние шины", "кот"]
    assert ads.labels_N.tolist() == [1, 2, 0]
    assert ads.labels_N.dtype == np.int64
    assert len(ads) == 3


def test_a_text_that_is_not_utf8_is_dropped() -> None:
    texts = not_utf8("да".encode(), CP1251)
    table = pa.table(
        {
            "title": ["а", "б"],
            "description": texts,
            "category": ["x", "x"],
            "city": ["Уфа", ""],
        }
    )
    assert clean_labelled(table, TextCleaner(), ["x"]).texts == ["а да"]


# load_dataset


def write_ads(path: Path, *rows: tuple[str, str]) -> str:
    return put_parquet(
        path,
        description=[text for text, _ in rows],
        category=[label for _, label in rows],
    )


def test_load_dataset_of_one_table_splits_numbers_and_cleans(tmp_path: Path) -> None:
    table = pa.Table.from_batches(list(generate_ads(1_000, seed=5, balanced=True)))
    uri = str(tmp_path / "ads.parquet")
    pq.write_table(table, uri)
    dataset = load_dataset(TrainSettings(input_uri=uri))

    frame = table.to_pandas()
    rest, test = train_test_split(
        frame, test_size=0.2, stratify=frame["category"], random_state=42
    )
    train, valid = train_test_split(
        rest, test_size=0.1, stratify=rest["category"], random_state=42
    )
    assert dataset.labels == sorted(frame["category"].unique())
    assert dataset.cleaner.cities == sorted(
        name.lower() for name in train["city"].unique()
    )
    cleaner = TextCleaner(cities=train["city"])
    for part, rows in (
        (dataset.train, train),
        (dataset.valid, valid),
        (dataset.test, test),
    ):
        cleaned = (rows["title"] + " " + rows["description"]).map(cleaner.clean)
        assert part.texts == cleaned[cleaned != ""].tolist()
        numbers = np.searchsorted(
            dataset.labels, rows["category"][cleaned != ""].tolist()
        )
        np.testing.assert_array_equal(part.labels_N, numbers)
    assert dataset.num_test_texts_seen_in_train() == sum(
        text in dataset.train.texts for text in dataset.test.texts
    )


def test_a_split_may_set_calibration_rows_aside(tmp_path: Path) -> None:
    pq.write_table(
        pa.Table.from_batches(list(generate_ads(1_000, seed=5, balanced=True))),
        tmp_path / "ads.parquet",
    )
    uri = str(tmp_path / "ads.parquet")
    plain, split_off = (
        load_dataset(
            TrainSettings(
                input_uri=uri, split=SplitSettings(calibration_fraction=fraction)
            )
        )
        for fraction in (0.0, 0.2)
    )
    assert plain.calibration is None
    assert split_off.calibration is not None
    assert [
        len(part) for part in (split_off.test, split_off.calibration, split_off.valid)
    ] == [
        200,
        160,
        64,
    ]
    assert split_off.test.texts == plain.test.texts
    assert set(split_off.test.traits) == {"length", "title", "capitals", "city"}
    assert split_off.train.traits == split_off.calibration.traits == {}


def separate(tmp_path: Path, **parts: list[tuple[str, str]]) -> TrainSettings:
    rows = {"train": [("диван", "Мебель"), ("кот", "Животные")]} | parts
    for name in ("train", "valid", "test"):
        write_ads(tmp_path / f"{name}.parquet", *rows.get(name, rows["train"]))
    return TrainSettings(
        **{
            f"{name}_uri": str(tmp_path / f"{name}.parquet")
            for name in ("train", "valid", "test")
        }
    )


def test_load_dataset_of_separate_tables_takes_them_as_they_are(tmp_path: Path) -> None:
    valid, test = [("кровать", "Мебель")], [("пёс", "Животные"), ("ПЁС!", "Животные")]
    dataset = load_dataset(separate(tmp_path, valid=valid, test=test))
    assert dataset.labels == ["Животные", "Мебель"]
    assert (dataset.train.texts, dataset.train.labels_N.tolist()) == (
        ["диван", "кот"],
        [1, 0],
    )
    assert (dataset.valid.texts, dataset.valid.labels_N.tolist()) == (["кровать"], [1])
    assert (dataset.test.texts, dataset.test.labels_N.tolist()) == (
        ["пёс", "пёс!"],
        [0, 0],
    )


def test_dataset_takes_calibration_rows_from_their_own_uri(tmp_path: Path) -> None:
    uri = str(tmp_path / "calibration.parquet")
    write_ads(
        tmp_path / "calibration.parquet",
        ("кот", "Животные"),
        ("диван", "Мебель"),
        ("стол", "Мебель"),
    )
    with_uri = separate(tmp_path).model_copy(update={"calibration_uri": uri})
    dataset = load_dataset(with_uri)
    assert dataset.calibration is not None
    assert dataset.calibration.texts == ["кот", "диван", "стол"]
    with pytest.raises(SettingsError, match=r"split\.calibration_fraction"):
        TrainSettings(input_uri="ads", calibration_uri="more")


def test_load_dataset_removes_only_cities_of_train(tmp_path: Path) -> None:
    for name, city in (("train", "Уфа"), ("valid", "Орск"), ("test", "Шуя")):
        put_csv(
            tmp_path / f"{name}.csv",
            "description,category,city",
            f"дом Уфа Орск Шуя,А,{city}",
            f"кот,Б,{city}",
        )
    uris = {
        f"{name}_uri": str(tmp_path / f"{name}.csv")
        for name in ("train", "valid", "test")
    }
    dataset = load_dataset(TrainSettings(**uris))
    assert dataset.cleaner.cities == ["уфа"]
    for part in (dataset.train, dataset.valid, dataset.test):
        assert part.texts == ["дом орск шуя", "кот"]


@pytest.mark.parametrize("part", ["valid", "test"])
def test_an_unknown_label_outside_train_is_named(tmp_path: Path, part: str) -> None:
    settings = separate(tmp_path, **{part: [("лодка", "Лодки")]})
    assert message(SchemaError, load_dataset, settings) == (
        f"{tmp_path / part}.parquet: row 1 (without the header): column"
        " 'category': the training split has no label 'Лодки'. Correct the label, or drop"
        " the row"
    )


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_part_without_text_is_named(tmp_path: Path, part: str) -> None:
    settings = separate(tmp_path, **{part: [("торг", "Мебель")]})
    assert (
        message(InputError, load_dataset, settings)
        == f"no ad of the {part} split has text after cleaning. Add ads to it"
    )


def test_load_dataset_of_one_class_is_refused(tmp_path: Path) -> None:
    uri = write_ads(
        tmp_path / "ads.parquet", *[(f"диван {row}", "Мебель") for row in range(50)]
    )
    line = message(SchemaError, load_dataset, TrainSettings(input_uri=uri))
    assert line == (
        "training needs at least 2 classes, and the ads have 1: 'Мебель'. Add ads"
        " of more classes"
    )


def test_a_class_without_text_is_named(tmp_path: Path) -> None:
    settings = separate(
        tmp_path,
        train=[("диван", "Мебель"), ("кот", "Животные"), ("торг", "Шины"), ("", "Шины")],
    )
    line = message(SchemaError, load_dataset, settings)
    assert (
        line
        == "class 'Шины' has no training ad with text. Add ads of it, or drop the class"
    )


def test_ads_without_text_are_counted_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = separate(
        tmp_path, test=[("диван", "Мебель"), ("торг", "Мебель"), ("", "Животные")]
    )
    columns = ColumnSettings(title=None, city=None)
    load_dataset(settings.model_copy(update={"columns": columns}))
    assert [record.getMessage() for record in caplog.records] == [
        ("data      leaves out 2 labelled ads: no readable text is left after cleaning")
    ]


def test_test_texts_seen_in_train_are_counted() -> None:
    train, test = (
        LabelledAds(list(texts), np.zeros(len(texts), np.int64))
        for texts in ("абв", "ббгд")
    )
    dataset = Dataset(["x"], TextCleaner(), train, train, test)
    assert dataset.num_test_texts_seen_in_train() == 2


# read_texts


def test_read_texts_gives_text_and_group(tmp_path: Path) -> None:
    put_csv(
        tmp_path / "a.csv", "label,text", "Мебель,Продам ДИВАН", "Мебель,торг", "Шины,"
    )
    put_parquet(
        tmp_path / "b.parquet", text=["Шины", None, "x"], label=["Шины", "Шины", None]
    )
    found = read_texts(str(tmp_path), "label", TextCleaner())
    assert found == [("Продам ДИВАН", "диван", "Мебель"), ("Шины", "шины", "Шины")]


def test_read_texts_without_a_column_names_it(tmp_path: Path) -> None:
    uri = put_csv(tmp_path / "a.csv", "text,label", "a,b")
    assert message(SchemaError, read_texts, uri, "kind", TextCleaner()) == (
        f"{uri}: the table has no column 'kind'. Use one that it has: text, label"
    )


@pytest.mark.parametrize("text", [[["x"]], [1], [1.5]], ids=["list", "integer", "float"])
def test_read_texts_of_a_wrong_type_names_the_column(
    tmp_path: Path, text: list[object]
) -> None:
    uri = put_parquet(tmp_path / "a.parquet", text=text, kind=["x"])
    assert message(SchemaError, read_texts, uri, "kind", TextCleaner()).startswith(
        f"{uri}: column 'text' has the type "
    )


def test_read_texts_of_no_text_at_all_is_an_error(tmp_path: Path) -> None:
    uri = put_csv(tmp_path / "a.csv", "text,kind", "торг,news")
    assert (
        message(InputError, read_texts, uri, "kind", TextCleaner())
        == f"{uri}: no row has both text and kind. Fill in both columns"
    )


# clean_subcategories


def test_ads_with_text_and_sub_category_are_numbered_by_pair():
    rows = [
        ("Стол", "дубовый", "Мебель", None),
        ("Кот", "рыжий", "Животные", None),
        ("Диван", "угловой", "Мебель", None),
        (None, "  ", "Мебель", None),  # no text
        ("Шкаф", "новый", "Мебель", None),
        ("Пёс", "добрый", "Животные", None),
    ]
    subs = not_utf8(
        "Столы".encode(),
        "Коты".encode(),
        CP1251,
        "Столы".encode(),
        b" ",
        "Столы".encode(),
    )
    table = labelled(*rows).append_column("subcategory", subs)
    ads, pairs = clean_subcategories(table, TextCleaner(), ["Животные", "Мебель", "Шины"])
    assert list(
        zip(ads.texts, [pairs[number] for number in ads.labels_N], strict=True)
    ) == [
        ("стол дубовый", ("Мебель", "Столы")),
        ("кот рыжий", ("Животные", "Коты")),
        ("пёс добрый", ("Животные", "Столы")),
    ]


def test_sub_categories_may_be_integers(tmp_path):
    uri = put_parquet(
        tmp_path / "a.parquet",
        description=["а", "б"],
        category=["x", "y"],
        subcategory=[7, None],
    )
    table = read_labelled(uri, SubheadColumnSettings(), extra=("subcategory",))
    ads, pairs = clean_subcategories(table, TextCleaner(), ["x", "y"])
    assert (ads.texts, pairs) == (["а"], [("x", "7")])
    assert "subcategory" not in read_labelled(uri, COLUMNS).schema.names


def test_table_without_columns_says_so() -> None:
    assert has("ads.csv", pa.schema([]), []) == "It has no columns at all"
