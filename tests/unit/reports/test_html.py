import base64
import copy
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from jinja2 import UndefinedError

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ood.reference import Reference
from rubert_ood.reports import figures
from rubert_ood.reports.evaluation import evaluate
from rubert_ood.reports.html import _speed, evaluation_html, run_html

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

    evaluation = ("reliability", "curve", "curves", "risk_coverage", "d2_histograms", "detectors")
    run = ("confidence", "lengths", "throughput", "transition_matrix")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*evaluation, *run):
            patch.setattr(figures, name, once(getattr(figures, name)))
        yield


@pytest.fixture(scope="module")
def evaluation(model, splits, hard_cases, ood):
    cases, part = hard_cases
    return evaluate(
        model,
        splits,
        hard_cases=([(ATTACK, label) for _, label in cases], part),
        ood={ATTACK: ood["news"], "talk": ood["talk"]},
        baseline={"accuracy": 0.9, "macro_f1": 0.89},
        reference=Reference(splits["train"], splits["valid"]),
        test_ads=LabelledAds(
            [f"{ATTACK} {row}" for row in range(200)],
            splits["test"].labels_N,
            {"city": [ATTACK if row % 3 else "Уфа" for row in range(200)]},
        ),
        context={
            "version": "v1",
            "base_model": ATTACK,
            "created_at": "2026-11-24T10:00:00+00:00",
            "num_train": 400,
            "best_epoch": 1,
            "history": [
                {
                    "epoch": 1,
                    "train_loss": 1.5,
                    "valid_loss": 1.25,
                    "valid_accuracy": 0.5,
                    "valid_macro_f1": 0.4,
                }
            ],
            "settings": {"optimiser": {"seed": 42}},
        },
    )


@pytest.fixture
def full_manifest(manifest):
    shards = [
        {
            "shard_id": f"{number:05d}",
            "uri": f"s3://ads/{ATTACK}.parquet",
            "rows_in": 10,
            "rows_rejected": number % 2,
            "seconds": 2.0 + number % 3,
            "finished_at": f"2026-11-24T10:{number // 60:02d}:{number % 60:02d}.500+00:00",
        }
        for number in range(90)
    ]
    return manifest | {
        "outcome": "refused",
        "run_uri": "s3://ads/run_id=abc123",
        "input_uri": "s3://ads/in",
        "output_uri": "s3://ads/out",
        "fingerprint": "f" * 64,
        "code_version": "0.1.0",
        "bundle": {"uri": "s3://b", "version": "v1", "fingerprint": "b" * 64},
        "started_at": "2026-11-24T12:59:55+03:00",
        "finished_at": "2026-11-24T13:01:30+03:00",
        "elapsed_s": 95.0,
        "rows_per_s": 10.5,
        "rejected_reasons": {ATTACK: 7, "null ad_id": 3},
        "quarantined": [{"uri": "s3://ads/bad.parquet", "reason": ATTACK}],
        "confidence_histogram": [0] * 10 + list(range(10)),
        "token_histogram": [3, 0, 0, 10, 20, *[0] * 16],
        "padding_share": 0.0312,
        "cities": {"rows": 900, "rows_unseen": 18, "unseen": {ATTACK: 10, "тверь": 3}},
        "top_ood": [
            {
                "ad_id": f"{ATTACK}{n}",
                "text_key": f"{n:032x}",
                "label": "Книги",
                "confidence": 0.5,
                "is_ood": n == 0,
                "ood_distance": 1234.4 - n,
                "ood_z": 40.25,
                "ood_p": 0.0125,
                "text": f"{ATTACK} текст",
                "uri": "s3://ads/a.parquet",
            }
            for n in range(2)
        ],
        "shards": shards,
        "gate": [
            {"check": "max_error_rate", "value": 0.01, "limit": 0.02, "ok": True},
            {"check": "max_ood_rate", "value": 0.0333, "limit": 0.02, "ok": False},
        ],
    }


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
        a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}';" in policy
    assert "http" not in policy


def _pair(before: str, now: str, count: int, examples: list[str]) -> dict:
    return {"from": before, "to": now, "count": count, "examples": examples}


