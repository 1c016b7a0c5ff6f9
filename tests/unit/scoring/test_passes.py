"""What becomes of shards from pass to pass; the passes themselves are made up here, tests/ray has
real ones."""

import pytest

from rubert_ood import storage
from rubert_ood.errors import PartialRunError
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.receipts import read_quarantine, receipt_uri
from rubert_ood.scoring import passes as pipeline
from rubert_ood.scoring.job import FAULT_CHANGED, FAULT_SHARD, FAULT_UNKNOWN
from rubert_ood.scoring.passes import MAX_LOSSES, Pass, score_shards
from rubert_ood.settings import ScoreSettings


@pytest.fixture
def play(run, monkeypatch):
    """Score the first five shards of a run, without receipts, in passes that a function makes
    up."""
    shards = run.plan.shards[:5]
    for shard in shards:
        (run.folder / "_run" / "receipts" / f"{shard.shard_id}.json").unlink()
    passes: list[list[int]] = []

    def play(outcome_of, **options):
        numbers = {shard.shard_id: number for number, shard in enumerate(shards)}

        def score_once(plan, todo, settings, progress, runner):
            passes.append([numbers[shard.shard_id] for shard in todo])
            done, faults, stalled = outcome_of(len(passes), passes[-1])
            return Pass(
                {shards[number].shard_id for number in done},
                {shards[number].shard_id: fault for number, fault in faults.items()},
                stalled,
            )

        monkeypatch.setattr(pipeline, "_score_once", score_once)
        settings = ScoreSettings(input_uri="in", bundle_uri="b", output_uri="out", **options)
        score_shards(run.plan, list(shards), settings, Claim(run.plan.run_uri))
        return {
            numbers[name]: record
            for name, record in read_quarantine(run.plan.run_uri, run.plan.fingerprint).items()
        }

    play.passes = passes
    play.shards = shards
    return play


def test_passes_do_not_try_a_finished_shard_again(play):
    assert play(lambda number, todo: (todo[:3] if number == 1 else todo, {}, "")) == {}
    assert play.passes == [[0, 1, 2, 3, 4], [3, 4]]


def test_shard_that_is_lost_in_so_many_passes_is_quarantined(play):
    aside = play(lambda number, todo: ([n for n in todo if n != 2], {}, ""))
    assert play.passes == [[0, 1, 2, 3, 4]] + [[2]] * (MAX_LOSSES - 1)
    assert set(aside) == {2}
    assert aside[2].reason.startswith(f"{play.shards[2].uri}: its process died each time")
    assert (aside[2].start, aside[2].stop, aside[2].rows_in) == (20, 30, 10)


def test_shard_with_an_unexpected_exception_is_tried_again_and_then_named(play):
    aside = play(
        lambda number, todo: (
            [n for n in todo if n != 2],
            {2: (FAULT_UNKNOWN, "KeyError: 'x'")},
            "",
        )
    )
    assert len(play.passes) == MAX_LOSSES
    assert aside[2].reason == "KeyError: 'x'"


def test_shard_that_cannot_be_read_is_quarantined_at_once(play):
    aside = play(
        lambda n, todo: (todo[1:], {0: (FAULT_SHARD, "a.parquet: damaged")}, ""),
        on_bad_file="quarantine",
    )
    assert play.passes == [[0, 1, 2, 3, 4]]
    assert aside[0].reason == "a.parquet: damaged"


def test_shard_whose_file_changed_is_quarantined_at_once(play):
    changed = {0: (FAULT_CHANGED, "the input changed since the plan: a.parquet")}
    aside = play(lambda number, todo: (todo[1:], changed, ""), on_bad_file="quarantine")
    assert play.passes == [[0, 1, 2, 3, 4]]
    assert aside[0].reason == "the input changed since the plan: a.parquet"


