"""What a manifest must hold, for whoever reads it again; `make_manifest` says what it means."""

from typing import Any, Literal

from pydantic import Field

from rubert_ood.ads.sources import Ignored
from rubert_ood.runs.receipts import Cities, FarAd
from rubert_ood.runs.record import (
    Count,
    Day,
    Moment,
    Record,
    RelativePath,
)


class Bundle(Record):
    fingerprint: str
    uri: str = ""
    version: str = ""


class Check(Record):
    check: str
    value: float
    limit: float
    ok: bool


class Counts(Record):
    """What the gate and the reports need; more may stand there."""

    rows_planned: Count
    rows_scored: Count
    rows_rejected: Count
    rows_quarantined: Count
    rows_ood: Count
    rows_other: Count
    bytes_in: Count
    bytes_quarantined: Count
    rows_in: Count = 0
    rows_empty: Count = 0
    rows_cut: Count = 0
    unique_texts: Count = 0
    tokens: Count = 0
    unique_tokens: Count = 0


class PartOfShard(Record):
    """What is repeated of a receipt; more stands there."""

    shard_id: str
    part_sha256: str


class Duplicates(Record):
    ids: Count
    rows: Count
    examples: list[dict[str, Any]] = Field([])


class Manifest(Record):
    """What a manifest must hold; `make_manifest` says what it means."""

    run_id: str
    run_date: Day
    outcome: Literal[
        "running", "partial", "interrupted", "complete", "refused", "published", "rolled_back"
    ]
    started_at: Moment
    finished_at: Moment
    elapsed_s: float
    rows_per_s: float
    bundle: Bundle
    counts: Counts
    classes: dict[str, Count]
    duplicates: Duplicates | None
    gate: list[Check]
    rejected_reasons: dict[str, Count] = Field({})
    quarantined: list[dict[str, Any]] = Field([])
    quarantined_shards: list[dict[str, Any]] = Field([])
    empty_files: list[str] = Field([])
    ignored: Ignored | None = None
    confidence_histogram: list[Count] = Field([])
    token_histogram: list[Count] | None = None
    scorer_idle_share: float = 0.0
    padding_share: float = 0.0
    cities: Cities | None = None
    top_ood: list[FarAd] | None = None
    shards: list[PartOfShard] = Field([])
    pointers: list[RelativePath] = Field([])
    rollback_reason: str = ""
    refusal_reason: str = ""
