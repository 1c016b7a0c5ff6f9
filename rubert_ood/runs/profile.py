"""What the report says of a shard beside its counts: unseen cities, farthest texts, lengths,
padding."""

import heapq
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from rubert_ood.ads.text import TextCleaner, normalised
from rubert_ood.runs.night_sample import NightSample
from rubert_ood.runs.night_sums import NightSums, add_sums
from rubert_ood.runs.plan import Shard
from rubert_ood.runs.record import Count, Record

MAX_NAMES = 20
"""Unseen names that a receipt, and the manifest, keep."""
NAME_CHARACTERS = 100
ADS_PER_SHARD = 10
ADS_PER_RUN = 20
MAX_IN_MEMORY = 100_000
"""Names of cities, and texts, that are kept while profiles are added up."""
TOKEN_EDGES = (
    0,
    1,
    2,
    3,
    4,
    6,
    8,
    12,
    16,
    24,
    32,
    48,
    64,
    96,
    128,
    192,
    256,
    384,
    512,
    768,
    1024,
)
"""Lower ends of the bins of text length, two to an octave; 0 tokens: the ad has no text."""
COPIED = ("ad_id", "text_key", "confidence", "is_ood", "ood_distance", "ood_z", "ood_p")


class Cities(Record):
    """Ads with a city, and those of cities that training has not seen."""

    rows: Count
    rows_unseen: Count
    unseen: dict[str, Count]
    """The most frequent unseen names, as the cleaner spells them."""


class FarAd(Record):
    """An ad that lies far from every class."""

    ad_id: str
    text_key: str
    label: str
    """The most probable class, whatever the ad is labelled."""
    confidence: float
    is_ood: bool
    ood_distance: float
    ood_z: float
    ood_p: float
    text: str | None
    """The beginning of the cleaned text; None without `report_texts`."""
    uri: str


class ShardProfile(Record):
    """What a report wants to know of a shard, or of several; earlier versions counted less."""

    cities: Cities | None = None
    """None where the input has no such column, or the bundle knows no city."""
    top_ood: list[FarAd] = Field([])
    scored_tokens: Count | None = None
    """Tokens that the network read, those of texts that are scored to check others included."""
    padded_tokens: Count = 0
    """What it computed beside them."""
    token_histogram: list[Count] = Field([], max_length=len(TOKEN_EDGES))
    """Ads by length, in the bins of TOKEN_EDGES; empty where they were not counted."""
    night: NightSums | None = None
    """None where it was not counted."""
    sample: NightSample | None = None
    """Of a shard: what it adds to the sample of the night; None where it kept none."""


class CityCounter:
    """Counts the ads of one shard by their city."""

    def __init__(self, cleaner: TextCleaner) -> None:
        """Take the cities that the cleaner knows for those seen in training."""
        self._seen = set(cleaner.cities)
        self._rows = 0
        self._unseen = Counter[str]()

    def add(self, city: str | bytes | None) -> None:
        """Count one ad; a name that is missing, blank or not UTF-8 (bytes) does not count."""
        name = normalised(city) if isinstance(city, str) else ""
        if not name:
            return
        self._rows += 1
        if name not in self._seen:
            self._unseen[name[:NAME_CHARACTERS]] += 1

    def counts(self) -> Cities:
        """Return what was counted so far."""
        return Cities(
            rows=self._rows,
            rows_unseen=self._unseen.total(),
            unseen=_most_frequent(self._unseen),
        )


def token_histogram(num_tokens_N: np.ndarray) -> list[int]:
    """Count ads by length: TOKEN_EDGES[i] <= tokens < TOKEN_EDGES[i + 1], the last bin has no
    end."""
    bins_N = np.searchsorted(TOKEN_EDGES, num_tokens_N, side="right") - 1
    return np.bincount(bins_N, minlength=len(TOKEN_EDGES)).tolist()