def test_shard_that_cannot_be_read_under_on_bad_file_fail_ends_the_run_after_the_others(play):
    with pytest.raises(
        PartialRunError, match=r"11 of 12 shards are scored; mend the file.*: a\.parquet: damaged"
    ):
        play(
            lambda number, todo: (
                todo[1:3] if number == 1 else todo,
                {0: (FAULT_SHARD, "a.parquet: damaged")},
                "",
            )
        )
    assert play.passes == [[0, 1, 2, 3, 4], [3, 4]]


def test_passes_quarantine_max_failed_shards_and_no_more(play):
    def two_bad(number, todo):
        return todo[2:], {0: (FAULT_SHARD, "a: damaged"), 1: (FAULT_SHARD, "b: damaged")}, ""

    with pytest.raises(
        PartialRunError, match=r"more than max_failed_shards \(1\) failed: b: damaged"
    ):
        play(two_bad, on_bad_file="quarantine", max_failed_shards=1)
    assert set(play(two_bad, on_bad_file="quarantine", max_failed_shards=2)) == {0, 1}


def test_pass_that_stalls_after_it_did_something_loses_no_shard(play):
    """Each pass loses a node, say, after one shard: nobody is to blame."""
    assert play(lambda number, todo: (todo[:1], {}, "a node is gone")) == {}
    assert len(play.passes) == 5 > MAX_LOSSES


def test_pass_that_stalls_and_did_nothing_ends_the_run(play):
    with pytest.raises(
        PartialRunError, match="no shard moved; the same command goes on from there"
    ):
        play(lambda number, todo: (todo[:2] if number == 1 else [], {}, "no shard moved"))
    assert play.passes == [[0, 1, 2, 3, 4], [2, 3, 4]]


def test_shard_whose_message_got_lost_but_whose_receipt_is_there_is_done(play, run):
    def lost_message(number, todo):
        uri = receipt_uri(run.plan.run_uri, run.receipts[4].shard_id)
        storage.put_json(uri, run.receipts[4])
        return todo[:4], {}, ""

    assert play(lost_message) == {}
    assert play.passes == [[0, 1, 2, 3, 4]]


@pytest.fixture
def cluster(monkeypatch):
    """A cluster whose nodes a test makes up, one list of CPUs each time that somebody looks."""
    looks: list[list[float]] = []

    def nodes():
        cpus = looks.pop(0) if len(looks) > 1 else looks[0]
        return [{"Alive": True, "Resources": {"CPU": count} if count else {}} for count in cpus]

    monkeypatch.setattr(pipeline.ray, "nodes", nodes)
    monkeypatch.setattr(pipeline.time, "sleep", lambda _: None)
    return looks


def _size(**options):
    settings = ScoreSettings(input_uri="in", bundle_uri="b", output_uri="out", **options)
    return pipeline._size_actors(settings, 100)


def test_a_cluster_whose_nodes_have_just_died_is_waited_for(cluster):
    cluster += [[0], [0], [0, 4, 2]]
    num_actors, actor_cpus, per_node = _size()
    assert (num_actors, per_node) == (2, 1)
    assert actor_cpus <= 2 - pipeline.ENCODE_CPUS - pipeline.WRITE_CPUS


@pytest.mark.parametrize(
    ("cpus", "num_actors"), [(1, 4), (2, 1), (2, 4), (2, 8), (3, 8), (4, 12), (16, 4), (96, 32)]
)
def test_actors_that_crowd_on_one_node_leave_room_for_encode_and_write(cluster, cpus, num_actors):
    """After the loss of a node its actor starts again wherever it fits."""
    cluster += [[0, cpus, cpus, cpus, cpus]]
    _, actor_cpus, per_node = _size(num_actors=num_actors)
    fit = int(cpus / actor_cpus)
    assert fit == per_node == max(1, num_actors / 4)
    assert round(cpus - fit * actor_cpus, 9) >= pipeline.ENCODE_CPUS + pipeline.WRITE_CPUS


def test_a_cluster_without_a_cpu_ends_the_run_resumable(cluster):
    cluster += [[0]]
    with pytest.raises(PartialRunError, match="no node of the cluster has a CPU for work"):
        _size(no_progress_timeout_s=0.01)
