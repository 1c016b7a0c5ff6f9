"""All reports, opened from disk in a real Chromium: quiet, offline, sortable, readable."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.bundle.evaluation import EvaluationSummary
from rubert_ood.comparing.counts import ROW_SCHEMA, count_partition
from rubert_ood.comparing.document import ChangedLabels, ChangedPair, DiffDocument, Side
from rubert_ood.comparing.evaluations import compare_evaluations
from rubert_ood.comparing.summary import summary
from rubert_ood.ood.fit import fit
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.reference import Reference
from rubert_ood.promotion.document import Promotion
from rubert_ood.reports.evaluate import Material, evaluate
from rubert_ood.reports.evaluation import Context, Evaluation, TrainingRun
from rubert_ood.reports.html import diff_html, evaluation_html
from rubert_ood.reports.promotion_page import promotion_html
from rubert_ood.reports.run_page import run_html
from rubert_ood.reports.train_page import train_html
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.profile import token_histogram
from rubert_ood.settings import DecisionSettings, FitSettings
from rubert_ood.synthetic.catalogue import categories
from rubert_ood.training.baseline import Baseline

ATTACK = '<script>window.attacked = 1</script><img src="x" onerror="window.attacked = 2">'
LAUNCH = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NUM_CLASSES, NUM_DIMENSIONS = 50, 60
LONG_WORD = "длинноеслово" * 15
FIGURES = {"evaluation": 6, "run": 3, "diff": 0, "promotion": 1, "train": 5}
MOVING_COLUMNS = {"evaluation": 40, "run": 11, "diff": 10, "promotion": 14, "train": 8}
PAGES = list(FIGURES)
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]\d+)?")


def launch(playwright: Playwright) -> Browser:
    """Start the system's Chromium or Chrome, else playwright's own; without any, skip, but fail in
    CI."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        return playwright.chromium.launch(executable_path=path, args=list(LAUNCH))
    except PlaywrightError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no browser: {str(error).splitlines()[0]}")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


def features(num: int, seed: int, *, noise: float = 1.0, off: float = 0.0) -> Outputs:
    """Ads around one corner per class; `off` moves them away along axes that no class uses."""
    rng = np.random.default_rng(seed)
    labels_N = np.arange(num) % NUM_CLASSES
    cls_NH = 4.0 * np.eye(NUM_CLASSES, NUM_DIMENSIONS)[labels_N] + noise * rng.normal(
        size=(num, NUM_DIMENSIONS)
    )
    cls_NH[:, NUM_CLASSES:] += off
    logits_NC = 1.5 * cls_NH[:, :NUM_CLASSES] / (1 + off)
    return Outputs(logits_NC, cls_NH, labels_N, cls_NH)


def evaluation() -> Evaluation:
    """An evaluation as large as a real one."""
    labels = categories()
    train, valid, test = features(2000, 1), features(500, 2), features(1000, 3)
    model = fit(
        fit_mahalanobis(train.cls_NH, train.labels_N, len(labels)),
        valid,
        labels=labels,
        settings=FitSettings(),
        decision=DecisionSettings(),
    )
    distances = {"code": 4.0, "english": 3.0, "gibberish": 6.0}
    distances |= {"news": 2.0, "other_goods": 1.0, "talk": 2.5}
    kinds = {}
    for number, (kind, off) in enumerate(distances.items()):
        kinds[kind] = features(100, number, off=off)
    texts = [f"{ATTACK} {LONG_WORD} объявление {row}" for row in range(1000)]
    cities = [f"{ATTACK} {LONG_WORD}" if row % 3 else "Уфа" for row in range(1000)]
    material = Material(
        splits={"train": train, "valid": valid, "test": test},
        test_ads=LabelledAds(texts, test.labels_N, {"city": cities}),
        hard_cases=[
            (f"{ATTACK} {LONG_WORD} {row}", labels[row % 7]) for row in range(60)
        ],
        hard_case_outputs=features(60, 4, noise=2),
        ood=kinds,
    )
    epochs = [
        {
            "epoch": n,
            "train_loss": 2 / n,
            "valid_loss": 1.5 / n,
            "valid_accuracy": 0.8 + n / 50,
            "valid_macro_f1": 0.8,
        }
        for n in (1, 2, 3)
    ]
    context = Context(
        version="2026-11-24T101441",
        base_model="DeepPavlov/rubert-base-cased",
        created_at="2026-11-24T10:17:30+00:00",
        num_train=2000,
        best_epoch=2,
        history=epochs,
        settings={
            "optimiser": {"learning_rate": 2e-5, "batch_size": 16},
            "split": {"seed": 42},
        },
    )
    return evaluate(
        model,
        material,
        baseline=Baseline(accuracy=0.95, macro_f1=0.95),
        reference=Reference(train, valid),
        context=context,
    )