def test_hostile_texts_are_inert(evaluation, full_manifest):
    previous = copy.deepcopy(full_manifest) | {"classes": {ATTACK: 5}}
    changes = {"num_both": 5, "churn_rate": 0.2, "pairs": [_pair(ATTACK, ATTACK, 1, [ATTACK])]}
    for html in (evaluation_html(evaluation), run_html(full_manifest, previous, changes)):
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


def test_texts_that_act_reach_no_page_and_no_figure_raw(evaluation, full_manifest):
    previous = copy.deepcopy(full_manifest) | {"classes": {ATTACK: 5}}
    changes = {"num_both": 5, "churn_rate": 0.2, "pairs": [_pair(ATTACK, ATTACK, 1, [ATTACK])]}
    pages = [
        evaluation_html(with_acting_texts(evaluation)),
        run_html(*map(with_acting_texts, (full_manifest, previous, changes))),
    ]
    for html in pages:
        assert_plain(html)


def assert_plain(html: str) -> None:
    """No character that acts is on the page, and every figure is XML."""
    html.encode()
    assert not set("\x1b\x00\u202e\u200b\x9b\udcff") & set(html)
    assert r"a\x1b[2J\x00\u202e\u200b\x9b\udcffb" in html
    figures = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", html)
    assert figures
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
    by_rule = [rule["kinds"]["talk"] for rule in evaluation["rules"]]
    rates = [f"{rates[name]:.1%}" for rates in by_rule for name in ("far", "flagged", "other")]
    assert rules[4] == ["talk", "40", *rates]
    energy = evaluation["detectors"][-1]
    measures = [
        f"{energy['kinds']['talk'][name]:.3f}" for name in ("auroc", "aupr_out", "aupr_in", "fpr95")
    ]
    caught = [f"{energy['kinds']['talk']['caught']:.1%}", f"{energy['flagged']:.2%}"]
    assert page.tables["Detectors"][-1] == ["energy", "talk", *measures, *caught]
    assert [row[:2] for row in page.tables["Slices"][1:]] == [
        ["city", " ".join(ATTACK.split())],
        ["city", "Уфа"],
    ]
    classes = page.tables["Classes"][1:]
    assert sorted(row[0] for row in classes) == evaluation["labels"]
    assert [float(row[3]) for row in classes] == sorted(
        float(row[3]) for row in classes
    )  # the weakest first
    assert page.tables["Training"][1] == ["1", "1.5000", "1.2500", "0.5000", "0.4000", "kept"]
    headline = evaluation["headline"]
    assert page.says(f"{headline['accuracy']:.4f} baseline 0.9000")
    assert page.says(f"{headline['ece_after']:.4f} before {headline['ece_before']:.4f}")
    assert page.says("2026-11-24 10:00:00 UTC")
    assert not page.says("Not measured")


def test_evaluation_of_the_test_split_alone(model, splits):
    minimal = evaluate(
        model,
        {"test": splits["test"]},
        hard_cases=None,
        ood=None,
        baseline=None,
        reference=None,
        test_ads=LabelledAds(["текст"] * 200, splits["test"].labels_N),
        context={},
    )
    html = evaluation_html(minimal)
    assert_self_contained(html)
    page = Page(html)
    assert set(page.tables) == {"Out of domain", "Classes", "Confusions"}
    assert page.says(
        "Not measured: the TF-IDF baseline, out-of-domain texts (evaluation.ood_uri), hard cases"
    )


def test_verdict_comes_first_and_counts(evaluation):
    good = [{"ok": True, "text": "fine one"}, {"ok": True, "text": "fine two"}]
    html = evaluation_html(evaluation | {"verdict": good})
    assert Page(html).says("This model can be trusted on everything that was measured.")
    html = evaluation_html(evaluation | {"verdict": [*good, {"ok": False, "text": "bad one"}]})
    assert Page(html).says("Trust this model with care: 1 of 3 checks calls for attention.")
    assert html.index("bad one") < html.index("fine one") < html.index("Accuracy")


def test_a_missing_number_is_an_error_not_a_blank(evaluation):
    broken = evaluation | {
        "headline": {k: v for k, v in evaluation["headline"].items() if k != "threshold"}
    }
    with pytest.raises((UndefinedError, TypeError)):
        evaluation_html(broken)


