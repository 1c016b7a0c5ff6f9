"""The receipts of a run added up."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import Field

from rubert_ood.ood.decision import OTHER
from rubert_ood.runs.night_sums import NightSums, OodFlags, ood_flags
from rubert_ood.runs.part import DIGEST_MODULUS
from rubert_ood.runs.part_counts import CONFIDENCE_BINS
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.profile import Cities, FarAd, ProfileTally
from rubert_ood.runs.receipts import QuarantinedShard, Receipt
from rubert_ood.runs.record import Count, Record
from rubert_ood.runs.shard_sums import ShardSums, ShardTally


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


COUNTED = [name for name in Counts.model_fields if name in Receipt.model_fields]
"""Rows and tokens that a receipt has under the same name."""
REUSE_COUNTED = ("texts_scored", "texts_reused", "texts_checked")
DIGESTS = ("ids_in", "ids_out", "ids_rejected")


class Sums(ShardSums):
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
    night_sums: NightSums | None = None
    """None where a receipt of an older version is among them."""
    ood_flags: OodFlags | None = None
    """None with night_sums."""


class Tally:
    """The receipts of a run, added up one after the other: none of them is kept."""

    def __init__(self, plan: Plan, receipts: Mapping[str, Receipt]) -> None:
        """Add up in the order of the plan."""
        self._plan = plan
        self._numbers = Counter[str]()
        self._classes, self._reasons = Counter[str](), Counter[str]()
        self._confidence_B = np.zeros(CONFIDENCE_BINS, np.int64)
        self._rows_reused = 0
        self._idle_s = self._busy_s = 0.0
        self._profile = ProfileTally()
        self._shards = ShardTally()
        for shard in plan.shards:
            if shard.shard_id in receipts:
                self._add(receipts[shard.shard_id])

    def _add(self, receipt: Receipt) -> None:
        for name in (*COUNTED, *DIGESTS):
            self._numbers[name] += getattr(receipt, name)
        for name in (*REUSE_COUNTED, "without_index"):
            self._numbers[name] += getattr(receipt.reuse, name)
        scored_here = receipt.scored_in.get(self._plan.run_id, 0)
        self._rows_reused += sum(receipt.scored_in.values()) - scored_here
        self._classes.update(receipt.classes)
        self._reasons.update(receipt.rejected_reasons)
        self._confidence_B += receipt.confidence_histogram
        self._idle_s += receipt.scorer_idle_s
        self._busy_s += receipt.scorer_busy_s
        self._profile.add(receipt.profile)
        self._shards.add(receipt)

    def rows_since(self, started_at: str) -> int:
        """Return the rows of the shards that ended at an ISO time or later."""
        return self._shards.rows_since(started_at)

    def sums(self, quarantined: Iterable[QuarantinedShard]) -> Sums:
        """Return what stands in the manifest; `quarantined` are shards without a receipt."""
        failed = sorted(quarantined, key=lambda shard: shard.shard_id)
        counts = self._counts(failed)
        profile = self._profile.sums()
        scored = profile.scored_tokens
        if scored is None:  # before 0.5.0 nothing was taken over
            scored = counts.unique_tokens
        return Sums(
            **dict(self._shards.sums()),
            ids_in=self._digest("ids_in"),
            ids_out=self._digest("ids_out"),
            ids_rejected=self._digest("ids_rejected"),
            counts=counts,
            classes=dict(self._classes.most_common()),
            rejected_reasons=dict(self._reasons.most_common()),
            quarantined_shards=failed,
            confidence_histogram=self._confidence_B.tolist(),
            token_histogram=profile.token_histogram or None,
            scorer_idle_share=self._idle_s / max(self._idle_s + self._busy_s, 1e-9),
            padding_share=profile.padded_tokens / max(scored + profile.padded_tokens, 1),
            cities=profile.cities,
            top_ood=profile.top_ood or None,
            night_sums=profile.night,
            ood_flags=None if profile.night is None else ood_flags(profile.night),
        )

    def _digest(self, name: str) -> int:
        return self._numbers[name] % DIGEST_MODULUS

    def _counts(self, quarantined: Sequence[QuarantinedShard]) -> Counts:
        """Count rows by the receipts, bytes by the plan."""
        plan = self._plan
        return Counts(
            **{name: self._numbers[name] for name in (*COUNTED, *REUSE_COUNTED)},
            rows_planned=plan.num_rows,
            rows_quarantined=sum(shard.rows_in for shard in quarantined),
            rows_other=self._classes[OTHER],
            rows_reused=self._rows_reused,
            shards_without_index=self._numbers["without_index"],
            bytes_in=plan.input_bytes,
            bytes_quarantined=sum(file.size for file in plan.quarantined),
        )
