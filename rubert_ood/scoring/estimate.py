"""How long a run will take: a short calibration on ads of the input itself, on this machine."""

import itertools
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from rubert_ood.bundle import Bundle
from rubert_ood.classifier import windows
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.tokens import num_tokens
from rubert_ood.errors import InputError
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.scoring.encode import encode_rows

log = logging.getLogger(__name__)

PIECE_ROWS = 128
"""Ads that are read at a time: some seconds of a BERT-base on two cores."""


@dataclass(frozen=True)
class Estimate:
    num_ads: int
    """Ads that were scored for it."""
    ads_per_s: float
    tokens_per_ad: float
    """Tokens that the network reads; overlaps of windows count twice."""


def calibrate(plan: Plan, bundle: Bundle, *, for_s: float) -> Estimate | None:
    """Score ads from all over the input for about so many seconds; nothing is written. None if none
    can be scored.

    What Ray does side by side on the cores of a node is done one after the other here, on all of
    them. Loading does not count.
    """
    classifier = Classifier.load(bundle.folder, use_gpu=plan.use_gpu, precision=plan.precision)

    def score(shard: Shard, start: int) -> tuple[int, int]:
        """Score one piece; return its ads and tokens."""
        stop = min(shard.stop, start + PIECE_ROWS)
        piece = replace(shard, start=start, stop=stop)
        encoded = encode_rows(shard.uri, piece, bundle, carry=pa.schema([]))
        read = windows.Windows.of(encoded.texts)
        bundle.fitted.decide(*windows.run(classifier, read, token_budget=plan.token_budget))
        return encoded.rows.num_rows, int(num_tokens(read.ids).sum())

    num_ads = tokens = 0
    seconds = 0.0
    for shard, start in _pieces(plan.shards):
        try:
            if not num_ads:
                score(shard, start)  # what is loaded once is loaded now
            started = time.perf_counter()
            counts = score(shard, start)
        except InputError as error:
            log.warning("estimate  %s", error)
            continue
        seconds += time.perf_counter() - started
        num_ads, tokens = num_ads + counts[0], tokens + counts[1]
        if seconds >= for_s:
            break
    return Estimate(num_ads, num_ads / seconds, tokens / num_ads) if num_ads else None


def _pieces(shards: list[Shard]) -> Iterator[tuple[Shard, int]]:
    """Yield shard and first row: one piece of every shard, in random order, then the next piece of
    every shard."""
    order = np.random.default_rng(0).permutation(len(shards))
    for offset in itertools.count(0, PIECE_ROWS):
        pieces = [
            (shards[n], shards[n].start + offset) for n in order if offset < shards[n].num_rows
        ]
        if not pieces:
            return
        yield from pieces
