"""Some ads of a night with their best classes: those whose ids have the lowest hashes.

So it is the same in every start, whatever the shards are, and two nights keep the same ads as far
as both have them. A receipt has those of its shard; samples of shards merge into that of the run.
Ads without text, and ads that are flagged OOD, are not in it. It holds no text and no id.
"""

import math
from collections.abc import Iterable
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, model_validator

from rubert_ood.runs.record import Count, Record

ADS = 4_000
"""Of a run: a share among them is known to 1.6 points."""
SURPLUS = 1.25
"""What shards keep over that, since how many ids fall below a limit is chance."""
KEY_BITS, TEXT_BITS = 48, 32
"""Of the hashes: two ads in 10 million share a key once in six nights."""
DIGITS = 6


class NightSample(Record):
    """The best classes of some ads."""

    key: list[Count] = Field([])
    """Hash of each ad id."""
    text: list[Count] = Field([])
    """Hash of each text: ads of one text tell the same."""
    names: list[str] = Field([])
    """Classes that occur."""
    best: list[list[Count]] = Field([])
    """Of each ad, by their numbers in `names`."""
    p: list[list[float]] = Field([])
    """Their probabilities."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        lengths = {len(self.key), len(self.text), len(self.best), len(self.p)}
        if len(lengths) > 1:
            raise ValueError("the columns of the sample have different lengths")
        for best, p in zip(self.best, self.p, strict=True):
            if len(best) != len(p) or max(best, default=0) >= max(len(self.names), 1):
                raise ValueError("the classes of the sample do not fit their names")
        return self


def sample_limit(num_ads: int) -> int:
    """Return the key below which the shards of a run of so many ads keep an ad."""
    return math.floor(min(SURPLUS * ADS / max(num_ads, 1), 1.0) * 2**KEY_BITS)


def night_sample(part: pa.Table, limit: int) -> NightSample:
    """Return the ads of a part whose key lies below a limit."""
    in_domain = pc.and_(pc.is_valid(part["confidence"]), pc.invert(part["is_ood"]))
    part = part.filter(in_domain)
    key_N = _hashes(part["ad_id"], KEY_BITS)
    below = np.flatnonzero(key_N < np.uint64(limit))
    order = below[np.argsort(key_N[below], kind="stable")]
    rows = order[: _most(part.num_rows, limit)]  # one id may stand there a thousand times
    chosen = part.select(["text_key", "topk_labels", "topk_scores"]).take(pa.array(rows))
    labels = chosen["topk_labels"].to_pylist()
    names = sorted({name for best in labels for name in best})
    number_of = {name: number for number, name in enumerate(names)}
    return NightSample(
        key=key_N[rows].tolist(),
        text=_hashes(chosen["text_key"], TEXT_BITS).tolist(),
        names=names,
        best=[[number_of[name] for name in best] for best in labels],
        p=[_rounded(scores) for scores in chosen["topk_scores"].to_pylist()],
    )


def _most(num_rows: int, limit: int) -> int:
    """Return how many ads a shard keeps at most: twice as many as are expected, and some."""
    return min(ADS, 50 + math.ceil(2 * num_rows * limit / 2**KEY_BITS))


def _rounded(scores: list[float]) -> list[float]:
    return [round(score, DIGITS) for score in scores]


def _hashes(values: pa.ChunkedArray, num_bits: int) -> NDArray[np.uint64]:
    texts_N = np.asarray(values.to_pylist(), object)
    if not len(texts_N):
        return np.zeros(0, np.uint64)
    hashes_N = pd.util.hash_array(texts_N, categorize=False)
    return np.asarray(hashes_N >> np.uint64(64 - num_bits))


def merged(samples: Iterable[NightSample | None]) -> NightSample | None:
    """Merge samples of shards, in the order of the plan, into that of the run: the lowest keys.

    None where a shard has none.
    """
    number_of = dict[str, int]()
    keys, texts, bests, scores = list[int](), list[int](), [], []
    for sample in samples:
        if sample is None:
            return None
        numbers = [number_of.setdefault(name, len(number_of)) for name in sample.names]
        keys += sample.key
        texts += sample.text
        scores += sample.p
        bests += [[numbers[number] for number in best] for best in sample.best]
    rows = np.argsort(np.array(keys, np.uint64), kind="stable")[:ADS]
    return NightSample(
        key=[keys[row] for row in rows],
        text=[texts[row] for row in rows],
        names=list(number_of),
        best=[bests[row] for row in rows],
        p=[scores[row] for row in rows],
    )
