"""How long a run will take: some ads of the input itself are scored on this machine."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from rubert_ood.bundle import Bundle
from rubert_ood.classifier.tokens import num_tokens
from rubert_ood.classifier.windows import Windows
from rubert_ood.errors import InputError
from rubert_ood.predictor import Model
from rubert_ood.progress import StepLog
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.scoring.encode import encode_rows

log = StepLog("estimate")

PIECE_ROWS = 128
"""Ads that are read at a time: some seconds of a BERT-base on two cores."""


@dataclass(frozen=True)
class Estimate:
    """Speed of scoring on this machine."""

    num_ads: int
    """Ads that were scored for it."""
    ads_per_s: float
    tokens_per_ad: float
    """Tokens that the network reads; overlaps of windows count twice."""


@dataclass
class _Measured:
    num_ads: int = 0
    num_tokens: int = 0
    seconds: float = 0.0


def estimate(plan: Plan, bundle: Bundle, *, for_s: float) -> Estimate | None:
    """Score ads from all over the input for about so many seconds; nothing is written. None if none
    can be scored.

    What Ray does side by side on the cores of a node is done one after the other here, on all of
    them. Loading does not count.
    """
    model = Model(bundle, use_gpu=plan.use_gpu, token_budget=plan.token_budget)
    sums = _Measured()
    for piece in _pieces(plan.shards):
        try:
            if not sums.num_ads:
                _score(piece, model)  # what is loaded once is loaded now
            measured = _score(piece, model)
        except InputError as error:
            log.warning("%s", error)
            continue
        sums.num_ads += measured.num_ads
        sums.num_tokens += measured.num_tokens
        sums.seconds += measured.seconds
        if sums.seconds >= for_s:
            break
    if not sums.num_ads:
        return None
    return Estimate(
        sums.num_ads, sums.num_ads / sums.seconds, sums.num_tokens / sums.num_ads
    )


def _score(piece: Shard, model: Model) -> _Measured:
    started = time.perf_counter()
    encoded = encode_rows(piece.uri, piece, model, carry=pa.schema([]))
    model.score(encoded.texts)
    seconds = time.perf_counter() - started
    tokens = num_tokens(Windows.of(encoded.texts).ids)
    return _Measured(encoded.rows.num_rows, int(tokens.sum()), seconds)


def _pieces(shards: list[Shard]) -> Iterator[Shard]:
    """Yield one piece of every shard, in random order, then the next piece of every shard."""
    order = np.random.default_rng(0).permutation(len(shards))
    for offset in itertools.count(0, PIECE_ROWS):
        longer = [shards[n] for n in order if offset < shards[n].num_rows]
        if not longer:
            return
        for shard in longer:
            start = shard.start + offset
            yield replace(shard, start=start, stop=min(shard.stop, start + PIECE_ROWS))