def manifest(seed: int) -> Manifest:
    """A run of 150 shards that the gate refused."""
    rng = np.random.default_rng(seed)
    counts = {
        label: int(count)
        for label, count in zip(
            categories(), rng.integers(5_000, 100_000, 50), strict=True
        )
    }
    scored = sum(counts.values())
    shards = [
        {
            "shard_id": f"{number:05d}-ab12cd34",
            "part_sha256": "0",
            "uri": (
                f"s3://marketplace-catalogue/exports/2026-11-24/{LONG_WORD}/part-{number:05d}.parquet"
            ),
            "rows_in": 20_000,
            "rows_rejected": int(rng.integers(0, 16)),
            "seconds": float(rng.uniform(5, 40)),
            "finished_at": (
                f"2026-11-24T{1 + number // 60:02d}:{number % 60:02d}"
                f":{rng.integers(60):02d}.000+00:00"
            ),
        }
        for number in range(150)
    ]
    content = {
        "run_id": f"run{seed}",
        "run_date": "2026-11-24",
        "run_uri": "s3://marketplace-output/run_date=2026-11-24/run_id=run1",
        "input_uri": "s3://marketplace-catalogue/exports/2026-11-24",
        "code_version": "0.1.0",
        "outcome": "refused",
        "started_at": "2026-11-24T00:59:30+00:00",
        "finished_at": "2026-11-24T03:30:00+00:00",
        "elapsed_s": 9030.0,
        "rows_per_s": 332.0,
        "bundle": {
            "uri": "s3://b",
            "version": "2026-11-24T101441",
            "fingerprint": "d44037a38ccc6d4f",
        },
        "counts": {
            "rows_planned": scored + 1200,
            "rows_quarantined": 0,
            "bytes_in": 10**9,
            "bytes_quarantined": 10**6,
            "rows_in": scored + 1200,
            "rows_scored": scored,
            "rows_rejected": 1200,
            "rows_empty": 35,
            "rows_ood": int(scored * rng.uniform(0.01, 0.03)),
            "rows_other": int(scored * rng.uniform(0.03, 0.06)),
            "unique_texts": int(scored * 0.86),
            "tokens": scored * 50,
        },
        "classes": counts,
        "duplicates": None,
        "rejected_reasons": {f"{ATTACK} title is not text": 800, "ad_id is null": 400},
        "quarantined": [
            {
                "uri": "s3://marketplace-catalogue/bad.parquet",
                "reason": "no column description",
            }
        ],
        "confidence_histogram": (
            (np.linspace(0, 1, 20) ** (5 + seed) * 800_000).astype(int).tolist()
        ),
        "token_histogram": token_histogram(
            np.exp(rng.normal(3.6 + seed / 5, 0.6, 100_000)).astype(int)
        ),
        "padding_share": 0.031,
        "cities": {
            "rows": scored - 5000,
            "rows_unseen": 31_000 * seed,
            "unseen": (
                {f"{ATTACK} {LONG_WORD}": 900}
                | {f"посёлок № {n}": 800 // n for n in range(1, 20)}
            ),
        },
        "top_ood": [
            {
                "ad_id": f"{ATTACK}-{n}",
                "text_key": f"{n:032x}",
                "confidence": 0.74 - n / 50,
                "is_ood": n < 15,
                "ood_distance": 337_690.0 / (1 + n),
                "ood_z": 900.0 / (1 + n),
                "ood_p": 0.0013,
                "label": "Ремонт и строительство",
                "text": f"{ATTACK} {LONG_WORD} куплю гараж, звоните по вечерам, торг уместен {n} "[
                    :200
                ],
                "uri": f"s3://marketplace-catalogue/exports/2026-11-24/part-{n:05d}.parquet",
            }
            for n in range(20)
        ],
        "shards": shards,
        "gate": [
            {"check": "max_error_rate", "value": 0.0004, "limit": 0.01, "ok": True},
            {"check": "max_class_shift", "value": 0.3301, "limit": 0.3, "ok": False},
        ],
    }
    return Manifest.model_validate(content)


def training() -> Context:
    """Three seeds of five epochs."""
    runs = []
    for seed in (42, 43, 44):
        history = [
            {
                "epoch": n,
                "train_loss": 2 / n,
                "valid_loss": 1.5 / n + seed / 1000,
                "valid_accuracy": 0.7 + n / 50 + seed / 1000,
                "valid_macro_f1": 0.7 + n / 60 + seed / 1000,
                "learning_rate": 1e-4 / n,
                "grad_norm": 1.0 + n / seed,
                "train_tokens_per_s": 9000.0 + n * seed,
            }
            for n in range(1, 6)
        ]
        runs.append(TrainingRun(seed=seed, best_epoch=5, history=history))
    return Context(
        version="v1",
        base_model=f"{ATTACK} {LONG_WORD}",
        num_train=7200,
        seed=44,
        best_epoch=5,
        runs=runs,
        settings={"optimiser": {"learning_rate": 2e-5, "patience": LONG_WORD}},
    )


def changes() -> ChangedLabels:
    """What a comparison by ad id says."""
    names = categories()
    pairs = [
        ChangedPair(
            label_a=names[n],
            label_b=names[-1 - n % 7],
            count=9000 // (1 + n),
            examples=[f"{ATTACK}{n}", str(10**9 + n)],
        )
        for n in range(40)
    ]
    return ChangedLabels(num_both=2_400_000, churn_rate=0.0213, pairs=pairs)


def difference() -> DiffDocument:
    """Two runs of 6,000 hostile ids and 50 labels, of which most pairs occur."""
    rng = np.random.default_rng(9)
    labels = [*categories()[:48], f"{ATTACK} {LONG_WORD}", "Other"]
    rows = []
    for in_b in (False, True):
        for number in range(6000):
            label = (
                labels[number % 50] if rng.random() < 0.7 else labels[rng.integers(50)]
            )
            rows.append(
                {
                    "ad_id": f"{ATTACK}{LONG_WORD}{number + 100 * in_b}",
                    "label": label,
                    "confidence": float(rng.random()),
                    "is_ood": bool(rng.random() < 0.05),
                    "ood_distance": float(rng.random() * 5000),
                    "text_key": str(rng.integers(2)),
                    "in_b": in_b,
                }
            )
    counts = count_partition(pa.Table.from_pylist([*rows, rows[0]], schema=ROW_SCHEMA))
    names = {"run_uri", "run_id", "run_date", "bundle", "outcome"}
    side = Side(rows=6000, **{name: getattr(manifest(1), name) for name in names})
    measured = EvaluationSummary.model_validate_json(evaluation().model_dump_json())
    fewer = measured.model_copy(
        update={"labels": measured.labels[1:], "per_class": measured.per_class[1:]}
    )
    evaluations = compare_evaluations(measured, fewer)
    return summary(side, side, counts).model_copy(update={"evaluations": evaluations})


def promotion() -> Promotion:
    """Fifty classes with hostile names, of which two bundles tell some better, some worse."""
    rng = np.random.default_rng(4)
    labels = [*categories()[:48], f"{ATTACK} {LONG_WORD}", "Прочее"]
    classes = []
    for label in labels:
        change, width = rng.normal(0, 0.03), rng.uniform(0.01, 0.05)
        f1 = rng.uniform(0.6, 0.95)
        row = {"label": label, "support": int(rng.integers(20, 300)), "f1": f1}
        row |= {"champion_f1": f1 - change}
        row["change"] = {
            "value": change,
            "lower": change - width,
            "upper": change + width,
        }
        only_new, only_champion = rng.integers(0, 20, 2).tolist()
        row["discordant"] = {
            "only_new": only_new,
            "only_champion": only_champion,
            "p": float(rng.random()),
        }
        classes.append(row)
    measures = {"accuracy": 0.91, "macro_f1": 0.89, "ece": 0.02, "false_alarms": 0.004}
    measures |= {"other_rate": 0.03, "ads_per_s": 812.5}
    measures["ood_auroc"] = {"news": 0.93, f"{ATTACK} {LONG_WORD}": 0.88}
    moves, confusions = [], []
    for number in range(40):
        pair = (labels[number], labels[-1 - number % 9])
        moves.append({"champion_label": pair[0], "label": pair[1], "count": 90 - number})
        confusions.append(
            {
                "true": pair[0],
                "predicted": pair[1],
                "count": int(rng.integers(30)),
                "champion_count": int(rng.integers(30)),
            }
        )
    change = {"value": 0.004, "lower": -0.012, "upper": 0.02}
    content = {
        "bundle": {
            "uri": f"s3://b/{LONG_WORD}",
            "version": "v2",
            "fingerprint": "2" * 64,
        },
        "champion": {"uri": "s3://b/v1", "version": "v1", "fingerprint": "1" * 64},
        "created_at": "2026-11-24T03:00:00.000+00:00",
        "code_version": "0.4.0",
        "confidence": 0.95,
        "comparison": {
            "test_uri": "s3://labelled",
            "num_ads": 5000,
            "num_unreadable": 3,
            "sample_uri": f"s3://catalogue/{LONG_WORD}",
            "device": "CPU",
            "new": measures,
            "champion": measures | {"accuracy": 0.906, "ads_per_s": 790.0},
            "accuracy": change,
            "macro_f1": change,
            "discordant": {"only_new": 130, "only_champion": 110, "p": 0.22},
            "classes": classes,
            "confusions": confusions,
            "churn": {"num_ads": 5000, "changed": 412, "moves": moves},
            "speed_ratio": 1.03,
            "labels_added": [f"{ATTACK} {LONG_WORD}"],
        },
        "checks": [
            {"check": "max_accuracy_loss", "value": 0.012, "limit": 0.01, "ok": False},
            {"check": "max_churn", "value": 0.0824, "limit": 0.3, "ok": True},
            {"check": "min_test_ads", "value": 5000, "limit": 200, "ok": True},
        ],
        "outcome": "refused",
        "refusal_reason": "limits.max_accuracy_loss: 0.012 against 0.01",
    }
    return Promotion.model_validate_json(json.dumps(content))


@pytest.fixture(scope="module")
def measured() -> Evaluation:
    return evaluation()


@pytest.fixture(scope="module")
def reports(
    tmp_path_factory: pytest.TempPathFactory, measured: Evaluation
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    pages = {
        "evaluation": evaluation_html(measured),
        "run": run_html(manifest(1), manifest(2), changes()),
        "diff": diff_html(difference()),
        "promotion": promotion_html(promotion()),
        "train": train_html(training()),
    }
    for name, html in pages.items():
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in pages}


def numbers(page: Page, table: int, column: int) -> list[float]:
    """Read a column as a person does: from the text, not from what the script sorts by."""
    cells = (
        page.locator("table.sortable")
        .nth(table)
        .locator(f"tbody tr > :nth-child({column + 1})")
        .all_inner_texts()
    )
    found = []
    for cell in cells:
        number = NUMBER.search(cell.replace(",", ""))
        found.append(float(number.group() if number else "-inf"))  # a blank sorts lowest
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 390])
@pytest.mark.parametrize("name", PAGES)
def test_report_page_is_quiet_offline_and_fits(browser, reports, name, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    noise, requests = [], []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(reports[name].as_uri())
    page.wait_for_load_state("networkidle")

    assert noise == []
    assert {url.split(":")[0] for url in requests} <= {"file", "data"}
    assert [url for url in requests if url.startswith("file")] == [reports[name].as_uri()]
    assert page.evaluate("window.attacked") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    figures = page.locator("img, svg[role=img]")
    assert figures.count() == FIGURES[name]
    for figure in figures.all():
        assert (
            figure.get_attribute("alt") or figure.get_attribute("aria-label") or ""
        ).strip()
        assert figure.evaluate("image => image.complete && image.naturalWidth > 100")
    luminance = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    )
    assert (luminance > 200) is (scheme == "light")
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_report_table_sorts_numeric_columns_as_numbers_both_ways(browser, reports, name):
    page = browser.new_page()
    page.goto(reports[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    tables = page.locator("table.sortable")
    columns_that_moved = 0
    for table in range(tables.count()):
        heads = tables.nth(table).locator("thead tr").last.locator("th")
        for column in range(heads.count()):
            head = heads.nth(column)
            if head.get_attribute("class") != "n" or head.inner_text() == "ok":
                continue
            before = numbers(page, table, column)
            head.click()
            assert numbers(page, table, column) == sorted(before)
            assert head.get_attribute("aria-sort") == "ascending"
            head.click()
            assert numbers(page, table, column) == sorted(before, reverse=True)
            assert head.get_attribute("aria-sort") == "descending"
            assert tables.nth(table).locator("[aria-sort]").count() == 1
            columns_that_moved += len(set(before)) > 1
    assert columns_that_moved >= MOVING_COLUMNS[name]
    page.close()


def test_report_table_moves_rows_whole_and_sorts_names_by_keyboard(browser, reports):
    page = browser.new_page()
    page.goto(reports["run"].as_uri())
    labels = page.get_by_role("region", name="Labels", exact=True).locator("table")
    rows = set(labels.locator("tbody tr").all_inner_texts())
    head = labels.locator("th", has_text="label")
    head.focus()
    page.keyboard.press("Enter")
    names = labels.locator("tbody tr > :first-child").all_inner_texts()
    assert names == sorted(names) != list(manifest(1).classes.values())
    page.keyboard.press("Space")
    assert labels.locator("tbody tr > :first-child").all_inner_texts() == names[::-1]
    assert set(labels.locator("tbody tr").all_inner_texts()) == rows
    page.close()


def test_report_hard_cases_sort_by_mark(browser, reports):
    page = browser.new_page()
    page.goto(reports["evaluation"].as_uri())
    cases = page.get_by_role("region", name="Hard cases").locator("table")
    marks = cases.locator("tbody tr > :first-child").all_inner_texts()
    assert marks == sorted(marks)  # what is wrong comes first
    assert set(marks) == {"!", "✓"}
    head = cases.locator("th", has_text="ok")
    head.click()
    head.click()
    assert cases.locator("tbody tr > :first-child").all_inner_texts() == marks[::-1]
    page.close()


def test_report_figures_follow_the_colour_scheme_and_print_is_light(browser, reports):
    """The ink inside an <img> is lighter on black paper than on white paper; paper from a printer
    is white."""
    page = browser.new_page()
    ink = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(
            reports["evaluation"].as_uri()
        )  # an open page draws its images again at some later time
        ink[scheme] = page.evaluate("""async () => {
                const image = document.querySelector("figure img");
                const canvas = document.createElement("canvas");
                [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
                const context = canvas.getContext("2d");
                context.drawImage(image, 0, 0);
                const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
                let [sum, count] = [0, 0];
                for (let i = 0; i < pixels.length; i += 4) {
                    const grey = Math.abs(pixels[i] - pixels[i + 2]) < 40;
                    if (pixels[i + 3] === 255 && grey) { sum += pixels[i]; count += 1; }
                }
                return sum / count;
            }""")
    assert ink["light"] < 120 < 140 < ink["dark"]
    page.emulate_media(media="print", color_scheme="dark")
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_report_contents_stay_and_lead_to_each_section(browser, reports, name, width):
    page = browser.new_page(viewport={"width": width, "height": 700})
    page.goto(reports[name].as_uri())
    contents = page.get_by_role("navigation", name="Contents")
    heads = page.locator("h2")
    assert contents.locator("a").count() == heads.count() + 1 > 3
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert page.evaluate("window.scrollY") > 700
    assert contents.bounding_box()["y"] == 0
    for link in contents.locator("a").all()[1:]:
        link.click()
        place = link.get_attribute("href")
        top = page.locator(place).bounding_box()["y"]
        box = contents.bounding_box()
        assert box["y"] == 0
        assert box["height"] <= top < 700, place
    page.close()


def test_click_on_a_confusion_shows_its_ads(browser, reports, measured):
    page = browser.new_page(viewport={"width": 1280, "height": 700})
    page.goto(reports["evaluation"].as_uri())
    cells = page.get_by_role("region", name="Confusion matrix").locator("td a")
    assert cells.count() > 10
    for number, press in ((0, "mouse"), (3, "keyboard")):
        cell = cells.nth(number)
        place = cell.get_attribute("href")
        pair = measured.confusions[int(place.rpartition("-")[2]) - 1]
        assert cell.inner_text() == str(pair.count)
        assert cell.get_attribute("title") == f"{pair.true} → {pair.predicted}"
        ads = page.locator(f"{place} li")
        assert not ads.first.is_visible()
        if press == "mouse":
            cell.click()
        else:
            cell.focus()
            page.keyboard.press("Enter")
        ads.first.wait_for(state="visible")
        shown = [" ".join(text.split()) for text in ads.all_inner_texts()]
        texts = zip(pair.confidences, pair.examples, strict=True)
        assert shown == [f"{sure:.3f} {' '.join(text.split())}" for sure, text in texts]
        assert 0 <= ads.first.bounding_box()["y"] < 700
    page.close()


def test_confusion_that_is_named_in_the_address_is_open(browser, reports):
    page = browser.new_page()
    page.goto(reports["evaluation"].as_uri() + "#confusion-2")
    page.locator("#confusion-2 li").first.wait_for(state="visible")
    assert not page.locator("#confusion-1 li").first.is_visible()
    page.close()


def test_detector_matrices_mark_the_best_of_each_kind_and_not_by_colour_alone(
    browser, reports
):
    page = browser.new_page()
    page.goto(reports["evaluation"].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    regions = page.get_by_role("region", name="Detectors by")
    assert regions.count() == 5
    for region in regions.all():
        best = min if "FPR95" in region.get_attribute("aria-label") else max
        assert region.locator("tbody tr").count() >= 8
        heads = region.locator("thead th").all_inner_texts()
        for place, head in enumerate(heads[1:], start=2):
            column = region.locator(f"tbody td:nth-child({place})")
            marked = region.locator(f"tbody td.best:nth-child({place})")
            if "false alarms" in head:
                assert marked.count() == 0
                continue
            shown = column.all_inner_texts()
            top = best(shown, key=lambda text: float(text.rstrip("%")))
            assert set(marked.all_inner_texts()) == {top}
            assert marked.count() == shown.count(top)
            mark = "getComputedStyle(cell, '::before').content"
            assert "\u2605" in marked.first.evaluate(f"cell => {mark}")
    page.close()


def test_run_report_says_first_whether_the_night_was_ordinary(browser, reports):
    page = browser.new_page()
    page.goto(reports["run"].as_uri())
    verdict = page.locator("main p").first
    assert verdict.inner_text().startswith("Not an ordinary night: the gate refused")
    links = page.get_by_role("region", name="Verdict").get_by_role("link")
    assert links.count() > 2
    for link in links.all():
        assert page.locator(link.get_attribute("href")).count() == 1
    page.close()
