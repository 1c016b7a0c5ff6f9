"""The page in a real Chromium: typed, sent and read as a person does it, and quiet."""

import csv
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from rubert_ood.bundle import load_bundle
from rubert_ood.predictor import Model
from rubert_ood.ui.nearest import NearestAds
from rubert_ood.ui.pages import number
from rubert_ood.ui.runs_search import RunSearch
from rubert_ood.ui.security import Access
from rubert_ood.ui.serve import listen, running
from rubert_ood.ui.server import make_app
from rubert_ood.ui.state import State
from rubert_ood.ui.uploads import MAX_BYTES
from tests.e2e.test_reports_in_browser import launch
from tests.unit.ui.test_runs_search import finish

AD = "Продам угловой диван, раскладывается, Москва. Звоните 8 912 345-67-89"
HOSTILE = (
    '<script>window.attacked = 1</script><img src="x" onerror="window.attacked = 2">'
)
REFUSED = "the server responded with a status of 422"
"""What Chromium itself notes of an answer that is a line for the user."""
LONG_WORD = "длинноеслово" * 40


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def state(bundle, full_run, tmp_path_factory) -> State:
    day = tmp_path_factory.mktemp("catalogue") / "run_date=2026-11-24"
    folder = shutil.copytree(full_run.folder, day / full_run.folder.name)
    finish(folder, full_run)
    model = Model(load_bundle(bundle.uri)).with_network()
    run = RunSearch(str(folder))
    return State(model, NearestAds(model.bundle), run)


@pytest.fixture(scope="module")
def url(state) -> Iterator[str]:
    app = make_app(state, Access("127.0.0.1", max_bytes=MAX_BYTES))
    with listen("127.0.0.1", 0) as listening, running(app, listening) as url:
        yield url


@pytest.fixture
def opened(browser, url):
    """Open pages that must stay quiet and ask nobody else; the check comes at the end."""
    noise, requests, pages = [], [], []

    def heard(message: ConsoleMessage) -> None:
        if REFUSED not in message.text:
            noise.append(message.text)

    def open_page(**options: object) -> Page:
        page = browser.new_page(**options)
        page.on("console", heard)
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.evaluate("window.attacked") is None
        page.close()
    assert noise == []
    assert [found for found in requests if not found.startswith((url, "blob:"))] == []


