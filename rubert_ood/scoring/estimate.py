"""How long a run will take, and what it will wait for: some ads of the input itself are scored on
this machine."""

import itertools
import math
import os
import time
import zlib
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
from rubert_ood.reuse.index import Index, open_index
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.scoring.encode import encode_rows

log = StepLog("estimate")

PIECE_ROWS = {True: 4_096, False: 128}
"""By use_gpu: ads that are read at a time. A GPU wants full batches; for a BERT-base on two cores
they are some seconds."""


@dataclass(frozen=True)
class Estimate:
    """Speed of scoring on this machine: of one GPU, or of all cores."""

    num_ads: int
    """Ads that were scored for it."""
    tokens_per_ad: float
    """Tokens that the network reads; overlaps of windows count twice."""
    encode_core_s: float
    """Seconds of one core to read, clean and tokenize an ad."""
    network_s: float
    """Seconds of the GPU, or of all cores, for the network and the decision on an ad."""
    cores: int
    """Cores that encode: without a GPU all, with one its share but one for its actor."""
    use_gpu: bool
    reused_share: float = 0.0
    """Different texts that are in the index of the run which is reused."""
    checked_share: float = 0.0
    """Share of these that are scored all the same."""

    @property
    def encode_s(self) -> float:
        """Seconds that encoding an ad takes on all of `cores`."""
        return self.encode_core_s / self.cores

    @property
    def ads_per_s(self) -> float:
        """Rate of the whole: a GPU computes while cores encode, on CPU both need the cores."""
        if self.use_gpu:
            return 1 / max(self.encode_s, self.network_s)
        return 1 / (self.encode_s + self.network_s)

    @property
    def ads_per_s_with_reuse(self) -> float:
        """Rate where the network is not asked for texts that are found; encoding counts whole."""
        saved = self.reused_share * (1 - self.checked_share)
        network_s = self.network_s * (1 - saved)
        return replace(self, network_s=network_s, reused_share=0.0).ads_per_s

    @property
    def wanted_cores(self) -> int:
        """Cores that encode as fast as the network computes."""
        return max(1, math.ceil(self.encode_core_s / self.network_s))

    @property
    def bottleneck(self) -> str:
        """Say which of the two takes longer."""
        return "encoding" if self.encode_s > self.network_s else "the network"


@dataclass
class _Measured:
    num_ads: int = 0
    num_tokens: int = 0
    num_texts: int = 0
    num_found: int = 0
    encode_core_s: float = 0.0
    network_s: float = 0.0
    seconds: float = 0.0

    def add(self, other: "_Measured") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def estimate(plan: Plan, bundle: Bundle, *, for_s: float) -> Estimate | None:
    """Score ads from all over the input for about so many seconds; nothing is written. None if none
    can be scored.

    What Ray does side by side is done one after the other here. Loading does not count.
    """
    model = Model(bundle, use_gpu=plan.use_gpu, token_budget=plan.token_budget)
    index = open_index(plan.reuse) if plan.reuse else None
    sums = _Measured()
    for piece in _pieces(plan.shards, PIECE_ROWS[plan.use_gpu]):
        try:
            if not sums.num_ads:
                _score(piece, model, index)  # what is loaded once is loaded now
            measured = _score(piece, model, index)
        except InputError as error:
            log.warning("%s", error)
            continue
        sums.add(measured)
        if sums.seconds >= for_s:
            break
    if not sums.num_ads:
        return None
    num_ads = sums.num_ads
    return Estimate(
        num_ads,
        sums.num_tokens / num_ads,
        sums.encode_core_s / num_ads,
        sums.network_s / num_ads,
        _encoding_cores(plan.use_gpu),
        plan.use_gpu,
        sums.num_found / max(sums.num_texts, 1),
        plan.reuse.check_fraction if plan.reuse else 0.0,
    )


def _encoding_cores(use_gpu: bool) -> int:
    num_cores = len(os.sched_getaffinity(0))
    if not use_gpu:
        return num_cores
    import torch

    return max(1, num_cores // max(1, torch.cuda.device_count()) - 1)


def _score(piece: Shard, model: Model, index: Index | None) -> _Measured:
    started, core_s = time.perf_counter(), time.process_time()
    encoded = encode_rows(piece.uri, piece, model, carry=pa.schema([]))
    core_s = time.process_time() - core_s  # of all threads of the tokenizer
    encoded_at = time.perf_counter()
    model.score(encoded.texts)
    ended = time.perf_counter()
    tokens = int(num_tokens(Windows.of(encoded.texts).ids).sum())
    keys = encoded.texts["text_key"].to_pylist()
    return _Measured(
        num_ads=encoded.rows.num_rows,
        num_tokens=tokens,
        num_texts=len(keys),
        num_found=_num_found(index, keys),
        encode_core_s=core_s,
        network_s=ended - encoded_at,
        seconds=ended - started,
    )


def _num_found(index: Index | None, keys: list[str]) -> int:
    try:
        return len(index.find(keys)[0]) if index else 0
    except InputError as error:
        log.warning(
            "estimates without reuse, because the index cannot be read: %s", error
        )
        return 0


def _pieces(shards: list[Shard], rows: int) -> Iterator[Shard]:
    """Yield one piece of every shard, in random order, then another piece of every shard."""
    order = np.random.default_rng(0).permutation(len(shards))
    for turn in itertools.count():
        longer = [shards[n] for n in order if turn * rows < shards[n].num_rows]
        if not longer:
            return
        for shard in longer:
            yield _piece(shard, rows, turn)


def _piece(shard: Shard, rows: int, turn: int) -> Shard:
    """Return a piece of a shard, another one in each turn, in random order: the beginning of files
    tells little, since new ads often stand at the end."""
    num_pieces = math.ceil(shard.num_rows / rows)
    random = np.random.default_rng(zlib.crc32(shard.shard_id.encode()))
    start = shard.start + rows * int(random.permutation(num_pieces)[turn])
    return replace(shard, start=start, stop=min(shard.stop, start + rows))
