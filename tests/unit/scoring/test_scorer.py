import dataclasses
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock

import pyarrow as pa
import pyarrow.compute as pc
import torch

from rubert_ood.ads.text import ad_text
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.errors import StorageUnavailableError
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.item import ShardItem
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.scorer import Scorer
from tests.small_model import padded_classifier
from tests.unit.messy_runs import REASONS


def test_scorer_scores_identical_texts_once(full_run, messy_rows, bundle):
    job = ScoringJob.of(full_run.plan)
    scorer = Scorer(job)
    scored = []
    scorer.model().classifier.network.bert.pooler.register_forward_hook(
        lambda _, inputs, __: scored.append(len(inputs[0]))
    )
    for shard in full_run.plan.shards:
        offset = 0 if shard.uri.endswith("a.parquet") else 80
        numbers = [
            n
            for n in range(offset + shard.start, offset + shard.stop)
            if n not in REASONS
        ]
        texts = {
            bundle.cleaner.clean(
                ad_text(messy_rows[n]["title"], messy_rows[n]["description"])
            )
            for n in numbers
        } - {""}
        scored.clear()
        scorer(encode(ShardItem(shard), job))
        assert sum(scored) == len(texts)


def test_scorer_whose_model_failed_to_load_tries_again(full_run, monkeypatch):
    load, calls = Classifier.load, []

    def flaky(folder, *arguments, **options):
        calls.append(folder)
        if len(calls) == 1:
            raise StorageUnavailableError("not now")
        return load(folder, *arguments, **options)

    monkeypatch.setattr(Classifier, "load", flaky)
    job = ScoringJob.of(full_run.plan)
    scorer = Scorer(job)
    item = encode(ShardItem(full_run.plan.shards[0]), job)
    assert scorer(item).failure == "not now"
    assert scorer(item).failure == ""
    assert len(calls) == 2


def test_scorer_hands_on_a_failed_shard_without_loading_a_model(full_run):
    scorer = Scorer(ScoringJob.of(full_run.plan))
    failed = ShardItem(full_run.plan.shards[0], failure="damaged", fault="shard")
    assert scorer(failed) is failed
    assert scorer._model is None


def test_scorer_gives_each_text_what_the_model_says_and_leaves_the_rows(full_run):
    job = ScoringJob.of(full_run.plan)
    item = encode(ShardItem(full_run.plan.shards[1]), job)
    scored = Scorer(job)(item)
    assert scored.rows is item.rows
    assert scored.texts.equals(job.model().score(item.texts, embedding=True))


def test_scorer_has_waited_since_its_last_shard_and_not_before_the_first(full_run):
    job = ScoringJob.of(full_run.plan)
    item = encode(ShardItem(full_run.plan.shards[1]), job)
    scorer = Scorer(job)
    first = scorer(item).timing
    time.sleep(0.05)
    second = scorer(item).timing
    assert (first.idle_s, first.started) == (0, item.timing.started)
    assert second.idle_s >= 0.05
    assert min(first.busy_s, second.busy_s) > 0


def test_scorer_of_a_network_for_one_computes_a_shard_at_a_time_beside_decisions(
    full_run, monkeypatch
):
    """The network of one thread runs while the other decides, never while it runs there."""
    monkeypatch.setattr(Classifier, "serves_several", False)  # as on a GPU
    job = ScoringJob.of(full_run.plan)
    items = [encode(ShardItem(shard), job) for shard in full_run.plan.shards[:6]]
    alone = [Scorer(job)(item).texts for item in items]
    scorer, running, overlaps = Scorer(job), set[str](), Counter[tuple[str, ...]]()

    def watched(name, stage):
        def watched_stage(*args, **options):
            running.add(name)
            overlaps[tuple(sorted(running))] += 1
            time.sleep(0.02)
            answer = stage(*args, **options)
            running.discard(name)
            return answer

        return watched_stage

    model = scorer.model()
    forward, computing = model.forward, Lock()

    def forward_alone(texts):
        assert computing.acquire(blocking=False)
        try:
            return forward(texts)
        finally:
            computing.release()

    monkeypatch.setattr(model, "forward", watched("forward", forward_alone))
    monkeypatch.setattr(model, "finish", watched("finish", model.finish))
    started = time.perf_counter()
    with ThreadPoolExecutor(3) as pool:
        scored = list(pool.map(scorer, items))
    seconds = time.perf_counter() - started
    assert overlaps["finish", "forward"] > 0
    for item, texts in zip(scored, alone, strict=True):
        assert item.texts.equals(texts)
    busy_s = sum(item.timing.busy_s for item in scored)
    idle_s = sum(item.timing.idle_s for item in scored)
    assert busy_s > 0
    assert 5 * 0.02 <= busy_s + idle_s <= seconds  # each pass begins 0.02 s late


def test_scorer_of_a_network_for_several_lets_them_share_the_threads(
    full_run, monkeypatch
):
    """Two shards meet inside the network; each gets the bits that it gets alone."""
    job = ScoringJob.of(full_run.plan)
    items = [encode(ShardItem(shard), job) for shard in full_run.plan.shards[:6]]
    alone = [Scorer(job)(item).texts for item in items]
    scorer, met = Scorer(job), Barrier(2)
    model = scorer.model()
    outputs = model.classifier.outputs

    def met_outputs(*args, **options):
        met.wait(20)
        return outputs(*args, **options)

    monkeypatch.setattr(model.classifier, "outputs", met_outputs)
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        scored = list(pool.map(scorer, items))
    seconds = time.perf_counter() - started
    for item, texts in zip(scored, alone, strict=True):
        assert item.failure == ""
        assert item.texts.equals(texts)
    busy_s = sum(item.timing.busy_s for item in scored)
    idle_s = sum(item.timing.idle_s for item in scored)
    assert 0 < busy_s <= busy_s + idle_s <= seconds


def test_scorer_counts_the_padding_and_keeps_the_rest_of_the_profile(full_run):
    job = ScoringJob.of(full_run.plan)
    item = encode(ShardItem(full_run.plan.shards[1]), job)
    scorer = Scorer(job)
    model = scorer.model()
    model._classifier = padded_classifier(model.bundle.folder)
    profile = scorer(item).profile
    counts = {
        "scored_tokens": profile.scored_tokens,
        "padded_tokens": profile.padded_tokens,
    }
    assert tuple(counts.values()) == scorer.model().computed_tokens(item.texts)
    assert counts["padded_tokens"] > 0
    assert profile == item.profile.model_copy(update=counts)


def test_scorer_computes_in_as_many_threads_as_it_was_told(full_run):
    before = torch.get_num_threads()
    try:
        Scorer(ScoringJob.of(full_run.plan), num_threads=before + 1).model()
        assert torch.get_num_threads() == before + 1
        Scorer(ScoringJob.of(dataclasses.replace(full_run.plan))).model()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_scorer_compares_what_an_index_notes_and_leaves_it_behind(full_run):
    job = ScoringJob.of(full_run.plan)
    scorer = Scorer(job)
    item = encode(ShardItem(full_run.plan.shards[2]), job)
    texts = scorer(item).texts
    same = scorer(dataclasses.replace(item, checks=texts))
    assert (same.mismatch, same.reuse.texts_mismatched) == ("", 0)
    assert same.checks.num_rows == 0
    position = texts.schema.get_field_index("confidence")
    other = pc.add(texts["confidence"], 0.01)
    spoilt = texts.set_column(position, "confidence", other.cast(pa.float32()))
    found = scorer(dataclasses.replace(item, checks=spoilt))
    assert found.mismatch == "confidence differ"
    assert found.reuse.texts_mismatched == texts.num_rows > 0
