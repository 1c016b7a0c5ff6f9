"""The page of a diff: the verdict first, every number as in the document, hostile ids as text; two
evaluations."""

import copy

import pytest

from rubert_ood.bundle.evaluation import EvaluationSummary
from rubert_ood.comparing.document import DiffDocument
from rubert_ood.comparing.evaluations import compare_evaluations
from rubert_ood.reports.diff_findings import diff_findings
from rubert_ood.reports.html import MAX_TRANSITIONS, diff_html
from tests.unit.reports.test_html import (
    ATTACK,
    MAX_BYTES,
    Page,
    assert_plain,
    with_acting_texts,
)


def _ad(ad_id: str, **more) -> dict:
    return {
        "ad_id": ad_id,
        "confidence_a": 0.9,
        "confidence_b": None,
        "same_text": False,
        **more,
    }


def typed(content: dict) -> DiffDocument:
    """Read the document as it stands in diff.json; texts may be what only Python can hold."""
    return DiffDocument.model_validate(content)


@pytest.fixture
def document() -> dict:
    """What diff.json says."""
    bundle = {"uri": "/b", "version": "v1", "fingerprint": "f" * 64}
    side = {
        "outcome": "published",
        "run_uri": f"/out/{ATTACK}",
        "run_id": "r1",
        "run_date": "2026-11-24",
        "bundle": bundle,
        "rows": 20_010,
    }
    pairs = [("Шины", "Other", 400), ("Other", "Книги", 200), (ATTACK, "Шины", 20)]
    flags = {"both": 3, "became": 300, "no_longer": 5, "neither": 19_692}
    names = ("stayed", "left", "joined", "only_a", "only_b")
    return {
        "a": side,
        "b": side | {"run_id": "r2"},
        "ads": {"both": 20_000, "only_a": 7, "only_b": 8},
        "repeated": {"ids": 1, "rows_a": 3, "rows_b": 2},
        "changed": 620,
        "churn_rate": 0.031,
        "texts": {
            "same": 19_000,
            "same_label_changed": 190,
            "changed": 1000,
            "changed_label_changed": 430,
            "same_churn_rate": 0.01,
            "changed_churn_rate": 0.43,
        },
        "transitions": [
            {"from": a, "to": b, "count": n, "examples": [_ad(f"{ATTACK}{n}")]}
            for a, b, n in pairs
        ],
        "ood": flags
        | {
            "became_examples": [
                _ad(ATTACK, **{"from": "Шины", "to": "Other", "distance": 1234.5})
            ]
        }
        | {"no_longer_examples": []},
        "other": flags,
        "confidence": {"num": 19_000, "mean_a": 0.8, "mean_b": 0.85, "mean_change": 0.05},
        "labels": [{"label": "Шины", "in_a": 10, "in_b": 9, **dict.fromkeys(names, 1)}],
        "evaluations": None,
    }


def test_diff_page_begins_with_the_verdict_in_plain_words(document):
    html = diff_html(typed(document))
    page = Page(html)
    assert page.says("Few labels changed: 3.1% of 20,000 ads (good: at most 5%).")
    assert page.says(
        "620 labels changed, 1.0% among ads whose text is the same. The text changed too for 430 of"
        " them."
    )
    assert page.says(
        "1 ad id occurs more than once in a run. This page leaves out 3 rows of A and 2 of B."
    )
    assert html.index("labels changed:") < html.index("<table")
    assert [finding.ok for finding in diff_findings(typed(document))] == [
        True,
        False,
        True,
        False,
    ]


def test_diff_page_shows_acting_texts_as_text_in_page_and_figure(document):
    assert_plain(diff_html(typed(with_acting_texts(document))), num_figures=0)


def test_diff_page_tables_show_numbers_and_hostile_names_as_text(document):
    html = diff_html(typed(document))
    page = Page(html)
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 1
    head, first, *_ = page.tables["Changed labels"][4:]  # below the matrix
    assert head == ["label in A", "label in B", "ads", "of all changes", "for example"]
    assert first[:4] == ["Шины", "Other", "400", "64.5%"]
    assert first[4].strip().startswith(ATTACK)
    assert "0.900 → –, text changed" in first[4]
    assert page.tables["Out of domain"][1] == ["OOD", "3", "300", "5", "19,692"]
    assert page.tables["Became OOD"][1] == [ATTACK, "Шины", "Other", "1,234.5"]
    assert page.tables["Labels"][1] == ["Шины", "10", "9", "1", "1", "1", "1", "1"]
    links = [tag["href"] for name, tag in page.tags if name == "a" and "title" in tag]
    assert sorted(links) == ["#pair-1", "#pair-2", "#pair-3"]
    rows = [tag["id"] for name, tag in page.tags if name == "tr" and "id" in tag]
    assert rows == ["pair-1", "pair-2", "pair-3"]


def test_diff_page_of_very_many_pairs_stays_small_and_says_what_it_leaves_out(document):
    rows = [
        {
            "from": f"{'д' * 300}{n}",
            "to": "Other",
            "count": 2000 - n,
            "examples": [_ad("я" * 5000 + str(n))] * 3,
        }
        for n in range(2000)
    ]
    html = diff_html(typed(document | {"transitions": rows}))
    assert len(html.encode()) < MAX_BYTES
    page = Page(html)
    assert len(page.tables["Changed labels"]) == 1 + 20 + 1 + MAX_TRANSITIONS
    assert page.says(f"These are the {MAX_TRANSITIONS} most frequent of 2,000 pairs")


def test_diff_findings_of_nothing_in_both_divide_by_nothing(document):
    empty = copy.deepcopy(document)
    empty |= {
        "ads": {"both": 0, "only_a": 5, "only_b": 0},
        "churn_rate": None,
        "changed": 0,
        "transitions": [],
    }
    empty["texts"] |= {"same_churn_rate": None, "changed_churn_rate": None}
    empty["confidence"] |= {"mean_a": None, "mean_b": None}
    page = Page(diff_html(typed(empty)))
    assert page.says("The runs have no ad in common, so nothing can be compared.")
    assert page.says("All ads kept their label.")
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_two_evaluations_stand_side_by_side_on_the_page(document):
    a = EvaluationSummary.model_validate(
        {
            "headline": {"accuracy": 0.9, "macro_f1": 0.8},
            "labels": ["Книги", "Шины"],
            "per_class": [{"label": "Шины", "f1": 0.5}],
        }
    )
    b = EvaluationSummary.model_validate(
        {
            "headline": {"accuracy": 0.95, "macro_f1": 0.7},
            "labels": ["Кошки", "Шины"],
            "per_class": [{"label": "Шины", "f1": 0.25}],
        }
    )
    compared = typed(document).model_copy(
        update={"evaluations": compare_evaluations(a, b)}
    )
    page = Page(diff_html(compared))
    assert ["macro-F1", "0.8000", "0.7000", "-0.1000"] in page.tables[
        "Evaluations of the bundles"
    ]
    assert ["Шины", "0.500", "0.250", "-0.250"] in page.tables["F1 of the classes"]
    assert page.says("Only B has these classes: Кошки.")
    nothing = compared.model_copy(update={"evaluations": compare_evaluations(None, None)})
    assert Page(diff_html(nothing)).says("Neither bundle holds")
