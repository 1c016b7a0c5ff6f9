import dataclasses
import logging

import pyarrow as pa
import pytest

from rubert_ood.errors import (
    BundleError,
    InputChangedError,
    InputError,
    OutputError,
    SchemaError,
    SettingsError,
    StorageUnavailableError,
)
from rubert_ood.runs.plan import Shard
from rubert_ood.scoring.item import ShardItem, attempt


@pytest.mark.parametrize(
    ("error", "fault", "reason"),
    [
        (InputError("a.parquet: damaged"), "shard", "a.parquet: damaged"),
        (
            SchemaError(
                "a.parquet: the file has no column 'x'. Run `rubert-ood verify` on its"
                " run"
            ),
            "shard",
            ("a.parquet: the file has no column 'x'. Run `rubert-ood verify` on its run"),
        ),
        (InputChangedError("a.parquet: changed"), "changed", "a.parquet: changed"),
        (StorageUnavailableError("s3://b/k: gone"), "run", "s3://b/k: gone"),
        (BundleError("b: differs"), "setup", "b: differs"),
        (SettingsError("use_gpu: none"), "setup", "use_gpu: none"),
        (OutputError("out: denied"), "run", "out: denied"),
        (KeyError("x"), "unknown", "KeyError: 'x'"),
        (MemoryError("a\n b"), "unknown", "MemoryError: a b"),
    ],
)
def test_attempt_of_a_stage_that_fails_travels_on_as_data(error, fault, reason):
    item = ShardItem(Shard("1", "a.parquet", {}, 0, 1))

    def stage(_):
        raise error

    failed = attempt(stage, item)
    assert (failed.shard, failed.failure, failed.fault) == (item.shard, reason, fault)
    assert bool(failed.trace) == (fault == "unknown")
    assert (
        attempt(lambda _: pytest.fail("a failed shard entered the next stage"), failed)
        == failed
    )


def test_attempt_logs_where_an_error_came_from_and_nothing_that_it_quotes(caplog):
    """With the local executor this is the terminal of the user."""

    def stage(_: ShardItem) -> ShardItem:
        raise ValueError("call 8 912 345-67-89")

    attempt(stage, ShardItem(Shard("1", "a.parquet", {}, 0, 1)))
    shown = logging.Formatter().format(caplog.records[0])
    assert "test_item.py:" in shown
    assert "ValueError: call # ### ###-##-##" in shown
    assert "912" not in shown


def test_attempt_of_a_stage_that_succeeds_returns_what_it_made():
    item = ShardItem(Shard("1", "a.parquet", {}, 0, 1))
    made = dataclasses.replace(item, rows=pa.table({"ad_id": ["x"]}))
    assert attempt(lambda given: made if given is item else given, item) is made


def test_attempt_cuts_the_words_of_an_unknown_error_and_keeps_its_trace_in_the_log(
    caplog,
):
    def stage(_):
        raise ValueError("8 912 " + "x" * 10_000)

    failed = attempt(stage, ShardItem(Shard("1", "a.parquet", {}, 0, 1)))
    assert failed.failure == "ValueError: # ### " + "x" * 194
    *frames, last = failed.trace.split("\n")
    assert last == failed.failure
    assert frames[-1].startswith(f"{__file__}:")
    assert frames[-1].endswith(" in stage")
    assert caplog.records[-1].message == f"a shard failed\n{failed.trace}"
    assert caplog.records[-1].shard == "1"


def test_attempt_lets_an_interrupt_through():
    def stage(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(stage, ShardItem(Shard("1", "a.parquet", {}, 0, 1)))