def test_ads_that_were_cut_are_shown_with_their_share(full_manifest):
    cut = copy.deepcopy(full_manifest)
    cut["counts"]["rows_cut"] = 99
    assert Page(run_html(cut, None)).says("Cut 10.00% 99 ads: too long, read in part")
    assert Page(run_html(cut, cut)).says("Cut 10.00% 99 ads, before 10.00%: too long, read in part")
    assert not Page(run_html(full_manifest, None)).says(
        "Cut"
    )  # runs of older versions did not count them


def test_run_report(full_manifest):
    previous = copy.deepcopy(full_manifest) | {
        "run_id": "before",
        "classes": {"Книги": 300, "Обувь": 100},
    }
    previous["counts"] |= {"rows_scored": 400, "rows_ood": 4, "rows_other": 8}
    page = Page(run_html(full_manifest, previous))
    assert page.says("Not published: the gate refused this run.")
    assert page.says("max_ood_rate: 0.0333 against the limit 0.02.")
    assert page.says("1 input file was set aside")
    assert page.says("OOD 3.33% 33 ads, before 1.00%")
    assert page.says("Other 6.67% 66 ads, before 2.00%")
    assert page.says("Rejected 1.00% 10 ads")
    assert page.says("Folded 20.00%")  # 1 - 792 / 990
    assert page.says("Started 2026-11-24 09:59:55 UTC, ended 2026-11-24 10:01:30 UTC.")
    assert page.tables["Labels"] == [
        ["label", "ads", "share", "before", "change"],
        ["Книги", "700", "70.71%", "75.00%", "-4.29"],
        ["Кошки", "224", "22.63%", "0.00%", "+22.63"],
        ["Other", "66", "6.67%", "0.00%", "+6.67"],
        ["Обувь", "0", "0.00%", "25.00%", "-25.00"],
    ]
    assert page.tables["Gate"][2] == ["!", "max_ood_rate", "0.0333", "0.02"]
    assert page.tables["Rejected rows"][2] == ["null ad_id", "3"]
    assert [row[3] for row in page.tables["Slowest shards"][1:]] == ["4.0"] * 10


def test_run_report_of_drift_and_of_single_ads(full_manifest):
    previous = copy.deepcopy(full_manifest) | {"run_id": "before", "run_date": "2026-11-23"}
    previous["bundle"] = previous["bundle"] | {"version": "v0", "fingerprint": "a" * 64}
    previous["counts"] |= {"rows_ood": 10}
    previous["cities"] = {"rows": 100, "rows_unseen": 1, "unseen": {}}
    page = Page(run_html(full_manifest, previous))
    assert page.says(
        "2 of 6 measures moved since run before of 2026-11-23, the last published one: OOD rate,"
        " unseen c"
    )
    assert page.says("That run had another bundle, v0: what moved may be the model, not the ads.")
    assert page.tables["Drift"] == [
        ["steady", "measure", "now", "before", "change", "distance"],
        ["✓", "label shares", "", "", "", "0.0000"],
        ["!", "OOD rate", "3.33%", "1.01%", "+2.32", ""],
        ["✓", "Other rate", "6.67%", "6.67%", "+0.00", ""],
        ["✓", "confidence of 0.95 or more", "20.00%", "20.00%", "+0.00", "0.0000"],
        ["✓", "tokens per ad", "45.6", "45.6", "+0.0%", "0.0000"],
        ["!", "unseen cities", "2.00%", "1.00%", "+1.00", ""],
    ]
    assert page.says("Padding 3.1%")
    assert page.says("18 of 900 ads with a city (2.00%)")
    assert page.tables["Unseen cities"][1:] == [[ATTACK, "10"], ["тверь", "3"]]
    ad = f"{ATTACK} текст{ATTACK}0 in s3://ads/a.parquet"
    assert page.tables["Top OOD ads"][1] == ["yes", "1,234", "40.2", "0.0125", "Книги", "0.500", ad]
    assert [row[0] for row in page.tables["Top OOD ads"][1:]] == ["yes", "no"]
    assert [f"s3://ads/{ATTACK}.parquet", "45", "900"] in page.tables["Rejected rows"]


