"""What the driver is told of a scored shard beside that it is done: its metrics add it up."""

from dataclasses import dataclass, fields

from rubert_ood.ood.decision import OTHER
from rubert_ood.runs.receipts import Receipt


@dataclass(frozen=True)
class ShardCounts:
    """Counts of one shard, or of several."""

    rows_scored: int = 0
    rows_rejected: int = 0
    rows_empty: int = 0
    rows_ood: int = 0
    rows_other: int = 0
    rows_reused: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, receipt: Receipt, run_id: str) -> "ShardCounts":
        """Take the counts of a receipt; rows that another run computed are reused."""
        scored_here = receipt.scored_in.get(run_id, 0)
        return cls(
            rows_scored=receipt.rows_scored,
            rows_rejected=receipt.rows_rejected,
            rows_empty=receipt.rows_empty,
            rows_ood=receipt.rows_ood,
            rows_other=receipt.classes.get(OTHER, 0),
            rows_reused=sum(receipt.scored_in.values()) - scored_here,
            seconds=receipt.seconds,
        )

    def __add__(self, other: "ShardCounts") -> "ShardCounts":
        sums = {}
        for field in fields(self):
            sums[field.name] = getattr(self, field.name) + getattr(other, field.name)
        return ShardCounts(**sums)


NO_COUNTS = ShardCounts()
