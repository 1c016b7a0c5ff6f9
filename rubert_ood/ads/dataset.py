"""Labelled ads: read, split, learn the city names, clean, number the labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from rubert_ood.ads.labels import (
    Rewriter,
    check_known,
    is_missing,
    label_index,
    read_labels,
    warn_of_case,
)
from rubert_ood.ads.schema import as_text, decoded, resolve_columns
from rubert_ood.ads.sources import list_tables
from rubert_ood.ads.tables import inspect, read_rows
from rubert_ood.ads.text import TextCleaner, ad_text
from rubert_ood.ads.traits import ad_traits, city_slices
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.progress import StepLog
from rubert_ood.settings import (
    CleanerSettings,
    ColumnSettings,
    SplitSettings,
    TrainSettings,
)

log = StepLog("data")

ROLES = ("title", "description", "category", "city")
SPLITS = ("train", "valid", "test", "calibration")
TEST = SPLITS.index("test")


@dataclass(frozen=True)
class LabelledAds:
    """Cleaned texts with their class, in input order."""

    texts: list[str]
    labels_N: np.ndarray
    """int64 (N,), an index into the label vocabulary."""
    traits: dict[str, list[str]] = field(default_factory=dict)
    """By trait, the slice of the evaluation that each ad lies in; of test ads only."""

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Dataset:
    """The splits of one training, and what was learnt from their texts."""

    labels: list[str]
    """The vocabulary, sorted by name."""
    cleaner: TextCleaner
    train: LabelledAds
    valid: LabelledAds
    test: LabelledAds
    calibration: LabelledAds | None = None
    """Rows of their own for T and the thresholds; without them valid serves."""

    def num_test_texts_seen_in_train(self) -> int:
        """Count test ads whose cleaned text train has too: re-posts flatter every figure."""
        seen = set(self.train.texts)
        return sum(text in seen for text in self.test.texts)


def load_dataset(settings: TrainSettings) -> Dataset:
    """Read the labelled ads of a training job, split or given apart.

    Raises SchemaError or InputError that names file, column, class or row.
    """
    if settings.input_uri:
        whole = read_labelled(settings.input_uri, settings.columns)
        tables = split(whole, settings.split)
    else:
        tables = _read_apart(settings)
    train = tables[0]
    labels = sorted(set(train["category"].to_pylist()))
    if len(labels) < 2:
        raise SchemaError(
            f"training needs at least 2 classes, found {len(labels)}: {labels}"
        )
    warn_of_case(labels)
    cleaner = build_cleaner(train, settings.cleaner)
    cleaned = []
    for number, table in enumerate(tables):
        cleaned.append(clean_labelled(table, cleaner, labels, traits=number == TEST))
    num_empty = sum(map(len, tables)) - sum(map(len, cleaned))
    if num_empty:
        log.warning(
            "%d labelled ads have no readable text after cleaning: left out",
            num_empty,
        )
    dataset = Dataset(labels, cleaner, *cleaned)
    counts = np.bincount(dataset.train.labels_N, minlength=len(labels))
    if counts.min() == 0:
        raise SchemaError(
            f"class {labels[int(counts.argmin())]!r} has no training ad with text;"
            " add some or drop it"
        )
    for name in ("valid", "test", "calibration"):
        split_ads = getattr(dataset, name)
        if split_ads is not None and not len(split_ads):
            raise InputError(
                f"no {name} ad has text after cleaning; give more {name} ads"
            )
    return dataset


def _read_apart(settings: TrainSettings) -> list[pa.Table]:
    """Read the splits of a training that are given apart; train names the labels of all."""
    uris = (
        settings.train_uri,
        settings.valid_uri,
        settings.test_uri,
        settings.calibration_uri,
    )
    tables: list[pa.Table] = []
    known: list[str] = []
    for uri in filter(None, uris):
        tables.append(read_labelled(uri, settings.columns, known=known))
        known = tables[0]["category"].unique().to_pylist()
    return tables


def read_labelled(
    uri: str,
    columns: ColumnSettings,
    *,
    extra: tuple[str, ...] = (),
    known: Sequence[str] = (),
) -> pa.Table:
    """Read labelled ads: text columns title, description, category, city (absent: null), extra.

    Categories come in their normal form (labels.py). With `known` labels, one that is not among
    them is a SchemaError that names file, row and column.
    """
    roles = (*ROLES, *extra)
    tables = []
    rewriter = Rewriter()
    for file in list_tables(uri):
        info = inspect(file.uri, version=file.version, delimiter=columns.delimiter or "")
        found = resolve_columns(file.uri, info.schema, columns, roles)
        wanted = list(dict.fromkeys(found.values()))
        table = read_rows(
            file.uri, wanted, version=file.version, delimiter=info.delimiter
        )
        absent = pa.nulls(table.num_rows, pa.string())
        texts = {
            role: as_text(table[found[role]]) if role in found else absent
            for role in roles
        }
        texts["category"] = read_labels(
            file.uri, found["category"], table[found["category"]], rewriter
        )
        if known:
            check_known(file.uri, found["category"], texts["category"], known)
        tables.append(pa.table(texts))
    rewriter.report()
    joined = pa.concat_tables(tables)
    if joined.num_rows == 0:
        raise InputError(f"{uri}: the table has no rows")
    return joined


def split(table: pa.Table, settings: SplitSettings) -> list[pa.Table]:
    """Split into train, valid, test, and calibration if asked for; stratified by category, seeded.

    10,000 balanced ads give 7200, 800, 2000.
    """
    from sklearn.model_selection import train_test_split

    category = np.array(table["category"].to_pylist(), dtype=object)
    rest = np.arange(table.num_rows)
    smallest, count = min(Counter(category.tolist()).items(), key=lambda item: item[1])
    held_out = {}
    fractions = {
        "test": settings.test_fraction,
        "calibration": settings.calibration_fraction,
        "valid": settings.valid_fraction,
    }
    try:
        for name, fraction in fractions.items():
            if fraction:
                rest, held_out[name] = train_test_split(
                    rest,
                    test_size=fraction,
                    stratify=category[rest],
                    random_state=settings.seed,
                )
    except ValueError as error:
        raise SchemaError(
            f"no stratified split of {table.num_rows} ads is possible;"
            f" the smallest class {smallest!r} has {count}: {error}"
        ) from error
    rows = {"train": rest, **held_out}
    return [table.take(rows[name]) for name in SPLITS if name in rows]


def build_cleaner(train: pa.Table, settings: CleanerSettings) -> TextCleaner:
    """Make the cleaner that knows the cities of the training ads."""
    known = decoded(train["city"]) if settings.remove_cities else []
    cities = {city for city in known if isinstance(city, str)}
    return TextCleaner(
        phone_pattern=settings.phone_pattern,
        noise_words=settings.noise_words,
        cities=cities,
    )


def clean_labelled(
    table: pa.Table, cleaner: TextCleaner, labels: list[str], *, traits: bool = False
) -> LabelledAds:
    """Clean and number the ads; ads without text are dropped.

    Every category is one of the labels: `read_labelled` with `known` has seen to that.
    """
    index = label_index(labels)
    texts, numbers, cities = [], [], []
    slices: dict[str, list[str]] = {}
    columns = (
        decoded(table[role]) for role in ("title", "description", "category", "city")
    )
    for title, description, category, city in zip(*columns, strict=True):
        if isinstance(title, bytes) or isinstance(description, bytes):
            continue
        text = cleaner.clean(ad_text(title, description))
        if not text:
            continue
        texts.append(text)
        numbers.append(index[category])
        if traits:
            cities.append(city if isinstance(city, str) else None)
            for name, value in ad_traits(title, description, text).items():
                slices.setdefault(name, []).append(value)
    if any(cities):
        slices["city"] = city_slices(cities)
    return LabelledAds(texts, np.array(numbers, dtype=np.int64), slices)


def clean_subcategories(
    table: pa.Table, cleaner: TextCleaner, labels: list[str]
) -> tuple[LabelledAds, list[tuple[str, str]]]:
    """Clean the ads with text and sub-category; number the (category, sub-category) pairs.

    Ads without a sub-category (null, blank, `nan`, not UTF-8) are dropped. Every category is one of
    the labels, as for `clean_labelled`.
    """
    index = label_index(labels)
    rewriter = Rewriter()
    categories = table["category"].to_pylist()
    values = zip(categories, decoded(table["subcategory"]), strict=True)
    numbers: dict[tuple[str, str], int] = {}
    kept, pairs = [], []
    for row, (category, subcategory) in enumerate(values):
        name = rewriter.normal(subcategory) if isinstance(subcategory, str) else ""
        if is_missing(name):
            continue
        kept.append(row)
        pair = (labels[index[category]], name)
        pairs.append(str(numbers.setdefault(pair, len(numbers))))
    rewriter.report()
    chosen = table.take(pa.array(kept, pa.int64()))
    chosen = chosen.set_column(
        chosen.schema.names.index("category"), "category", pa.array(pairs, pa.string())
    )
    return clean_labelled(
        chosen, cleaner, [str(number) for number in range(len(numbers))]
    ), list(numbers)