def test_run_report_after_a_run_of_an_earlier_version(full_manifest):
    previous = copy.deepcopy(full_manifest) | {"run_id": "before"}
    for name in ("token_histogram", "padding_share", "cities", "top_ood"):
        del previous[name]
    page = Page(run_html(full_manifest, previous))
    assert page.says("Nothing moved since run before of 2026-11-24, the last published one.")
    assert page.tables["Drift"][5] == ["✓", "tokens per ad", "45.6", "45.6", "+0.0%", ""]
    assert page.tables["Drift"][6] == ["✓", "unseen cities", "2.00%", "", "", ""]
    for name in ("token_histogram", "padding_share", "cities", "top_ood"):
        full_manifest[name] = None  # what a manifest of now says when its receipts do not tell
    page = Page(run_html(full_manifest, previous))
    assert len(page.tables["Drift"]) == 6
    assert not page.says("Padding")
    assert {"Unseen cities", "Top OOD ads"}.isdisjoint(page.tables)


def test_run_report_without_texts_of_ads(full_manifest):
    full_manifest["top_ood"] = [ad | {"text": None} for ad in full_manifest["top_ood"]]
    page = Page(run_html(full_manifest, None))
    assert page.says("Texts are left out (setting report_texts )")
    assert page.tables["Top OOD ads"][1][-1] == f"{ATTACK}0 in s3://ads/a.parquet"


def test_run_report_of_changed_labels(full_manifest):
    pairs = [_pair("Книги", f"класс {n}", 2000 - n, [f"id{n}", "007"]) for n in range(60)]
    changes = {"num_both": 123_456, "churn_rate": 0.0213, "pairs": pairs}
    page = Page(run_html(full_manifest, full_manifest, changes))
    assert page.says(
        "123,456 ads are in this run and in the last published one; 2.13% of them have another"
        " label now."
    )
    assert page.tables["Changed labels"][:2] == [
        ["before", "now", "ads", "examples (ad ids)"],
        ["Книги", "класс 0", "2,000", "id0, 007"],
    ]
    assert len(page.tables["Changed labels"]) == 51
    assert page.says("The 50 most frequent of 60 pairs.")
    none = {"num_both": 5, "churn_rate": 0.0, "pairs": []}
    assert "Changed labels" not in Page(run_html(full_manifest, full_manifest, none)).tables
    assert not Page(run_html(full_manifest, full_manifest)).says("Changed labels")


def test_run_report_of_the_least_manifest(manifest):
    html = run_html(manifest, None)
    assert_self_contained(html)
    page = Page(html)
    assert page.says("Published: readers of latest.json see this run.")
    assert page.tables == {
        "Labels": [
            ["label", "ads", "share"],
            ["Книги", "700", "70.71%"],
            ["Кошки", "224", "22.63%"],
            ["Other", "66", "6.67%"],
        ]
    }


def test_run_report_before_the_first_shard(manifest):
    manifest |= {
        "outcome": "partial",
        "classes": {},
        "shards": [],
        "confidence_histogram": [0] * 20,
        "gate": [],
    }
    manifest["counts"] = dict.fromkeys(manifest["counts"], 0) | {"rows_planned": 5000}
    page = Page(run_html(manifest, None))
    assert page.says("Partial: 0 of 5,000 ads are done. The same command goes on from there.")
    assert page.says("OOD –")


def test_speed_counts_every_ad_in_the_stretch_in_which_its_shard_ended():
    ends = [3, 4, 5, 6, 9, 11, 14, 15, 16, 20]
    shards = [
        {
            "rows_in": 100 * (number + 1),
            "seconds": 3.0,
            "finished_at": f"2026-11-24T10:00:{end:02d}+00:00",
        }
        for number, end in enumerate(ends)
    ]
    edges_s, ads_per_s = _speed(shards)
    assert edges_s == pytest.approx([0.0, 10.0, 20.0])  # the first shard began at :00
    assert ads_per_s == pytest.approx(
        [(100 + 200 + 300 + 400 + 500) / 10, (600 + 700 + 800 + 900 + 1000) / 10]
    )
