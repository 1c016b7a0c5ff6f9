"""The night as a job of Dagster, and past days by the Backfill button of the asset `past_days`.

    dagster dev --python-file rubert_ood_nightly.py

Copy this file and ../rubert_ood_night.py beside each other, and dagster.yaml into DAGSTER_HOME.
docs/how_to/orchestrators.md says why each setting is as it is.
"""

import rubert_ood_night as night
from dagster import (
    AssetExecutionContext,
    BackfillPolicy,
    Config,
    DailyPartitionsDefinition,
    DefaultScheduleStatus,
    Definitions,
    Failure,
    HookContext,
    OpExecutionContext,
    RetryRequested,
    RunRequest,
    ScheduleEvaluationContext,
    asset,
    failure_hook,
    job,
    op,
    schedule,
)

POOL = "rubert_ood"
"""Whoever holds it has the cluster: dagster instance concurrency set rubert_ood 1."""
WAIT_S = 300
"""Before the second try; twice that before the third, and so on."""


class Night(Config):
    """What a run is given. Its date has no default, so that none is read off a clock."""

    run_date: str


def finished(context: OpExecutionContext, words: list[str]) -> None:
    """Run a command to its end, or raise what its exit code means to Dagster."""
    code = night.Command(words).run(context.log.info)
    if code == 0:
        return
    ending = night.ending(code)
    text = f"{words[2]} ended with {code}: {ending.says}. Goes to: {ending.whom}"
    if context.retry_number + 1 < ending.tries:
        context.log.warning(text)
        raise RetryRequested(ending.tries - 1, WAIT_S * 2**context.retry_number)
    raise Failure(text, allow_retries=False)


@failure_hook
def alert(context: HookContext) -> None:
    """Say who looks at a step that failed for good."""
    said = f"{context.job_name}, {context.run_id}: {context.op_exception}"
    night.alert(said, context.log.error)


@op(pool=POOL)
def plan(context: OpExecutionContext, config: Night) -> str:
    """Check input and settings of the night, before anything costs."""
    finished(context, night.plan(config.run_date))
    return config.run_date


@op(pool=POOL)
def score(context: OpExecutionContext, run_date: str) -> None:
    """Score, verify, publish."""
    finished(context, night.score(run_date))


@job(hooks={alert})
def rubert_ood_nightly() -> None:
    """Scores the catalogue and publishes it."""
    score(plan())


@schedule(
    job=rubert_ood_nightly,
    cron_schedule=night.CRON,
    execution_timezone=night.ZONE.key,
    default_status=DefaultScheduleStatus.RUNNING,
)
def every_night(context: ScheduleEvaluationContext) -> RunRequest:
    """Ask for the run of a night; its key keeps a second request from starting another one."""
    day = night.day_of(context.scheduled_execution_time)
    return RunRequest(
        run_key=day, run_config={"ops": {"plan": {"config": {"run_date": day}}}}
    )


@asset(
    partitions_def=DailyPartitionsDefinition("2026-01-01", timezone=night.ZONE.key),
    backfill_policy=BackfillPolicy.single_run(),
    pool=POOL,
    hooks={alert},
)
def past_days(context: AssetExecutionContext) -> None:
    """The days that were scored again, each from its own input: one command for all of a range."""
    first, last = context.partition_key_range
    finished(context.op_execution_context, night.score_again(first, last))


defs = Definitions(assets=[past_days], jobs=[rubert_ood_nightly], schedules=[every_night])
