"""What a manifest says of its shards without a list of them: digests, the slowest, the speed, the
files with most rejected rows."""

import hashlib
import heapq
import json
from collections.abc import Iterable
from datetime import datetime

import numpy as np
from pydantic import Field, TypeAdapter

from rubert_ood.runs.plan import ShardId
from rubert_ood.runs.receipts import Receipt
from rubert_ood.runs.record import Count, Moment, Record

SLOWEST_SHARDS = 10
REJECTING_FILES = 10
SHARDS_PER_STRETCH = 5
"""Shards that end in one stretch of the speed figure, about: fewer, and the bars show chance."""
MAX_STRETCHES = 60
DIGESTED = (
    "shard_id",
    "part_sha256",
    "uri",
    "start",
    "stop",
    "rows_in",
    "rows_scored",
    "rows_rejected",
    "ids_in",
    "ids_out",
    "ids_rejected",
    "classes",
)
"""What two starts that write the same receipt agree on: not its times. Manifests that are written
have digests of just these."""


class ScoredShard(Record):
    """What manifests of formats 1 and 2 repeat of each receipt."""

    shard_id: ShardId
    part_sha256: str
    uri: str = ""
    start: Count = 0
    stop: Count = 0
    rows_in: Count = 0
    rows_scored: Count = 0
    rows_rejected: Count = 0
    ids_in: Count = 0
    ids_out: Count = 0
    ids_rejected: Count = 0
    classes: dict[str, Count] = Field({})
    seconds: float = 0.0
    finished_at: Moment = "1970-01-01T00:00:00+00:00"


SCORED_SHARDS = TypeAdapter(list[ScoredShard])


class SlowShard(Record):
    """A shard, and how long it took."""

    shard_id: ShardId
    uri: str
    rows_in: Count
    seconds: float


class RejectingFile(Record):
    """An input file, with its rows and those that were rejected."""

    uri: str
    rejected: Count = 0
    rows: Count = 0


class Speed(Record):
    """Ads per second, by when shards ended."""

    edges_s: list[float]
    """Of the stretches of time, in seconds since the first shard began: one more than rates."""
    ads_per_s: list[float]


class ShardSums(Record):
    """What stands in a manifest."""

    parts_sha256: str = ""
    """Digest of shards and parts: what tells the content of two runs apart."""
    shards_sha256: str = ""
    """Digest of what is counted of each shard."""
    slowest: list[SlowShard] = Field([])
    rejecting: list[RejectingFile] = Field([])
    """The files with most rejected rows."""
    speed: Speed | None = None
    """None where no shard was scored."""


class ShardTally:
    """Adds shards up in the order of the plan; of each it keeps its times and rows."""

    def __init__(self) -> None:
        self._parts, self._shards = hashlib.sha256(), hashlib.sha256()
        self._slowest: list[tuple[float, int, SlowShard]] = []
        self._files: dict[str, tuple[int, int]] = {}
        self._ended: list[float] = []
        self._seconds: list[float] = []
        self._rows: list[int] = []

    def add(self, shard: Receipt | ScoredShard) -> None:
        """Count one shard."""
        self._parts.update(_line(shard, DIGESTED[:2]))
        self._shards.update(_line(shard, DIGESTED))
        rejected, rows = self._files.get(shard.uri, (0, 0))
        self._files[shard.uri] = (rejected + shard.rows_rejected, rows + shard.rows_in)
        self._add_slow(shard)
        self._ended.append(datetime.fromisoformat(shard.finished_at).timestamp())
        self._seconds.append(shard.seconds)
        self._rows.append(shard.rows_in)

    def _add_slow(self, shard: Receipt | ScoredShard) -> None:
        """Keep the slowest ones; of equal ones the first."""
        key = (shard.seconds, -len(self._rows))
        if len(self._slowest) == SLOWEST_SHARDS and key < self._slowest[0][:2]:
            return
        names = SlowShard.model_fields
        slow = SlowShard(**{name: getattr(shard, name) for name in names})
        heapq.heappush(self._slowest, (*key, slow))
        if len(self._slowest) > SLOWEST_SHARDS:
            heapq.heappop(self._slowest)

    def rows_since(self, started_at: str) -> int:
        """Return the rows of the shards that ended at an ISO time or later."""
        started = datetime.fromisoformat(started_at).timestamp()
        return int(np.sum(self._rows, where=np.array(self._ended) >= started))

    def sums(self) -> ShardSums:
        """Return what was added up."""
        if not self._rows:
            return ShardSums()
        return ShardSums(
            parts_sha256=self._parts.hexdigest(),
            shards_sha256=self._shards.hexdigest(),
            slowest=[shard for *_, shard in sorted(self._slowest, reverse=True)],
            rejecting=self._rejecting(),
            speed=self._speed(),
        )

    def _rejecting(self) -> list[RejectingFile]:
        files = []
        for uri, (rejected, rows) in self._files.items():
            if rejected:
                files.append((-rejected, uri, rows))
        worst = heapq.nsmallest(REJECTING_FILES, files)
        return [RejectingFile(uri=uri, rejected=-less, rows=n) for less, uri, n in worst]

    def _speed(self) -> Speed:
        ended, seconds = np.array(self._ended), np.array(self._seconds)
        ended_s = ended - (ended - seconds).min()
        num_stretches = min(max(len(ended) // SHARDS_PER_STRETCH, 1), MAX_STRETCHES)
        edges_s = np.linspace(0.0, max(ended_s.max(), 1e-3), num_stretches + 1)
        ads, _ = np.histogram(ended_s, edges_s, weights=self._rows)
        rates = ads / np.diff(edges_s)
        return Speed(edges_s=edges_s.tolist(), ads_per_s=rates.tolist())


def sum_shards(shards: Iterable[Receipt | ScoredShard]) -> ShardSums:
    """Add up some shards."""
    tally = ShardTally()
    for shard in shards:
        tally.add(shard)
    return tally.sums()


def _line(shard: Receipt | ScoredShard, names: Iterable[str]) -> bytes:
    """Write fields of a shard as one line of JSON, for a digest."""
    values = [getattr(shard, name) for name in names]
    return json.dumps(values, sort_keys=True, ensure_ascii=False).encode() + b"\n"
