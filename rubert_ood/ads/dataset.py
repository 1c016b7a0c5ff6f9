"""The splits of a training: read, split, learn the city names, clean, number the labels.

What looks at every ad runs on `Workers`: with those of a cluster this process sees labels, cities
and row numbers, about 30 bytes an ad, and no text. Shapes: N ads of all splits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from rubert_ood.ads.cleaning import (
    CleanTask,
    clean_labelled,
    clean_shard,
    clean_subcategories,
    warn_of_empty,
)
from rubert_ood.ads.labelled_ads import Ads, LabelledAds
from rubert_ood.ads.labelled_table import read_labelled
from rubert_ood.ads.labels import shown, warn_of_alike
from rubert_ood.ads.schema import decoded
from rubert_ood.ads.splits import SPLITS, hashed_rows, stratified_rows
from rubert_ood.ads.surveyed_table import SurveyedTable, survey_tables
from rubert_ood.ads.text import TextCleaner
from rubert_ood.ads.workers import LocalWorkers, Workers
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.progress import StepLog
from rubert_ood.settings import CleanerSettings, SplitSettings, TrainSettings

__all__ = [
    "Ads",
    "Dataset",
    "LabelledAds",
    "LocalWorkers",
    "Workers",
    "build_cleaner",
    "clean_labelled",
    "clean_subcategories",
    "load_dataset",
    "read_labelled",
    "split",
]

log = StepLog("data")

TRAIN = SPLITS.index("train")
NO_SPLIT = -1


@dataclass(frozen=True)
class Dataset:
    """The splits of one training, and what was learnt from their texts."""

    labels: list[str]
    """The vocabulary, sorted by name."""
    cleaner: TextCleaner
    train: Ads
    valid: Ads
    test: Ads
    calibration: Ads | None = None
    """Rows of their own for T and the thresholds; without them valid serves."""

    def num_test_texts_seen_in_train(self) -> int:
        """Count test ads whose cleaned text train has too: re-posts flatter every figure."""
        keys = self.test.keys()
        return int(np.isin(keys, self.train.seen(np.unique(keys))).sum())


def load_dataset(settings: TrainSettings, workers: Workers | None = None) -> Dataset:
    """Read the labelled ads of a training job, split or given apart.

    Raises SchemaError or InputError that names file, column, class or row.
    """
    workers = workers or LocalWorkers()
    table = survey_tables(settings, workers)
    labels = table.labels()
    if len(labels) < 2:
        raise SchemaError(
            "training needs at least 2 classes, and the ads have"
            f" {len(labels)}: {', '.join(map(shown, labels))}. Add ads of more classes"
        )
    warn_of_alike(labels)
    codes_N = table.codes(labels)
    rows = _rows_of_splits(table, codes_N, settings, workers)
    splits_N, places_N = _places(rows, len(codes_N))
    cleaner = _cleaner(table.cities(splits_N == TRAIN), settings.cleaner)
    tasks = []
    for shard, there in zip(table.shards, table.slices(), strict=True):
        splits, places = splits_N[there], places_N[there]
        tasks.append(CleanTask(shard, splits, places, codes_N[there]))
    ads = workers.make_ads(partial(clean_shard, cleaner=cleaner), tasks)
    warn_of_empty(len(codes_N) - sum(map(len, ads)))
    dataset = Dataset(labels, cleaner, *ads[: len(rows)])
    _check_filled(dataset)
    return dataset


def _rows_of_splits(
    table: SurveyedTable, codes_N: np.ndarray, settings: TrainSettings, workers: Workers
) -> list[np.ndarray]:
    """Return the rows of train, valid, test and, if there is one, calibration, in their order."""
    if settings.input_uri is None:
        ends = np.cumsum(table.num_rows)
        return np.split(np.arange(ends[-1]), ends[:-1])
    given = settings.split
    if len(codes_N) > given.max_stratified_rows:
        hashed = "id" if table.has_ids else "id, or its text in files without ids"
        log.info(
            f"splits {len(codes_N):,} ads by the hash of each {hashed}, seed {given.seed}"
            " (more ads than split.max_stratified_rows)"
        )
        return hashed_rows(table.shares(), given)
    log.info(f"splits each class in the same shares, seed {given.seed}")
    draw = partial(stratified_rows, labels=table.labels(), settings=given)
    return next(iter(workers.map(draw, [codes_N])))


def _places(rows: list[np.ndarray], num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row of the table its split, int8 (N,), and its number, int32 (N,).

    The numbers of a split follow those of the one before it, in its own order.
    """
    splits_N = np.full(num_rows, NO_SPLIT, dtype=np.int8)
    places_N = np.zeros(num_rows, dtype=np.int32)
    start = 0
    for number, chosen in enumerate(rows):
        splits_N[chosen] = number
        places_N[chosen] = np.arange(start, start + len(chosen), dtype=np.int32)
        start += len(chosen)
    return splits_N, places_N


def _check_filled(dataset: Dataset) -> None:
    """Raise SchemaError or InputError when a class of train, or a split, has no ad with text."""
    labels = dataset.labels
    counts = np.bincount(dataset.train.labels_N, minlength=len(labels))
    if counts.min() == 0:
        raise SchemaError(
            f"class {shown(labels[int(counts.argmin())])} has no training ad with"
            " text. Add ads of it, or drop the class"
        )
    for name in SPLITS:
        ads = getattr(dataset, name)
        if ads is not None and not len(ads):
            raise InputError(
                f"no ad of the {name} split has text after cleaning. Add ads to it"
            )


def split(table: pa.Table, settings: SplitSettings) -> list[pa.Table]:
    """Split into train, valid, test, and calibration if asked for; stratified by category, seeded.

    10,000 balanced ads give 7200, 800, 2000.
    """
    labels, codes_N = np.unique(
        np.array(table["category"].to_pylist(), dtype=object), return_inverse=True
    )
    return [table.take(rows) for rows in stratified_rows(codes_N, [*labels], settings)]


def build_cleaner(train: pa.Table, settings: CleanerSettings) -> TextCleaner:
    """Make the cleaner that knows the cities of the training ads."""
    known = decoded(train["city"])
    return _cleaner({city for city in known if isinstance(city, str)}, settings)


def _cleaner(cities: Iterable[str], settings: CleanerSettings) -> TextCleaner:
    return TextCleaner(
        phone_pattern=settings.phone_pattern,
        noise_words=settings.noise_words,
        cities=cities if settings.remove_cities else (),
    )
