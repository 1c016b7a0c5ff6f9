"""The second stage: the network, and the decision on each text."""

from contextlib import nullcontext
from dataclasses import replace
from threading import Lock

import pyarrow as pa

from rubert_ood.classifier.span import Span
from rubert_ood.ood.limits import d2_limits, p_limits
from rubert_ood.predictor import Model
from rubert_ood.reuse.check import Turns, compare
from rubert_ood.score_table import ForwardPass
from rubert_ood.scoring.item import ShardItem, attempt
from rubert_ood.scoring.job import ScoringJob


class Scorer:
    """Holds the model from shard to shard.

    Threads may share it: a network that serves several computes their batches one after the other,
    another computes one shard while others are decided on.
    """

    def __init__(self, job: ScoringJob, *, num_threads: int | None = None) -> None:
        """`num_threads` is what torch computes in from then on; None leaves it as it is."""
        self.job = job
        self._num_threads = num_threads
        self._span_before: Span | None = None
        self._loading = Lock()
        self._computing, self._noting = Lock(), Lock()
        self._model: Model | None = None

    def model(self) -> Model:
        """Return the model, its network loaded; a failure is not remembered."""
        with self._loading:
            if self._model is None:
                if self._num_threads is not None:
                    import torch

                    torch.set_num_threads(self._num_threads)
                self._model = self.job.model().with_network()
            return self._model

    def __call__(self, item: ShardItem) -> ShardItem:
        """Score the texts of a shard; a failure comes back as data."""
        return attempt(self._score, item)

    def _score(self, item: ShardItem) -> ShardItem:
        model = self.model()  # loading is neither work nor waiting
        passed, before = self._forward(model, item.texts)
        scored = model.finish(passed, embedding=self.job.plan.embedding)
        num_read, num_padded = model.computed_tokens(item.texts)
        span = passed.outputs.span
        busy_s, idle_s = span.busy_s(before), span.idle_s(before)
        timing = replace(item.timing, busy_s=busy_s, idle_s=idle_s)
        counts = {"scored_tokens": num_read, "padded_tokens": num_padded}
        profile = item.profile.model_copy(update=counts)
        scored_item = replace(item, texts=scored, timing=timing, profile=profile)
        return checked(scored_item, model) if item.checks.num_rows else scored_item

    def _forward(self, model: Model, texts: pa.Table) -> tuple[ForwardPass, Span | None]:
        """Run the network; return also the span of the shard that ended before."""
        several = model.classifier.serves_several
        with nullcontext() if several else self._computing:
            passed = model.forward(texts)
            with self._noting:
                before, self._span_before = self._span_before, passed.outputs.span
        return passed, before


def checked(item: ShardItem, model: Model) -> ShardItem:
    """Compare what an index notes of some texts with what the model says of them now."""
    fitted = model.bundle.fitted
    rule = fitted.decision
    thresholds = fitted.thresholds
    turns = Turns(
        (rule.tau_other, rule.ood_conf_gate),
        d2_limits(rule, thresholds),
        p_limits(rule, thresholds),
        p_step=1 / (len(thresholds.calibration_d2) + 1),
    )
    found = compare(item.texts, item.checks, model.bundle.precision, turns)
    counts = item.reuse.model_copy(update={"texts_mismatched": found.num_different})
    nothing = item.checks.slice(0, 0)
    return replace(item, checks=nothing, reuse=counts, mismatch=found.reason)
