"""What becomes of shards from pass to pass; the passes themselves are made up here, tests/ray has
real ones."""

from collections.abc import Iterator

import pytest

from rubert_ood import storage
from rubert_ood.errors import PartialRunError, SettingsError
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.plan import Shard
from rubert_ood.runs.receipts import read_quarantine, receipt_uri
from rubert_ood.scoring.executor import ExecutorStalledError
from rubert_ood.scoring.item import (
    FAULT_CHANGED,
    FAULT_RUN,
    FAULT_SETUP,
    FAULT_SHARD,
    FAULT_UNKNOWN,
    ShardResult,
)
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.passes import MAX_LOSSES, score_shards
from rubert_ood.settings import ScoreSettings


class MadeUp:
    """An executor whose passes a test makes up.

    `outcome_of` takes the number of the pass and the numbers of its shards, and says which are
    done, the faults of others, and why the pass ended early ("" if it did not).
    """

    def __init__(self, shards: list[Shard], outcome_of) -> None:
        self._shards = shards
        self._outcome_of = outcome_of
        self.passes: list[list[int]] = []
        self.alone: list[bool] = []
        self.nodes_changed = False

    def run(
        self, job: ScoringJob, shards: list[Shard], *, alone: bool = False
    ) -> Iterator[ShardResult]:
        self.alone.append(alone)
        self.passes.append([self._shards.index(shard) for shard in shards])
        done, faults, stalled = self._outcome_of(len(self.passes), self.passes[-1])
        for number in done:
            yield ShardResult(self._shards[number].shard_id)
        for number, (fault, reason, *trace) in faults.items():
            yield ShardResult(self._shards[number].shard_id, reason, fault, *trace)
        if stalled:
            raise ExecutorStalledError(stalled, nodes_changed=self.nodes_changed)


@pytest.fixture
def play(run):
    """Score the first five shards of a run, without receipts, in passes that a function makes
    up."""
    shards = run.plan.shards[:5]
    for shard in shards:
        (run.folder / "_run" / "receipts" / f"{shard.shard_id}.json").unlink()

    def play(outcome_of, *, nodes_changed=False, **options):
        executor = MadeUp(shards, outcome_of)
        executor.nodes_changed = nodes_changed
        play.passes, play.alone = executor.passes, executor.alone
        settings = ScoreSettings(
            input_uri="in", bundle_uri="b", output_uri="out", **options
        )
        score_shards(run.plan, list(shards), settings, Claim(run.plan.run_uri), executor)
        quarantined = read_quarantine(run.plan.run_uri, run.plan.fingerprint)
        numbers = {shard.shard_id: number for number, shard in enumerate(shards)}
        return {numbers[name]: record for name, record in quarantined.items()}

    play.shards = shards
    return play


def test_score_shards_tries_no_shard_again_that_is_done(play):
    assert play(lambda number, todo: (todo[:3] if number == 1 else todo, {}, "")) == {}
    assert play.passes == [[0, 1, 2, 3, 4], [3, 4]]


def test_score_shards_quarantines_a_shard_that_is_lost_in_three_passes(play):
    quarantined = play(lambda number, todo: ([n for n in todo if n != 2], {}, ""))
    assert play.passes == [[0, 1, 2, 3, 4]] + [[2]] * (MAX_LOSSES - 1)
    assert set(quarantined) == {2}
    assert quarantined[2].reason.startswith(
        f"{play.shards[2].uri}: the process died in each of 3 attempts"
    )
    assert (quarantined[2].start, quarantined[2].stop, quarantined[2].rows_in) == (
        20,
        30,
        10,
    )


def test_score_shards_tries_an_unknown_fault_again_and_then_names_it(play):
    quarantined = play(
        lambda number, todo: (
            [n for n in todo if n != 2],
            {2: (FAULT_UNKNOWN, "KeyError: 'x'")},
            "",
        )
    )
    assert len(play.passes) == MAX_LOSSES
    assert quarantined[2].reason == "KeyError: 'x'"


def test_score_shards_logs_a_failure_with_its_shard_and_its_trace(play, caplog):
    trace = "rubert_ood/scoring/encode.py:88 in encode_rows\nKeyError: 'x'"
    fault = (FAULT_UNKNOWN, "KeyError: 'x'", trace)
    play(lambda number, todo: ([n for n in todo if n != 2], {2: fault}, ""))
    shard_id = play.shards[2].shard_id
    logged = [record for record in caplog.records if getattr(record, "shard", "")]
    failed, quarantined = logged[:MAX_LOSSES], logged[MAX_LOSSES:]
    assert {record.shard for record in logged} == {shard_id}
    assert {record.step for record in logged} == {"score"}
    assert [record.lines for record in failed] == [trace.split("\n")] * MAX_LOSSES
    assert [record.getMessage() for record in quarantined] == [
        f"score     quarantines shard {shard_id}: KeyError: 'x'"
    ]