def classify(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.get_by_role("button", name="Classify", exact=True).click()
    expect(page.locator("#answer .verdict")).to_be_visible()
    expect(page.locator("#answer")).not_to_have_class("busy")


def shown(page: Page, name: str) -> str:
    return page.locator(f'#answer [data-field="{name}"]').inner_text()


def test_ad_that_is_typed_shows_the_numbers_that_predict_gives(opened, state):
    page = opened()
    for text in (AD, "стол", "зимние шины " * 100):
        classify(page, text)
        row = state.model.predict([text]).iloc[0]
        expect(page.locator('[data-field="ood_distance"]')).to_have_text(
            number(row["ood_distance"])
        )
        assert shown(page, "label") == row["label"]
        assert shown(page, "confidence") == f"{row['confidence']:.1%}"
        assert shown(page, "ood_z") == f"{row['ood_z']:.2f}"
        assert shown(page, "ood_p") == f"{row['ood_p']:.4f}"
        assert shown(page, "num_tokens") == str(row["num_tokens"])
        bars = page.locator("table.bars tbody tr")
        assert bars.count() == len(row["topk_labels"])
        for place, label in enumerate(row["topk_labels"]):
            score = f"{100 * row['topk_scores'][place]:.1f}"
            assert bars.nth(place).inner_text().split("\t")[::2] == [label, score]


def test_cleaned_parts_are_struck_through(opened):
    page = opened()
    classify(page, AD)
    removed = page.locator(".text del").all_inner_texts()
    assert removed == ["Продам", "Москва", "8 912 345-67-89"]


def test_sliders_change_the_answer_and_reset_brings_it_back(opened):
    page = opened()
    classify(page, AD)
    label = shown(page, "label")
    page.locator("#s-tau_other").fill("1")
    page.locator("#s-ood_conf_gate").fill("0")
    expect(page.locator('#answer [data-field="label"]')).to_have_text("Other")
    expect(page.locator(".copy pre").first).to_contain_text("--decision.tau_other 1")
    page.get_by_role("button", name="As in the bundle").click()
    expect(page.locator('#answer [data-field="label"]')).to_have_text(label)
    expect(page.locator(".copy")).to_have_count(0)
    page.select_option("#rule", "conformal")
    expect(page.locator("#s-conformal_alpha")).to_be_visible()
    expect(page.locator("#s-alpha")).to_be_hidden()


def test_page_works_with_the_keyboard_alone(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.type("диван угловой")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer .verdict")).to_be_visible()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "s-tau_other":
            break
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    expect(page.locator('#answer [data-field="domain"]')).to_have_text("Not sure")
    expect(page.locator(".copy pre").first).to_contain_text("--decision.ood_conf_gate 0")
    assert page.evaluate("document.activeElement.id") == "s-ood_conf_gate"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_fits_and_follows_the_colour_scheme(opened, width, scheme):
    page = opened(viewport={"width": width, "height": 900}, color_scheme=scheme)
    classify(page, f"{HOSTILE} {LONG_WORD} {AD}")
    page.locator("details summary").click()
    page.locator("#s-alpha").fill("0.3")
    expect(page.locator(".copy").first).to_be_visible()
    page.get_by_role("button", name="List", exact=True).click()
    expect(page.locator(".run-page table")).to_be_visible()
    page.locator("[data-find]").first.click()
    expect(page.locator(".run-ad table").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colour = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0]"
    assert (int(page.evaluate(colour)) > 200) is (scheme == "light")


def test_every_field_has_a_label_and_every_table_a_header(opened):
    page = opened()
    classify(page, AD)
    page.get_by_role("button", name="List", exact=True).click()
    expect(page.locator(".run-page table")).to_be_visible()
    for field in page.locator("input, select, textarea").all():
        assert field.evaluate("field => field.labels.length") == 1
    for table in page.locator("table").all():
        assert table.locator("thead th[scope=col]").count() > 1
    for image in page.locator("svg[role=img]").all():
        assert "calibration ads" in (image.get_attribute("aria-label") or "")


def test_lines_and_files_are_classified_and_come_back_as_csv(opened, state, tmp_path):
    page = opened()
    page.fill("#text", "диван\n\nзимние шины")
    page.get_by_label("Each line is an ad of its own").check()
    page.get_by_role("button", name="Classify", exact=True).click()
    page.get_by_role("button", name="Explain row 2").click()
    expect(page.locator("#answer .text")).to_have_text("зимние шины")

    path = tmp_path / "ads.csv"
    path.write_bytes("ad_id,description\na1,диван\na2\n".encode())
    page.set_input_files("#upload", path)
    page.get_by_role("button", name="Classify the file").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["ad_id"] for row in rows] == ["a1", ""]
    assert rows[0]["label"] == state.model.predict(["диван"])["label"][0]
    assert rows[1]["problem"] == "1 column, the header has 2"


def test_run_is_paged_filtered_and_searched(opened, state):
    page = opened()
    page.get_by_role("button", name="List", exact=True).click()
    first = page.locator(".run-page [data-find]").first
    ad_id = first.inner_text()
    page.get_by_role("button", name="Next page").click()
    expect(page.locator(".run-page")).to_contain_text("Page 2")
    page.get_by_role("button", name="Previous page").click()
    expect(page.locator(".run-page")).to_contain_text("Page 1,")
    page.get_by_label("Ad id").fill(ad_id)
    page.get_by_role("button", name="Find").click()
    expect(page.locator(".run-ad h3").first).to_contain_text(
        state.run.find(ad_id)["label"]
    )
    page.get_by_label("Confidence below (%)").fill("0")
    page.get_by_role("button", name="List", exact=True).click()
    expect(page.locator(".run-page")).to_contain_text("No ad of the run is like that.")


def test_what_a_user_does_wrong_is_one_line(opened):
    page = opened()
    page.fill("#text", "х" * 20_001)
    page.evaluate("document.querySelector('#try form').requestSubmit()")
    status = page.locator("#try-status")
    expect(status).to_have_class("status failed")
    expect(status).to_contain_text("the ad has 20,001 characters")
