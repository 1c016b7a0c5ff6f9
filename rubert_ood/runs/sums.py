"""The receipts of a run added up."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import Field

from rubert_ood.ood.decision import OTHER
from rubert_ood.runs.part import DIGEST_MODULUS
from rubert_ood.runs.part_counts import CONFIDENCE_BINS
from rubert_ood.runs.plan import Plan, ShardId
from rubert_ood.runs.profile import Cities, FarAd, ShardProfile, merge_profiles
from rubert_ood.runs.receipts import QuarantinedShard, Receipt
from rubert_ood.runs.record import Count, Moment, Record


class Counts(Record):
    """Rows of all shards, and bytes of all input files."""

    rows_planned: Count
    rows_scored: Count
    rows_rejected: Count
    rows_quarantined: Count
    """Of quarantined shards."""
    rows_ood: Count
    rows_other: Count
    bytes_in: Count
    bytes_quarantined: Count
    """Of quarantined files."""
    rows_in: Count = 0
    rows_empty: Count = 0
    rows_cut: Count = 0
    unique_texts: Count = 0
    tokens: Count = 0
    unique_tokens: Count = 0
    rows_reused: Count = 0
    """Rows whose result another run computed."""
    texts_scored: Count = 0
    texts_reused: Count = 0
    texts_checked: Count = 0
    """Different texts of each shard by where their results come from, as receipts have them."""
    shards_without_index: Count = 0
    """Shards that found no index to take results from, though the plan names one."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        receipts: Sequence[Receipt],
        quarantined: Sequence[QuarantinedShard],
    ) -> "Counts":
        """Count rows by the receipts, bytes by the plan."""
        return cls(
            rows_planned=plan.num_rows,
            rows_scored=sum(receipt.rows_scored for receipt in receipts),
            rows_rejected=sum(receipt.rows_rejected for receipt in receipts),
            rows_quarantined=sum(shard.rows_in for shard in quarantined),
            rows_ood=sum(receipt.rows_ood for receipt in receipts),
            rows_other=sum(receipt.classes.get(OTHER, 0) for receipt in receipts),
            bytes_in=plan.input_bytes,
            bytes_quarantined=sum(file.size for file in plan.quarantined),
            rows_in=sum(receipt.rows_in for receipt in receipts),
            rows_empty=sum(receipt.rows_empty for receipt in receipts),
            rows_cut=sum(receipt.rows_cut for receipt in receipts),
            unique_texts=sum(receipt.unique_texts for receipt in receipts),
            tokens=sum(receipt.tokens for receipt in receipts),
            unique_tokens=sum(receipt.unique_tokens for receipt in receipts),
            rows_reused=sum(_rows_reused(receipt, plan.run_id) for receipt in receipts),
            texts_scored=sum(receipt.reuse.texts_scored for receipt in receipts),
            texts_reused=sum(receipt.reuse.texts_reused for receipt in receipts),
            texts_checked=sum(receipt.reuse.texts_checked for receipt in receipts),
            shards_without_index=sum(r.reuse.without_index for r in receipts),
        )


class ScoredShard(Record):
    """What the manifest repeats of a receipt."""

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
    scorer_busy_s: float = 0.0
    scorer_idle_s: float = 0.0
    finished_at: Moment = "1970-01-01T00:00:00+00:00"

    @classmethod
    def of(cls, receipt: Receipt) -> "ScoredShard":
        """Take it from a receipt."""
        return cls(**{name: getattr(receipt, name) for name in cls.model_fields})


class Sums(Record):
    """What the receipts of a run add up to."""

    counts: Counts
    ids_in: Count = 0
    ids_out: Count = 0
    ids_rejected: Count = 0
    """Digests, as receipts have them."""
    classes: dict[str, Count]
    """Ads by label, most frequent first."""
    rejected_reasons: dict[str, Count] = Field({})
    quarantined_shards: list[QuarantinedShard] = Field([])
    confidence_histogram: list[Count] = Field([])
    token_histogram: list[Count] | None = None
    scorer_idle_share: float = 0.0
    padding_share: float | None = None
    """Padding in what the network computed; None where it was not counted."""
    cities: Cities | None = None
    top_ood: list[FarAd] | None = None
    shards: list[ScoredShard] = Field([])

    @classmethod
    def add_up(
        cls,
        plan: Plan,
        receipts: Mapping[str, Receipt],
        quarantined: Mapping[str, QuarantinedShard],
    ) -> "Sums":
        """Add up in the order of the plan; a receipt annuls the quarantine of its shard."""
        failed = [
            quarantined[name] for name in sorted(quarantined.keys() - receipts.keys())
        ]
        done = [
            receipts[shard.shard_id]
            for shard in plan.shards
            if shard.shard_id in receipts
        ]
        counts = Counts.of(plan, done, failed)
        profile = merge_profiles([receipt.profile for receipt in done])
        return cls(
            counts=counts,
            ids_in=sum(receipt.ids_in for receipt in done) % DIGEST_MODULUS,
            ids_out=sum(receipt.ids_out for receipt in done) % DIGEST_MODULUS,
            ids_rejected=sum(receipt.ids_rejected for receipt in done) % DIGEST_MODULUS,
            classes=_add(receipt.classes for receipt in done),
            rejected_reasons=_add(receipt.rejected_reasons for receipt in done),
            quarantined_shards=failed,
            confidence_histogram=_confidence(done),
            token_histogram=profile.token_histogram or None,
            scorer_idle_share=_idle_share(done),
            padding_share=_padding_share(profile, counts),
            cities=profile.cities,
            top_ood=profile.top_ood or None,
            shards=[ScoredShard.of(receipt) for receipt in done],
        )


def _rows_reused(receipt: Receipt, run_id: str) -> int:
    return sum(receipt.scored_in.values()) - receipt.scored_in.get(run_id, 0)


def _add(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return dict(total.most_common())


def _confidence(receipts: Sequence[Receipt]) -> list[int]:
    if not receipts:
        return [0] * CONFIDENCE_BINS
    return np.sum([receipt.confidence_histogram for receipt in receipts], axis=0).tolist()


def _idle_share(receipts: Sequence[Receipt]) -> float:
    idle_s = sum(receipt.scorer_idle_s for receipt in receipts)
    busy_s = sum(receipt.scorer_busy_s for receipt in receipts)
    return idle_s / max(idle_s + busy_s, 1e-9)


def _padding_share(profile: ShardProfile, counts: Counts) -> float:
    computed = profile.padded_tokens + counts.unique_tokens
    return profile.padded_tokens / max(computed, 1)
