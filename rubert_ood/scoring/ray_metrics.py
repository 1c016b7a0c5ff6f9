"""The series as objects of Ray, made once in a process: the scorer's in each actor, the driver's in
the driver."""

import time
from threading import Lock, Thread

from rubert_ood.scoring.item import ShardItem
from rubert_ood.scoring.series import (
    BUSY,
    IDLE,
    PADDED_TOKENS,
    TAGS,
    TOKENS,
    Series,
)

REPEAT_S = 1.0
"""Ray 2.60 exports a gauge once for each time that it is set, and its agent forgets one that misses
two exports; between two shards may be minutes."""


class RaySender:
    """Sends values of series to Ray, which exports them every ten seconds."""

    def __init__(self, model: str) -> None:
        """`model` is the version of the bundle."""
        self._tags = {"model": model}
        self._metrics: dict[Series, object] = {}
        self._values: dict[Series, float] = {}
        """Of gauges, as they were set last."""
        self._lock = Lock()

    def send(self, series: Series, value: float) -> None:
        """Set a gauge, add to a counter, or observe a value."""
        from ray.util.metrics import Counter, Gauge, Histogram

        metric = self._metrics.get(series)
        if metric is None:
            metric = self._metrics[series] = self._made(series)
        if isinstance(metric, Gauge):
            with self._lock:
                self._values[series] = value
                metric.set(value)
        elif isinstance(metric, Histogram):
            metric.observe(value)
        elif isinstance(metric, Counter) and value > 0:  # Ray refuses to add 0
            metric.inc(value)

    def keep_repeating(self) -> None:
        """Set the gauges again and again, while Ray is there and no other sender does so."""
        global _repeating
        _repeating = self
        Thread(target=self._repeat, daemon=True).start()

    def _repeat(self) -> None:
        import ray
        from ray.util.metrics import Gauge

        while ray.is_initialized() and _repeating is self:
            with self._lock:
                for series, value in self._values.items():
                    metric = self._metrics[series]
                    if isinstance(metric, Gauge):
                        metric.set(value)
            time.sleep(REPEAT_S)

    def _made(self, series: Series) -> object:
        from ray.util.metrics import Counter, Gauge, Histogram

        text = f"{series.help} Unit: {series.unit}."
        if series.kind == "histogram":
            bounds = list(series.boundaries)
            metric = Histogram(series.name, text, bounds, tag_keys=TAGS)
        elif series.kind == "gauge":
            metric = Gauge(series.name, text, tag_keys=TAGS)
        else:
            metric = Counter(series.name, text, tag_keys=TAGS)
        return metric.set_default_tags(self._tags)


_repeating: RaySender | None = None
"""The last run of this process."""


class ScorerMetrics:
    """What one scoring actor sends."""

    def __init__(self, sender: RaySender) -> None:
        self._sender = sender

    def add(self, item: ShardItem) -> None:
        """Count a shard that was scored; one that failed has used no network."""
        if item.failure:
            return
        profile, timing = item.profile, item.timing
        self._sender.send(TOKENS, profile.scored_tokens or 0)
        self._sender.send(PADDED_TOKENS, profile.padded_tokens)
        self._sender.send(BUSY, timing.busy_s)
        self._sender.send(IDLE, timing.idle_s)
