"""The page of a training, read as a browser would."""

import re

import pytest

from rubert_ood.reports.evaluation import Context, TrainingRun
from rubert_ood.reports.train_page import Spread, train_html
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
    assert "Macro-F1 on valid0.82000.7500 to 0.8200 over the seeds" in text
    assert "Macro-F1, mean of the seeds0.7767deviation of one run 0.0379" in text
    assert "Epoch that was kept2 of 3" in text
    kept = re.findall(r"<td>(kept[^<]*)</td>", html)
    assert kept == ["kept", "kept in the bundle", "kept"]
    names = re.findall(r'alt="([^"]*)"', html)
    assert names == [
        "loss in each epoch",
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
    assert names == ["loss in each epoch", "macro-F1 on valid in each epoch"]
