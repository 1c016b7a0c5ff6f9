"""The DAG of examples/airflow, run by Airflow itself, in process and with its database."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow", reason="`make orchestrators` runs this")

from tests.orchestrators.conftest import EXAMPLES, example
from tests.orchestrators.fake_program import NIGHT, PLAN

HOME = Path(os.environ["AIRFLOW_HOME"])
DAY, NEXT_DAY = "2026-11-26", "2026-11-27"
DUE = datetime(2026, 11, 25, 23, tzinfo=UTC)
"""02:00 of DAY in Moscow: in UTC it is the day before."""


@pytest.fixture(scope="session")
def module() -> Iterator[Any]:
    """Yield the example, in a fresh installation of Airflow."""
    folder = HOME / "dags"
    folder.mkdir()
    for source in (
        EXAMPLES / "airflow" / "rubert_ood_nightly.py",
        EXAMPLES / "rubert_ood_night.py",
    ):
        (folder / source.name).symlink_to(source)
    airflow = Path(sys.executable).parent / "airflow"
    subprocess.run([airflow, "db", "migrate"], check=True, timeout=120)
    yield example("airflow")
    shutil.rmtree(HOME)


@pytest.fixture
def dag(module: Any, program: Any, monkeypatch: Any) -> Any:
    for task in module.dag.tasks:
        task.params["run_date"] = ""  # dag.test leaves what an earlier run was given
        monkeypatch.setattr(task, "retry_delay", timedelta(0))
        monkeypatch.setattr(task, "retry_exponential_backoff", 0)
    return module.dag


def states(run: Any) -> dict[str, tuple[str, int]]:
    """Return state and number of tries of each task."""
    return {ti.task_id: (str(ti.state), ti.try_number) for ti in run.get_task_instances()}


def test_airflow_finds_the_dag_and_no_fault(module):
    from airflow.dag_processing.dagbag import DagBag

    found = DagBag(HOME / "dags")
    assert found.import_errors == {}
    assert list(found.dags) == ["rubert_ood_nightly"]


@pytest.mark.parametrize(
    ("codes", "state", "tries"),
    [
        ([0], "success", 1),
        ([1, 0], "success", 2),
        ([1], "failed", 2),
        ([2], "failed", 1),
        ([3], "failed", 1),
        ([4], "failed", 1),
        ([5], "failed", 1),
        ([6, 143, 0], "success", 3),
        ([6], "failed", 6),
        ([127], "failed", 1),
        ([77], "failed", 1),
    ],
)
def test_night_that_ends_with_a_code_is_retried_or_fails(
    dag, program, alerts, codes, state, tries
):
    program.ends("score", *codes)
    run = dag.test(logical_date=DUE)
    assert states(run) == {"plan": ("success", 1), "score": (state, tries)}
    assert str(run.state) == state
    assert program.calls == [f"{PLAN} {DAY}", *[f"{NIGHT} {DAY}"] * tries]
    expected = [] if state == "success" else [f"score ended with {codes[-1]}: "]
    assert [said in text for said, text in zip(expected, alerts.texts, strict=True)] == [
        True
    ] * len(expected)


def test_night_whose_plan_fails_scores_nothing(dag, program, alerts):
    program.ends("plan", 3)
    run = dag.test(logical_date=DUE)
    assert states(run) == {"plan": ("failed", 1), "score": ("upstream_failed", 0)}
    assert program.calls == [f"{PLAN} {DAY}"]
    assert len(alerts.texts) == 1
    assert "Goes to: the owners of the ads" in alerts.texts[0]


def test_night_that_somebody_clears_has_all_its_tries_again(dag, program):
    from airflow.models.taskinstance import clear_task_instances
    from airflow.utils.session import create_session

    program.ends("score", 6)
    run = dag.test(logical_date=DUE)
    with create_session() as session:
        cleared = run.get_task_instances(session=session)
        clear_task_instances(cleared, session)
        (score,) = [ti for ti in cleared if ti.task_id == "score"]
        score.try_number += 1  # the scheduler's next try
        assert score.try_number == 7
        assert dag.get_task("score").tries(score) == 1


def test_run_of_a_backfill_scores_its_day_again_and_skips_the_plan(
    dag, program, monkeypatch
):
    from airflow.models import dagrun
    from airflow.utils.types import DagRunType

    create = dagrun.get_or_create_dagrun

    def of_a_backfill(**given: Any) -> Any:
        run = create(**given)
        run.run_type = DagRunType.BACKFILL_JOB
        given["session"].commit()
        return run

    monkeypatch.setattr(dagrun, "get_or_create_dagrun", of_a_backfill)
    run = dag.test(logical_date=DUE)
    assert states(run)["plan"][0] == "skipped"
    assert states(run)["score"] == ("success", 1)
    assert program.calls == [
        f"submit backfill --config jobs/backfill.yaml --from_date {DAY} --to_date {DAY}"
    ]


def test_run_that_was_started_by_hand_has_the_date_that_it_was_given(dag, program):
    dag.test(logical_date=None, run_after=DUE, run_conf={"run_date": "2026-11-20"})
    assert program.calls == [f"{PLAN} 2026-11-20", f"{NIGHT} 2026-11-20"]


def test_run_that_was_started_by_hand_without_a_date_has_that_of_its_start(dag, program):
    dag.test(logical_date=None, run_after=DUE + timedelta(days=1))
    assert program.calls == [f"{PLAN} {NEXT_DAY}", f"{NIGHT} {NEXT_DAY}"]


def test_schedule_gives_the_day_in_moscow_and_no_night_twice(module):
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    timetable = coerce_to_core_timetable(module.dag.timetable)
    since = TimeRestriction(earliest=DUE, latest=None, catchup=True)
    first = timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=since
    )
    second = timetable.next_dagrun_info(
        last_automated_data_interval=first.data_interval, restriction=since
    )
    days = [module.night.day_of(info.logical_date) for info in (first, second)]
    assert days == [DAY, NEXT_DAY]
    assert first.run_after == DUE
    assert not module.dag.catchup
    assert module.dag.max_active_runs == 1
    assert {task.max_active_tis_per_dag for task in module.dag.tasks} == {1}
