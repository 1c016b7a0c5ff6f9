import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ood.reference import Reference
from rubert_ood.reports import figures
from rubert_ood.reports.evaluate import Material, evaluate
from rubert_ood.reports.evaluation import Context, Evaluation, Finding
from rubert_ood.reports.html import evaluation_html
from rubert_ood.training.baseline import Baseline

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"
MAX_BYTES = 5_000_000


class Page(HTMLParser):
    """Tables as rows of cell texts, by heading; every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "h2":
            self.heading, self.in_heading = "", True
        elif tag == "tr":
            self.tables.setdefault(self.heading, []).append([])
        elif tag in ("td", "th"):
            self.tables[self.heading][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        if tag == "h2":
            self.in_heading = False
        elif tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data):
        self.text.append(data)
        if getattr(self, "in_heading", False):
            self.heading += data
        elif getattr(self, "in_cell", False):
            self.tables[self.heading][-1][-1] += data

    def says(self, phrase: str) -> bool:
        return phrase in " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module", autouse=True)
def _each_figure_is_drawn_once() -> Iterator[None]:
    """Pages here differ in what stands beside the figures; test_figures looks at those."""
    drawn: dict[str, str] = {}

    def once(draw):
        def call(*arguments, **options):
            key = f"{draw.__name__} {arguments} {options}"
            if key not in drawn:
                drawn[key] = draw(*arguments, **options)
            return drawn[key]

        return call

    evaluation = (
        "reliability",
        "curve",
        "curves",
        "risk_coverage",
        "d2_histograms",
    )
    run = ("confidence", "lengths", "throughput")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*evaluation, *run):
            patch.setattr(figures, name, once(getattr(figures, name)))
        yield


@pytest.fixture(scope="module")
def evaluation(model, splits, hard_cases, ood) -> Evaluation:
    cases, hard_case_outputs = hard_cases
    test_ads = LabelledAds(
        [f"{ATTACK} {row}" for row in range(200)],
        splits["test"].labels_N,
        {"city": [ATTACK if row % 3 else "Уфа" for row in range(200)]},
    )
    material = Material(
        splits=splits,
        test_ads=test_ads,
        hard_cases=[(ATTACK, label) for _, label in cases],
        hard_case_outputs=hard_case_outputs,
        ood={ATTACK: ood["news"], "talk": ood["talk"]},
    )
    epoch = {"epoch": 1, "train_loss": 1.5, "valid_loss": 1.25}
    epoch |= {"valid_accuracy": 0.5, "valid_macro_f1": 0.4}
    context = Context(
        version="v1",
        base_model=ATTACK,
        created_at="2026-11-24T10:00:00+00:00",
        num_train=400,
        best_epoch=1,
        history=[epoch],
        settings={"optimiser": {"seed": 42}},
    )
    return evaluate(
        model,
        material,
        baseline=Baseline(accuracy=0.9, macro_f1=0.89),
        reference=Reference(splits["train"], splits["valid"]),
        context=context,
    )


def assert_self_contained(html: str) -> None:
    """One document that loads nothing, runs one script, and labels its figures."""
    assert html.startswith('<!doctype html>\n<html lang="en">')
    assert len(html.encode()) < MAX_BYTES
    page = Page(html)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith(("#", "data:"))
        assert tag != "img" or attributes["alt"]
    assert [tag for tag, _ in page.tags].count("script") == 1
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        a["content"]
        for tag, a in page.tags
        if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy
    assert "http" not in policy


def test_hostile_texts_are_inert(evaluation):
    html = evaluation_html(evaluation)
    assert_self_contained(html)
    assert Page(html).says(" ".join(ATTACK.split()))


ACTING = "a\x1b[2J\x00\u202e\u200b\x9b\udcffb"
"""Controls, a bidi override, a zero width space, and what Python makes of a file name that is not
UTF-8."""


def with_acting_texts(document: Any) -> Any:
    """Put texts that act where the attack stands, also into names."""
    return json.loads(
        json.dumps(document).replace(json.dumps(ATTACK)[1:-1], json.dumps(ACTING)[1:-1])
    )


def test_texts_that_act_reach_no_page_and_no_figure_raw(evaluation):
    acting = with_acting_texts(evaluation.model_dump())
    assert_plain(evaluation_html(Evaluation.model_validate(acting, strict=False)))


def assert_plain(html: str, num_figures: int = 6) -> None:
    """No character that acts is on the page, and every figure is XML."""
    html.encode()
    assert not set("\x1b\x00\u202e\u200b\x9b\udcff") & set(html)
    assert r"a\x1b[2J\x00\u202e\u200b\x9b\udcffb" in html
    figures = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html)
    assert len(figures) == num_figures
    for svg in figures:
        ElementTree.fromstring(base64.b64decode(svg))


def test_evaluation_tables_and_facts(evaluation):
    page = Page(evaluation_html(evaluation))
    assert set(page.tables) == {
        "Out of domain",
        "Detectors",
        "Classes",
        "Slices",
        "Confusions",
        "Hard cases",
        "Training",
    }
    rules = page.tables["Out of domain"]
    assert rules[0] == ["", "", "notebook (in use)", "conformal"]
    assert rules[1] == ["texts", "number", *["far", "flagged", "Other"] * 2]
    by_rule = [rule.kinds["talk"] for rule in evaluation.rules]
    rates = []
    for rate in by_rule:
        rates += [f"{rate.far:.1%}", f"{rate.flagged:.1%}", f"{rate.other:.1%}"]
    assert rules[4] == ["talk", "40", *rates]
    last = evaluation.detectors[-1]
    talk = last.kinds["talk"]
    detectors = page.tables["Detectors"]
    column = detectors[0].index("talk")
    of_last = [row for row in detectors if row[0] == last.detector]
    measures = [f"{talk.auroc:.3f}", f"{talk.fpr95:.1%}", f"{talk.caught:.1%}"]
    measures += [f"{talk.aupr_out:.3f}", f"{talk.aupr_in:.3f}"]
    assert [row[column] for row in of_last] == measures
    names = [result.detector for result in evaluation.detectors]
    assert [row[0] for row in detectors if row[0] in names] == names * len(measures)
    assert [row[-1] for row in detectors if row[0] == "detector"].count(
        "test ads (false alarms)"
    ) == 1
    assert of_last[2][-1] == f"{last.flagged:.2%}"
    assert [row[:2] for row in page.tables["Slices"][1:]] == [
        ["city", " ".join(ATTACK.split())],
        ["city", "Уфа"],
    ]
    classes = page.tables["Classes"][1:]
    assert sorted(row[0] for row in classes) == evaluation.labels
    assert [float(row[3]) for row in classes] == sorted(
        float(row[3]) for row in classes
    )  # the weakest first
    assert page.tables["Training"][1] == [
        "1",
        "1.5000",
        "1.2500",
        "0.5000",
        "0.4000",
        "kept",
    ]
    headline = evaluation.headline
    assert page.says(f"{headline.accuracy:.2%} of the test ads")
    assert page.says("good: at least 90.00%, the baseline")
    assert page.says(f"{headline.ece_after:.4f} before T {headline.ece_before:.4f}")
    assert page.says("2026-11-24 10:00:00 UTC")
    assert not page.says("Not measured")


def test_evaluation_of_an_older_bundle_says_that_detectors_of_tokens_are_not_measured(
    evaluation,
):
    kept = [found for found in evaluation.detectors if "tokens" not in found.detector]
    assert 0 < len(kept) < len(evaluation.detectors)
    older = evaluation.model_copy(update={"detectors": kept})
    assert Page(evaluation_html(older)).says("Not measured: detectors of tokens")


def test_evaluation_of_the_test_split_alone(model, splits):
    material = Material(
        {"test": splits["test"]}, LabelledAds(["текст"] * 200, splits["test"].labels_N)
    )
    minimal = evaluate(model, material)
    html = evaluation_html(minimal)
    assert_self_contained(html)
    page = Page(html)
    assert set(page.tables) == {"Out of domain", "Classes", "Confusions"}
    assert page.says(
        "Not measured: the TF-IDF baseline, out-of-domain texts (evaluation.ood_uri), hard cases"
    )


def test_verdict_comes_first_and_counts(evaluation):
    good = [Finding(True, "fine one"), Finding(True, "fine two")]
    html = evaluation_html(evaluation.model_copy(update={"verdict": good}))
    assert Page(html).says("Trust this model: all 2 checks are good.")
    mixed = [*good, Finding(False, "bad one")]
    html = evaluation_html(evaluation.model_copy(update={"verdict": mixed}))
    assert Page(html).says(
        "Trust this model with care: 1 of 3 checks calls for attention."
    )
    assert html.index("bad one") < html.index("fine one") < html.index("<dl")
