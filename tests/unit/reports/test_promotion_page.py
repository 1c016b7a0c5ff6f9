"""The page of a promotion: the verdict in words, both bundles side by side."""

import re

import pytest

from rubert_ood.promotion.document import Change, Churn, LabelMove
from rubert_ood.reports.promotion_page import (
    f1_changes,
    measure_rows,
    promotion_findings,
    promotion_html,
)
from tests.unit.promotion.test_document import promotion
from tests.unit.promotion.test_limits import comparison, measures, row

ATTACK = "<script>alert(1)</script>"


def text_of(html: str) -> str:
    """What a person reads, without tags and figures."""
    body = html[html.index("<body>") :]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "The bundle is refused, since it breaks 1 of 2 limits. The champion stays."),
        (
            {"outcome": "accepted", "checks": []},
            "The bundle is the champion now, and keeps all 0 limits.",
        ),
        (
            {"outcome": "forced", "forced": "it reads windows"},
            "The bundle is the champion by force. The reason given is “it reads windows”.",
        ),
        (
            {"champion": None},
            "since it breaks 1 of 2 limits. A champion is still missing.",
        ),
        (
            {"champion": None, "outcome": "accepted", "checks": []},
            "The bundle is the first champion, and keeps all 0 limits of its own.",
        ),
    ],
)
def test_promotion_html_says_the_verdict_first(changes, sentence):
    page = text_of(promotion_html(promotion(**changes)))
    assert sentence in page
    assert page.index(sentence) < page.index("is v2 (")


def test_promotion_html_names_both_bundles_and_what_was_measured():
    found = comparison(
        sample_uri="s3://catalogue",
        churn=Churn(
            num_ads=200,
            changed=3,
            moves=[LabelMove(champion_label="Книги", label="Кошки", count=3)],
        ),
        confusions=[{"true": "A", "predicted": "B", "count": 7, "champion_count": 2}],
    )
    page = text_of(promotion_html(promotion(comparison=found)))
    for piece in (
        "Promotion of bundle v2 over v1",
        "The new bundle is v2 ( 222222222222 )",
        "The champion is v1 ( 111111111111 )",
        "A B 7 2 +5",
        "Книги Кошки 3 1.50%",
        "200 ads from all over s3://catalogue , and 3 of them change",
        "AUROC of OOD: talk 0.9000 0.9000 +0.0000",
        "max_churn share of ads with another label 40.00% at most 30%",
    ):
        assert piece in page, piece


def test_promotion_html_of_a_first_bundle_has_no_column_of_a_champion():
    found = comparison(
        champion=None,
        accuracy=None,
        macro_f1=None,
        churn=None,
        speed_ratio=None,
        new=measures(),
        classes=[{"label": "Книги", "support": 9, "f1": 0.5}],
        confusions=[{"true": "A", "predicted": "B", "count": 7}],
    )
    html = promotion_html(promotion(champion=None, comparison=found))
    page = text_of(html)
    assert "The comparison had no champion." in page
    assert "right alone" not in page
    assert "<figure>" not in html
    assert "A B 7 The numbers count test ads by their class" in page
    assert "Set evaluation.ood_uri to measure OOD texts as well." in page


def test_promotion_html_of_a_champion_that_could_not_be_read_does_not_say_there_was_none():
    found = comparison(champion=None, accuracy=None, macro_f1=None, churn=None)
    changes = {"outcome": "forced", "forced": "the disk is gone"}
    page = text_of(promotion_html(promotion(comparison=found, **changes)))
    assert "The reason given is “the disk is gone”" in page
    assert "The champion could not be read, so nothing was compared with it." in page
    assert "The comparison had no champion" not in page


def test_promotion_html_escapes_labels_and_reasons():
    found = comparison(classes=[row(ATTACK, -0.1, 0.01)], labels_added=[ATTACK])
    html = promotion_html(promotion(comparison=found, forced=ATTACK, outcome="forced"))
    assert ATTACK not in html
    assert "&lt;script&gt;alert(1)" in html


def test_promotion_findings_begin_with_the_limits_that_are_not_kept():
    found = comparison(
        accuracy=Change(value=-0.03, lower=-0.04, upper=-0.02),
        discordant={"only_new": 4, "only_champion": 34, "p": 1e-6},
        labels_removed=["Шины"],
        num_unreadable=2,
    )
    findings = promotion_findings(promotion(comparison=found))
    assert [(item.ok, item.text) for item in findings] == [
        (
            False,
            "The share of ads with another label is 40.00%, and max_churn allows at most 30%.",
        ),
        (
            False,
            "Accuracy changes by -3.0 points, between -4.0 and -2.0 by the interval.",
        ),
        (True, "Macro-F1 changes by +0.0 points, between -0.5 and +0.5 by the interval."),
        (
            False,
            "The new bundle alone gets 4 test ads right, and the champion alone 34"
            " (McNemar's p is 1e-06).",
        ),
        (True, "Of 100 ads of the catalogue 5.0% would get another label."),
        (True, "The new bundle is 1.00 times as fast as the champion."),
        (False, "The new bundle lacks these classes: Шины."),
        (True, "The comparison leaves out 2 test ads, which a bundle cannot read."),
    ]


def test_measure_rows_have_the_difference_where_there_is_a_champion():
    new = measures(accuracy=0.95, ood_auroc={"talk": 0.8})
    rows = {one.name: one for one in measure_rows(comparison(new=new))}
    assert rows["accuracy"].difference == pytest.approx(0.05)
    assert rows["AUROC of OOD: talk"].difference == pytest.approx(-0.1)
    assert rows["accuracy"].change is not None
    alone = measure_rows(comparison(champion=None))
    assert {one.difference for one in alone} == {None}


def test_f1_changes_draws_each_class_by_its_name():
    drawn = f1_changes([row("Книги", 0.02, 0.5), row("Кошки", -0.1, 0.01)])
    assert drawn.index("Кошки") < drawn.index("Книги")
    assert "change of F1, in points" in drawn