def test_score_shards_quarantines_an_unreadable_shard_at_once(play):
    quarantined = play(
        lambda n, todo: (todo[1:], {0: (FAULT_SHARD, "a.parquet: damaged")}, ""),
        on_bad_file="quarantine",
    )
    assert play.passes == [[0, 1, 2, 3, 4]]
    assert quarantined[0].reason == "a.parquet: damaged"


def test_score_shards_quarantines_a_shard_whose_file_changed_at_once(play):
    changed = {0: (FAULT_CHANGED, "a.parquet: this file changed after the job planned")}
    quarantined = play(
        lambda number, todo: (todo[1:], changed, ""), on_bad_file="quarantine"
    )
    assert play.passes == [[0, 1, 2, 3, 4]]
    assert quarantined[0].reason == "a.parquet: this file changed after the job planned"


def test_score_shards_with_an_unreadable_shard_may_end_the_run_after_the_others(play):
    with pytest.raises(
        PartialRunError,
        match=r"11 of 12 shards are scored.* Mend the file.*: a\.parquet: damaged",
    ):
        play(
            lambda number, todo: (
                todo[1:3] if number == 1 else todo,
                {0: (FAULT_SHARD, "a.parquet: damaged")},
                "",
            )
        )
    assert play.passes == [[0, 1, 2, 3, 4], [3, 4]]


def test_score_shards_quarantines_no_more_than_max_failed_shards(play):
    def two_bad(number, todo):
        return (
            todo[2:],
            {0: (FAULT_SHARD, "a: damaged"), 1: (FAULT_SHARD, "b: damaged")},
            "",
        )

    with pytest.raises(
        PartialRunError,
        match=r"max_quarantined_shards: the run quarantined more than 1 shard.*b: damaged",
    ):
        play(two_bad, on_bad_file="quarantine", max_quarantined_shards=1)
    assert set(play(two_bad, on_bad_file="quarantine", max_quarantined_shards=2)) == {
        0,
        1,
    }


def test_score_shards_counts_no_loss_in_a_pass_that_stalls_after_it_did_something(play):
    """Each pass loses a node, say, after one shard: nobody is to blame."""
    assert play(lambda number, todo: (todo[:1], {}, "a node is gone")) == {}
    assert len(play.passes) == 5 > MAX_LOSSES


def test_score_shards_runs_what_was_lost_alone_and_what_only_stalled_not(play):
    outcomes = {1: ([0], "stalled"), 2: ([1], ""), 3: ([2], "stalled"), 4: ([3, 4], "")}

    def outcome_of(number, todo):
        done, stalled = outcomes[number]
        return done, {}, stalled

    assert play(outcome_of) == {}
    assert play.passes == [[0, 1, 2, 3, 4], [1, 2, 3, 4], [2, 3, 4], [3, 4]]
    assert play.alone == [False, False, True, True]


def test_score_shards_tries_again_while_nodes_come_and_go_but_not_for_ever(play):
    def second_has_nodes(number, todo):
        return ([], {}, "stalled") if number == 1 else (todo, {}, "")

    assert play(second_has_nodes, nodes_changed=True) == {}
    with pytest.raises(PartialRunError, match=r"stalled. Run the same command again"):
        play(lambda number, todo: ([], {}, "stalled"), nodes_changed=True)
    assert len(play.passes) == MAX_LOSSES


def test_score_shards_ends_the_run_when_a_pass_stalls_and_did_nothing(play):
    with pytest.raises(
        PartialRunError, match=r"no shard moved. Run the same command again to resume"
    ):
        play(lambda number, todo: (todo[:2] if number == 1 else [], {}, "no shard moved"))
    assert play.passes == [[0, 1, 2, 3, 4], [2, 3, 4]]


def test_score_shards_takes_a_shard_with_a_receipt_as_done_though_its_message_got_lost(
    play, run
):
    def lost_message(number, todo):
        uri = receipt_uri(run.plan.run_uri, run.receipts[4].shard_id)
        storage.put_json(uri, run.receipts[4])
        return todo[:4], {}, ""

    assert play(lost_message) == {}
    assert play.passes == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (FAULT_SETUP, SettingsError, "^why$"),
        (
            FAULT_RUN,
            PartialRunError,
            "^the run stopped. The same command resumes it. Reason: why$",
        ),
        (FAULT_CHANGED, PartialRunError, r"^why$"),
    ],
)
def test_score_shards_stops_at_a_fault_that_the_others_would_meet(
    play, fault, error, message
):
    with pytest.raises(error, match=message):
        play(lambda number, todo: (todo[:2], {2: (fault, "why")}, ""))
    assert len(play.passes) == 1
