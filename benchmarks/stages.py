"""What each stage of the shards costs: the real stages in this process, one after the other, with
clocks inside."""

import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

from rubert_ood.ads.text import TextCleaner
from rubert_ood.bundle import Bundle
from rubert_ood.classifier import fold as fold_module
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.device_decision import DeviceDecision
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.runs.plan import save_plan
from rubert_ood.runs.receipts import read_receipts
from rubert_ood.scoring import encode as encode_module
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.item import ShardItem
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.planning import make_plan
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.scoring.write import write
from rubert_ood.settings import ScoreSettings, ScoringComputeSettings

INNER = {
    "read": (encode_module, "iter_rows"),
    "clean": (TextCleaner, "clean"),
    "tokenise": (fold_module, "cut"),
    "forward": (Classifier, "outputs"),
}
DISTANCE = {False: (MahalanobisStatistics, "distance"), True: (DeviceDecision, "of")}
"""By use_gpu."""


def stage_shares(
    input_uri: str,
    bundle: Bundle,
    *,
    shard_rows: int,
    token_budget: int | None = None,
    use_gpu: bool = False,
) -> dict[str, float]:
    """Return the share of time of each stage. `other` is what lies between the clocks: decisions,
    Arrow, hashes."""
    places = INNER | {"distance": DISTANCE[use_gpu]}
    seconds = dict.fromkeys([*places, "write", "other"], 0.0)
    with tempfile.TemporaryDirectory() as output:
        settings = ScoreSettings(
            input_uri=input_uri,
            bundle_uri=bundle.uri,
            output_uri=output,
            shard_rows=shard_rows,
            compute=ScoringComputeSettings(token_budget=token_budget, use_gpu=use_gpu),
        )
        plan = make_plan(settings, bundle)
        save_plan(plan)
        job = ScoringJob.of(plan)
        scorer = Scorer(job)
        scorer.model()
        first = ShardItem(plan.shards[0])
        write(scorer(encode(first, job)), job)  # the tokenizer is loaded, memory is there
        with ExitStack() as clocks:
            for stage, place in places.items():
                clocks.enter_context(_clock(*place, stage, seconds))
            started = time.perf_counter()
            for shard in plan.shards:
                item = scorer(encode(ShardItem(shard), job))
                before = time.perf_counter()
                write(item, job)
                seconds["write"] += time.perf_counter() - before
            total = time.perf_counter() - started
        assert len(read_receipts(plan.run_uri, plan.fingerprint)) == len(plan.shards)
    seconds["other"] = total - sum(seconds.values())
    return {stage: value / total for stage, value in seconds.items()}


@contextmanager
def _clock(
    owner: Any, name: str, stage: str, seconds: dict[str, float]
) -> Iterator[None]:
    """Add the time of every call of owner.name to seconds[stage], of a generator the time of its
    steps."""
    function: Callable[..., Any] = getattr(owner, name)

    def clocked(*args: Any, **kwargs: Any) -> Any:
        result = measured(function, *args, **kwargs)
        return in_steps(result) if isinstance(result, Generator) else result

    def measured(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            if torch.cuda.is_initialized():  # what the GPU was only told to do is done
                torch.cuda.synchronize()
            seconds[stage] += time.perf_counter() - started

    def in_steps(steps: Iterator[Any]) -> Iterator[Any]:
        while (item := measured(next, steps, None)) is not None:
            yield item

    with patch.object(owner, name, clocked):
        yield
