"""The night as a DAG of Airflow 3, and past days by Airflow's own backfill.

    airflow backfill create --dag-id rubert_ood_nightly --from-date 2026-11-18 --to-date 2026-11-24

Copy this file and ../rubert_ood_night.py into the DAG folder. docs/how_to/orchestrators.md says why
each setting is as it is.
"""

from datetime import datetime, timedelta
from typing import Any

import rubert_ood_night as night
from airflow.sdk import (
    DAG,
    BaseOperator,
    Context,
    CronTriggerTimetable,
    Param,
    TaskInstance,
)
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)


def alert(context: Context) -> None:
    """Say who looks at a task that failed for good."""
    run = context["dag_run"]
    night.alert(f"{run.dag_id}, {run.run_id}: {context.get('exception')}", print)


class NightOperator(BaseOperator):
    """Runs a command of the night; its exit code says whether the task is tried again."""

    def __init__(self, *, step: str, **settings: Any) -> None:
        """`step` is "plan" or "score"."""
        super().__init__(**settings)
        self.step = step
        self.command: night.Command | None = None

    def execute(self, context: Context) -> None:
        """Run it to its end, or raise what its exit code means to Airflow."""
        self.command = night.Command(self.words(context))
        code = self.command.run(self.log.info)
        if code == 0:
            return
        ending = night.ending(code)
        text = f"{self.step} ended with {code}: {ending.says}. Goes to: {ending.whom}"
        again = self.tries(context["ti"]) < ending.tries
        raise AirflowException(text) if again else AirflowFailException(text)

    def tries(self, ti: TaskInstance) -> int:
        """Return how many tries there were, of those since somebody cleared the task last."""
        return int(ti.try_number - (ti.max_tries - self.retries))

    def words(self, context: Context) -> list[str]:
        """Return the command, by the date of the run: a retry has the same one."""
        run = context["dag_run"]
        # A run that somebody starts by hand has no date of the schedule, but a fixed start.
        day = context["params"]["run_date"] or night.day_of(
            run.logical_date or run.run_after
        )
        past = run.run_type == "backfill"
        if past and self.step == "plan":
            raise AirflowSkipException("a past day is planned by its backfill")
        if past:
            return night.score_again(day, day)
        return night.plan(day) if self.step == "plan" else night.score(day)

    def on_kill(self) -> None:
        """Airflow stops the task: so does the command."""
        if self.command is not None:
            self.command.stop()


with DAG(
    "rubert_ood_nightly",
    description="Scores the catalogue and publishes it",
    schedule=CronTriggerTimetable(night.CRON, timezone=night.ZONE.key),
    start_date=datetime(2026, 1, 1, tzinfo=night.ZONE),
    catchup=False,
    max_active_runs=1,
    params={"run_date": Param("", type="string", pattern=r"^(\d{4}-\d{2}-\d{2})?$")},
    default_args={
        "retries": night.MOST_TRIES - 1,
        "retry_delay": timedelta(minutes=5),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(hours=1),
        "execution_timeout": timedelta(hours=8),
        "on_failure_callback": alert,
        # A backfill has a limit of its own: DAG(max_active_runs) does not hold it.
        "max_active_tis_per_dag": 1,
    },
) as dag:
    plan = NightOperator(task_id="plan", step="plan")
    score = NightOperator(task_id="score", step="score", trigger_rule="none_failed")
    plan >> score