def top_ood(shard: Shard, part: pa.Table, texts: pa.Table) -> list[FarAd]:
    """Describe the farthest ads of a part: flagged ones first, of equal texts the first ad.

    `texts` has text_key, and excerpt unless texts may not be kept.
    """
    part = part.filter(pc.is_valid(part["ood_distance"]))  # an ad without text has none
    _, first_N = np.unique(part["text_key"].to_numpy(), return_index=True)
    order_N = _farthest_first(
        part.select(["text_key", "is_ood", "ood_distance"]).take(first_N)
    )
    rows = part.select([*COPIED, "topk_labels"]).take(first_N[order_N[:ADS_PER_SHARD]])
    excerpts = _excerpts(rows["text_key"], texts)
    return [
        FarAd(
            **{name: row[name] for name in COPIED},
            label=row["topk_labels"][0],
            text=text,
            uri=shard.uri,
        )
        for row, text in zip(rows.to_pylist(), excerpts, strict=True)
    ]


class ProfileTally:
    """Adds the profiles of shards up, in the order of the plan.

    City names that are rare in every shard may be missing. Lengths and tokens are counted only if
    every shard has them.
    """

    def __init__(self) -> None:
        self._cities: Cities | None = None
        self._unseen = Counter[str]()
        self._far = dict[str, FarAd]()
        """The farthest ads so far by their text, and some more."""
        self._padded_tokens = 0
        self._scored_tokens: int | None = 0
        self._lengths = np.zeros(len(TOKEN_EDGES), np.int64)
        self._num_profiles = self._num_counted = self._num_nights = 0
        self._night: NightSums | None = None

    def add(self, profile: ShardProfile) -> None:
        """Add the profile of one shard."""
        self._num_profiles += 1
        self._padded_tokens += profile.padded_tokens
        if self._scored_tokens is None or profile.scored_tokens is None:
            self._scored_tokens = None
        else:
            self._scored_tokens += profile.scored_tokens
        if profile.token_histogram:
            self._num_counted += 1
            self._lengths += profile.token_histogram
        if profile.night is not None:
            self._num_nights += 1
            self._night = add_sums(self._night, profile.night)
        if profile.cities is not None:
            self._add_cities(profile.cities)
        for ad in profile.top_ood:
            self._far.setdefault(ad.text_key, ad)
        if len(self._far) > MAX_IN_MEMORY:
            self._far = {ad.text_key: ad for ad in self._farthest()}

    def _add_cities(self, cities: Cities) -> None:
        older = self._cities or Cities(rows=0, rows_unseen=0, unseen={})
        self._cities = Cities(
            rows=older.rows + cities.rows,
            rows_unseen=older.rows_unseen + cities.rows_unseen,
            unseen={},
        )
        self._unseen.update(cities.unseen)
        if len(self._unseen) > MAX_IN_MEMORY:
            self._unseen = Counter(_most_frequent(self._unseen, MAX_IN_MEMORY // 2))

    def sums(self) -> ShardProfile:
        """Return what was added up."""
        cities = self._cities
        if cities is not None:
            unseen = _most_frequent(self._unseen)
            cities = cities.model_copy(update={"unseen": unseen})
        counted = 0 < self._num_profiles == self._num_counted
        return ShardProfile(
            cities=cities,
            top_ood=self._farthest(),
            scored_tokens=self._scored_tokens,
            padded_tokens=self._padded_tokens,
            token_histogram=self._lengths.tolist() if counted else [],
            night=self._night if self._num_nights == self._num_profiles else None,
        )

    def _farthest(self) -> list[FarAd]:
        """Return the farthest ads; a text that returns counts once."""
        ads = self._far.values()
        return heapq.nsmallest(
            ADS_PER_RUN,
            ads,
            key=lambda ad: (not ad.is_ood, -ad.ood_distance, ad.text_key),
        )


def _farthest_first(texts: pa.Table) -> np.ndarray:
    keys = (
        texts["text_key"].to_numpy(),
        -texts["ood_distance"].to_numpy(),
        ~texts["is_ood"].to_numpy(),
    )
    return np.lexsort(keys)


def _excerpts(keys: pa.ChunkedArray, texts: pa.Table) -> list[str | None]:
    if "excerpt" not in texts.schema.names:
        return [None] * len(keys)
    rows = pc.index_in(keys, value_set=texts["text_key"].combine_chunks())
    return texts["excerpt"].take(rows).to_pylist()


def _most_frequent(counts: Counter[str], num_names: int = MAX_NAMES) -> dict[str, int]:
    return dict(heapq.nsmallest(num_names, counts.items(), key=_most_first))


def _most_first(item: tuple[str, int]) -> tuple[Any, ...]:
    name, count = item
    return -count, name
