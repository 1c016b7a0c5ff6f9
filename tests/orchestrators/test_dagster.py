"""The job of examples/dagster, run by Dagster itself, in process."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("dagster", reason="`make orchestrators` runs this")

import dagster

from tests.orchestrators.conftest import example
from tests.orchestrators.fake_program import NIGHT, PLAN

DAY = "2026-11-26"
DUE = datetime(2026, 11, 25, 23, tzinfo=UTC)
"""02:00 of DAY in Moscow: in UTC it is the day before."""
CONFIG = {"ops": {"plan": {"config": {"run_date": DAY}}}}


@pytest.fixture(scope="session")
def module() -> Any:
    return example("dagster")


@pytest.fixture
def night(module: Any, program: Any, monkeypatch: Any) -> Any:
    monkeypatch.setattr(module, "WAIT_S", 0)
    return module.defs.get_job_def("rubert_ood_nightly")


@pytest.fixture
def instance() -> Iterator[dagster.DagsterInstance]:
    with dagster.DagsterInstance.ephemeral() as kept:
        yield kept


def run(night: Any, instance: Any) -> Any:
    return night.execute_in_process(
        run_config=CONFIG, instance=instance, raise_on_error=False
    )


def ended(result: Any, step: str) -> tuple[str, int]:
    """Return how a step ended, and after how many tries."""
    kinds = [event.event_type_value for event in result.events_for_node(step)]
    (end,) = {"STEP_SUCCESS", "STEP_FAILURE"} & set(kinds) or {"not started"}
    starts = kinds.count("STEP_START") + kinds.count("STEP_RESTARTED")
    return end, starts


@pytest.mark.parametrize(
    ("codes", "end", "tries"),
    [
        ([0], "STEP_SUCCESS", 1),
        ([1, 0], "STEP_SUCCESS", 2),
        ([1], "STEP_FAILURE", 2),
        ([2], "STEP_FAILURE", 1),
        ([3], "STEP_FAILURE", 1),
        ([4], "STEP_FAILURE", 1),
        ([5], "STEP_FAILURE", 1),
        ([6, 143, 0], "STEP_SUCCESS", 3),
        ([6], "STEP_FAILURE", 6),
        ([127], "STEP_FAILURE", 1),
        ([77], "STEP_FAILURE", 1),
    ],
)
def test_night_that_ends_with_a_code_is_retried_or_fails(
    night, instance, program, alerts, codes, end, tries
):
    program.ends("score", *codes)
    result = run(night, instance)
    assert ended(result, "plan") == ("STEP_SUCCESS", 1)
    assert ended(result, "score") == (end, tries)
    assert program.calls == [f"{PLAN} {DAY}", *[f"{NIGHT} {DAY}"] * tries]
    assert result.success == (end == "STEP_SUCCESS")
    assert len(alerts.texts) == (end == "STEP_FAILURE")
    assert all(f"score ended with {codes[-1]}: " in text for text in alerts.texts)


def test_night_whose_plan_fails_scores_nothing(night, instance, program, alerts):
    program.ends("plan", 3)
    result = run(night, instance)
    assert ended(result, "plan") == ("STEP_FAILURE", 1)
    assert ended(result, "score") == ("not started", 0)
    assert program.calls == [f"{PLAN} {DAY}"]
    assert len(alerts.texts) == 1
    assert "Goes to: the owners of the ads" in alerts.texts[0]


def test_schedule_asks_for_the_day_in_moscow_once(module):
    context = dagster.build_schedule_context(scheduled_execution_time=DUE)
    asked = module.every_night(context)
    assert (asked.run_key, asked.run_config) == (DAY, CONFIG)
    assert module.every_night.execution_timezone == "Europe/Moscow"
    assert module.every_night.cron_schedule == "0 2 * * *"


def test_backfill_of_a_range_is_one_command_over_its_days(module, instance, program):
    tags = {
        "dagster/asset_partition_range_start": "2026-11-18",
        "dagster/asset_partition_range_end": "2026-11-24",
    }
    result = dagster.materialize([module.past_days], instance=instance, tags=tags)
    assert result.success
    assert program.calls == [
        "submit backfill --config jobs/backfill.yaml --from_date 2026-11-18 --to_date 2026-11-24"
    ]
