"""When an actor loads; tests/ray takes shards through a real Ray."""

import time

from rubert_ood.scoring import ray_executor
from rubert_ood.scoring.batch import from_batch, to_batch
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.item import ShardItem
from rubert_ood.scoring.job import ScoringJob


def test_scorer_actor_loads_before_a_shard_comes_and_remembers_no_failure(
    full_run, monkeypatch
):
    from rubert_ood.classifier.classifier import Classifier
    from rubert_ood.errors import StorageUnavailableError

    load, calls = Classifier.load, []

    def flaky(folder, *arguments, **options):
        calls.append(folder)
        if len(calls) == 1:
            raise StorageUnavailableError("not now")
        return load(folder, *arguments, **options)

    monkeypatch.setattr(Classifier, "load", flaky)
    job = ScoringJob.of(full_run.plan)
    actor = ray_executor.ScorerActor(job, 1)
    deadline = time.monotonic() + 10
    while not calls:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    batch = to_batch(encode(ShardItem(full_run.plan.shards[0]), job))
    assert (from_batch(actor(batch)).failure, len(calls)) == ("", 2)
