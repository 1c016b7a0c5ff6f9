"""The page of a training, read as a browser would."""

import re

import numpy as np
import pytest
from sklearn.metrics import f1_score

from rubert_ood.reports.evaluation import Context, TrainingRun
from rubert_ood.reports.train_page import Spread, train_findings, train_html
from tests.unit.reports.test_html import ATTACK, Page, assert_self_contained


def run(seed: int, *scores: float, more: bool = True) -> TrainingRun:
    history = []
    for number, score in enumerate(scores, start=1):
        epoch = {
            "epoch": number,
            "train_loss": 2.0 / number,
            "valid_loss": 1.5,
            "valid_accuracy": score + 0.01,
            "valid_macro_f1": score,
        }
        if more:
            epoch |= {
                "learning_rate": 1e-4,
                "grad_norm": 0.5,
                "train_tokens_per_s": 900.0,
            }
        history.append(epoch)
    best = max(range(len(scores)), key=lambda row: scores[row]) + 1
    return TrainingRun(seed=seed, best_epoch=best, history=history)


@pytest.fixture
def context() -> Context:
    return Context(
        version="v1",
        base_model=ATTACK,
        created_at="2026-11-24T10:00:00+00:00",
        num_train=7200,
        seed=43,
        best_epoch=2,
        runs=[run(42, 0.70, 0.76), run(43, 0.71, 0.82, 0.79), run(44, 0.75, 0.70)],
        settings={"optimiser": {"patience": ATTACK}},
    )


def test_spread_is_that_of_the_epochs_that_were_kept(context):
    spread = Spread.of(context.runs, "valid_macro_f1")
    assert spread.mean == pytest.approx((0.76 + 0.82 + 0.75) / 3)
    assert (spread.lowest, spread.highest) == (0.75, 0.82)
    assert spread.deviation == pytest.approx(0.0378594, abs=1e-6)  # numpy std, ddof 1
    assert Spread.of(context.runs[:1], "valid_macro_f1").deviation == 0


def test_train_html_says_which_run_and_epoch_were_kept(context):
    html = train_html(context)
    assert_self_contained(html)
    assert ATTACK not in html
    text = " ".join("".join(Page(html).text).split())
    assert "The bundle holds seed 43, the best of 3 on valid." in text
    assert "Macro-F1 on valid82.00%75.00% to 82.00% over the seeds" in text
    assert "Macro-F1, mean of the seeds77.67%deviation of one run 3.79%" in text
    assert "Epoch that was kept2 of 3" in text
    kept = re.findall(r"<td>(kept[^<]*)</td>", html)
    assert kept == ["kept", "kept in the bundle", "kept"]
    names = re.findall(r'alt="([^"]*)"', html)
    assert names == [
        "loss, nats per ad in each epoch",
        "macro-F1 on valid in each epoch",
        "learning rate in each epoch",
        "gradient norm in each epoch",
        "tokens per second in each epoch",
    ]


def test_train_html_of_one_run_has_no_spread(context):
    one = context.model_copy(update={"runs": [run(43, 0.5, 0.6)]})
    html = train_html(one)
    assert "over the seeds" not in html
    assert re.findall(r"<td>(kept[^<]*)</td>", html) == ["kept"]


def test_train_html_leaves_out_what_an_earlier_version_did_not_note(context):
    old = context.model_copy(update={"runs": [run(43, 0.5, more=False)]})
    html = train_html(old)
    names = re.findall(r'alt="([^"]*)"', html)
    assert names == ["loss, nats per ad in each epoch", "macro-F1 on valid in each epoch"]


@pytest.mark.parametrize(
    ("scores", "ok", "text"),
    [
        (
            (0.7, 0.8, 0.79),
            True,
            "Macro-F1 on valid did not improve in 1 epoch after it.",
        ),
        ((0.7, 0.8), False, "The last epoch was the best, so more epochs may help."),
        ((0.7,), True, "The training had one epoch."),
    ],
)
def test_train_findings_say_whether_the_training_was_long_enough(scores, ok, text):
    one = run(42, *scores)
    found = train_findings([one], one, 3)
    assert (found[0].ok, found[0].text) == (ok, text)
    assert len(found) == 2


@pytest.mark.parametrize(("score", "is_nothing"), [(0.02, True), (0.0201, False)])
def test_train_findings_of_one_class_for_every_ad_say_that_nothing_was_learned(
    score, is_nothing
):
    labels_N = np.arange(500) % 50
    constant = f1_score(labels_N, np.zeros(500), average="macro", zero_division=0)
    assert constant <= 1 / 50
    one = run(42, score)
    found = train_findings([one], one, 50)
    assert ("learned nothing: macro-F1 is 2.00%" in found[0].text) is is_nothing
    assert found[0].ok is not is_nothing
    assert "nothing" not in train_findings([one], one, None)[0].text


def test_train_findings_compare_the_loss_that_was_kept_with_the_smallest():
    one = run(42, 0.7, 0.8, 0.75)
    one.history[1]["valid_loss"] = 1.9
    found = train_findings([one], one, 3)
    assert not found[1].ok
    assert found[1].text == (
        "The valid loss of the kept epoch is 1.9000 nats, 27% above the smallest"
        " (good: at most 20%)."
    )


def test_train_page_begins_with_the_verdict(context):
    html = train_html(context)
    page = Page(html)
    assert page.says(
        "The training ended with 1 thing to look at: epoch 2 of 3 was kept, with macro-F1"
        " 82.00% on valid."
    )
    assert page.says(
        "The macro-F1 of 3 seeds differs by 3.79% (standard deviation, good: at most 2%)."
    )
    assert html.index("The training ended") < html.index("<dl")
