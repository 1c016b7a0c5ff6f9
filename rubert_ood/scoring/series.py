"""Every time series that a run sends to Ray's metrics: dashboard, alerts, docs and tests draw on
this list.

The tag `model` is the version of the bundle, and there is no other: a run id would be a new series
each night. Ray adds its own tags (session, node, worker, job).
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]
Sender = Literal["driver", "scorer"]

RAY_PREFIX = "ray_"
SUFFIXES = {"gauge": "", "counter": "_total", "histogram": "_bucket"}
TAGS = ("model",)
SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Upper ends of the bins of seconds per shard."""


@dataclass(frozen=True)
class Series:
    """One time series."""

    name: str
    """As Ray is told."""
    kind: Kind
    unit: str
    help: str
    sender: Sender = "driver"
    boundaries: tuple[float, ...] = ()
    """Of a histogram."""

    @property
    def exported(self) -> str:
        """Return the name that Prometheus stores; of a histogram that of its buckets."""
        return f"{RAY_PREFIX}{self.name}{SUFFIXES[self.kind]}"


def _gauge(name: str, unit: str, text: str) -> Series:
    return Series(f"rubert_ood_run_{name}", "gauge", unit, text)


def _counter(name: str, unit: str, text: str) -> Series:
    return Series(f"rubert_ood_scorer_{name}", "counter", unit, text, "scorer")


SHARDS_PLANNED = _gauge("shards_planned", "shards", "Shards of the plan.")
SHARDS_DONE = _gauge(
    "shards_done",
    "shards",
    "Shards that have a receipt, those of earlier starts included.",
)
SHARDS_QUARANTINED = _gauge(
    "shards_quarantined", "shards", "Shards that this start has quarantined."
)
ROWS_PLANNED = _gauge("rows_planned", "ads", "Ads of the plan.")
ROWS_DONE = _gauge(
    "rows_done", "ads", "Ads of the shards done, those of earlier starts included."
)
ROWS_SCORED = _gauge("rows_scored", "ads", "Ads that this start has scored.")
ROWS_REJECTED = _gauge("rows_rejected", "ads", "Rows that this start has rejected.")
ROWS_EMPTY = _gauge("rows_empty", "ads", "Scored ads without a text.")
ROWS_OOD = _gauge("rows_ood", "ads", "Scored ads that are out of domain.")
ROWS_OTHER = _gauge("rows_other", "ads", "Scored ads with the label Other.")
ROWS_REUSED = _gauge(
    "rows_reused", "ads", "Scored ads whose result an earlier run computed."
)
STARTED = _gauge(
    "started_timestamp_seconds", "seconds since 1970", "When this start began to score."
)
LAST_SHARD = _gauge(
    "last_shard_timestamp_seconds",
    "seconds since 1970",
    "When the last shard was done; before the first one, when scoring began.",
)
EXPECTED_END = _gauge(
    "expected_end_timestamp_seconds",
    "seconds since 1970",
    "When the last ad is scored, at the rate of this start; sealing comes after.",
)
DEADLINE = _gauge(
    "deadline_timestamp_seconds",
    "seconds since 1970",
    "When the run should have ended; it is there where deadline_h is set.",
)
SHARD_SECONDS = Series(
    "rubert_ood_shard_seconds",
    "histogram",
    "seconds",
    "From the first stage of a shard to the last, waits included. Ray makes its sum of"
    " the middles of the bins.",
    boundaries=SECONDS,
)
TOKENS = _counter("tokens", "tokens", "Tokens that the network has read.")
PADDED_TOKENS = _counter(
    "padded_tokens", "tokens", "Padding that the network has computed beside them."
)
BUSY = _counter("busy_seconds", "seconds", "How long the network has run.")
IDLE = _counter(
    "idle_seconds", "seconds", "How long the network has stood still between two shards."
)

ALL = (
    SHARDS_PLANNED,
    SHARDS_DONE,
    SHARDS_QUARANTINED,
    ROWS_PLANNED,
    ROWS_DONE,
    ROWS_SCORED,
    ROWS_REJECTED,
    ROWS_EMPTY,
    ROWS_OOD,
    ROWS_OTHER,
    ROWS_REUSED,
    STARTED,
    LAST_SHARD,
    EXPECTED_END,
    DEADLINE,
    SHARD_SECONDS,
    TOKENS,
    PADDED_TOKENS,
    BUSY,
    IDLE,
)
