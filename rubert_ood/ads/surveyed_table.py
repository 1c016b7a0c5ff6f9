"""All labelled tables of a training, surveyed: what the driver knows of each of their rows.

Shapes: N rows of all shards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from rubert_ood.ads.absent import warn_of_absent
from rubert_ood.ads.labelled_table import LabelledShard, cut, whole_file
from rubert_ood.ads.labels import Rewriter, label_index
from rubert_ood.ads.sources import list_tables
from rubert_ood.ads.survey import NO_CITY, Survey, Surveyed, survey_shard
from rubert_ood.ads.workers import Workers
from rubert_ood.errors import InputError
from rubert_ood.settings import TrainSettings


@dataclass(frozen=True)
class SurveyedTable:
    """Shards in the order of their files; rows of a later one follow those before it."""

    shards: list[LabelledShard] = field(default_factory=list)
    surveyed: list[Surveyed] = field(default_factory=list)
    num_rows: list[int] = field(default_factory=list)
    """Of each URI that was given."""

    def labels(self) -> list[str]:
        """Return the labels of the first URI, which names those of all, sorted."""
        labels, num_seen = set[str](), 0
        for part in self.surveyed:
            if num_seen < self.num_rows[0]:
                labels |= {*part.labels}
            num_seen += len(part)
        return sorted(labels)

    def codes(self, labels: Sequence[str]) -> np.ndarray:
        """Number the class of each row: int32 (N,)."""
        index = label_index(labels)
        codes = []
        for part in self.surveyed:
            numbers = np.array([index[label] for label in part.labels], dtype=np.int32)
            codes.append(numbers[part.codes_n])
        return np.concatenate(codes)

    def shares(self) -> np.ndarray:
        """Return the hash of each row, in [0, 1): float64 (N,)."""
        return np.concatenate([part.shares_n for part in self.surveyed])

    def slices(self) -> list[slice]:
        """Return where the rows of each shard lie."""
        found, start = [], 0
        for part in self.surveyed:
            found.append(slice(start, start + len(part)))
            start += len(part)
        return found

    def cities(self, chosen_N: np.ndarray) -> set[str]:
        """Collect the cities of some rows, bool (N,)."""
        cities = set[str]()
        for part, there in zip(self.surveyed, self.slices(), strict=True):
            if not part.cities:
                continue
            codes = np.unique(part.city_codes_n[chosen_N[there]])
            cities.update(part.cities[code] for code in codes if code != NO_CITY)
        return cities

    @property
    def has_ids(self) -> bool:
        """Whether every file has the id of its ads."""
        return all("ad_id" in shard.columns for shard in self.shards)


def survey_tables(settings: TrainSettings, workers: Workers) -> SurveyedTable:
    """List the files that a training names, cut them, and ask each row for what the split needs.

    Raises SchemaError or InputError that names file, column or row.
    """
    table = SurveyedTable()
    for uri in _uris(settings):
        look = partial(whole_file, columns=settings.columns)
        files = list(workers.map(look, list_tables(uri)))
        num_rows = sum(map(len, files))
        if num_rows == 0:
            raise InputError(
                f"{uri}: the table has no rows. Use a table with labelled ads"
            )
        shards = list(cut(files))
        wanted = _wanted(settings, table, num_rows)
        columns = [file.columns for file in files]
        roles = ("title", "city") if wanted.cities else ("title",)
        warn_of_absent(columns, settings.columns, roles=roles)
        found = list(workers.map(partial(survey_shard, wanted=wanted), shards))
        rewriter = Rewriter()
        for part in found:
            rewriter.add(part.rewriter)
        rewriter.report()
        table.shards.extend(shards)
        table.surveyed.extend(found)
        table.num_rows.append(num_rows)
    return table


def _uris(settings: TrainSettings) -> list[str]:
    """Name the tables, in the order of the splits where they are given apart."""
    given = (
        settings.input_uri,
        settings.train_uri,
        settings.valid_uri,
        settings.test_uri,
        settings.calibration_uri,
    )
    return [uri for uri in given if uri]


def _wanted(
    settings: TrainSettings,
    before: SurveyedTable,
    num_rows: int,
) -> Survey:
    """Say what is asked of a URI: train, the first one, names cities and labels."""
    is_first = not before.num_rows
    split = settings.split
    is_hashed = settings.input_uri is not None and num_rows > split.max_stratified_rows
    return Survey(
        known=() if is_first else tuple(before.labels()),
        cities=is_first and settings.cleaner.remove_cities,
        hash_seed=split.seed if is_hashed else None,
    )
