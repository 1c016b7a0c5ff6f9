import logging
from dataclasses import replace

import pytest

from rubert_ood.runs.reuse import ReusedRun
from rubert_ood.scoring.estimate import Estimate
from rubert_ood.settings import PlanSettings
from rubert_ood.workflows import plan as workflow
from rubert_ood.workflows.plan import _duration, plan


@pytest.fixture
def settings(three_hundred_ads) -> PlanSettings:
    return three_hundred_ads


def test_plan_prints_an_estimate_and_writes_nothing(
    settings, caplog, tmp_path, monkeypatch
):
    caplog.set_level(logging.INFO)
    measured = Estimate(500, 30.0, 2.0, 19.0, cores=2, use_gpu=False)
    monkeypatch.setattr(workflow, "estimate", lambda *_, **__: measured)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    plan(settings)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert "0.1 ads/s in fp32 on this machine" in caplog.text
    # 300 ads at 0.05 ads/s are 6,000 s of one node
    assert (
        "the run takes 50 min on 2 such nodes, 300 s on 20 (300 ads, about 9,000"
        " tokens, 3 shards)"
    ) in caplog.text


def test_plan_says_what_a_run_waits_for(settings, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    for use_gpu in (False, True):
        measured = Estimate(500, 30.0, 0.0002, 0.00005, cores=2, use_gpu=use_gpu)
        monkeypatch.setattr(workflow, "estimate", lambda *_, found=measured, **__: found)
        plan(settings)
    times = "encoding takes 0.200 ms per ad on one core, the network 0.050 ms on"
    assert f"encoding is the bottleneck ({times} 2 cores)\n" in caplog.text
    wanted = "Each GPU has 2 cores for encoding, and needs 4, and one for its actor"
    assert f"encoding is the bottleneck ({times} the GPU). {wanted}" in caplog.text


def test_plan_says_how_much_is_reused_and_what_is_left(settings, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    reused = ReusedRun(run_uri="before", run_id="b", index_sha256="", check_fraction=0.1)
    monkeypatch.setattr(
        workflow, "with_reuse", lambda found, _: replace(found, reuse=reused)
    )
    measured = Estimate(500, 30.0, 0.002, 0.199, 2, False, reused_share=0.9)
    monkeypatch.setattr(workflow, "estimate", lambda *_, **__: measured)
    plan(settings)
    # 300 ads at 0.001 + 0.0199 s on two nodes
    line = "90.0% of the texts (about 270 ads) are in the index of before"
    assert f"reuse leaves 3 s on 2 such nodes: {line}" in caplog.text
    assert "the run takes 30 s on 2 such nodes" in caplog.text


@pytest.mark.parametrize(
    ("hours", "text"),
    [(0.01, "36 s"), (0.5, "30 min"), (1.99, "119 min"), (1234.5, "1,234.5 h")],
)
def test_plan_durations_are_readable(hours, text):
    assert _duration(hours) == text


def test_plan_without_an_estimate_loads_no_model(settings, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(workflow, "estimate", lambda *_, **__: pytest.fail("estimated"))
    plan(settings.model_copy(update={"estimate_s": 0}))
    assert "300 ads in 3 shards" in caplog.text
    assert "estimate  " not in caplog.text


def test_plan_without_a_row_that_can_be_read_has_no_estimate(
    settings, caplog, monkeypatch
):
    monkeypatch.setattr(workflow, "estimate", lambda *_, **__: None)
    plan(settings)
    assert "estimate  gives no estimate, because no row could be read" in caplog.text
