"""The class shares of a night in its report."""

from rubert_ood.reports.run_page import run_html
from rubert_ood.runs.manifest import Manifest
from tests.unit.publishing.manifests import changed
from tests.unit.reports.test_html import ATTACK, Page, assert_self_contained


def with_shares(manifest: Manifest, name: str = "Книги") -> Manifest:
    classes = [
        {"name": name, "counted": 0.7, "value": 0.76, "low": 0.72, "high": 0.8},
        {"name": "Кошки", "counted": 0.3, "value": 0.24, "low": 0.2, "high": 0.31},
    ]
    shares = {"num_ads": 800, "num_texts": 720, "num_calibration": 999}
    estimates = {"missing": "no sums", "shares": {**shares, "classes": classes}}
    return changed(manifest, estimates=estimates)


def test_run_report_has_counted_and_corrected_shares_side_by_side(manifest):
    page = Page(run_html(with_shares(manifest), None))
    assert page.tables["Class shares, corrected"] == [
        ["class", "counted", "corrected", "from", "to", "outside"],
        ["Книги", "70.00%", "76.00%", "72.00%", "80.00%", "yes"],
        ["Кошки", "30.00%", "24.00%", "20.00%", "31.00%", ""],
    ]
    assert page.says("The counted share of 1 of 2 classes lies outside the interval.")
    assert page.says("a sample of 800 ads (720 texts) with text and no OOD flag")
    assert page.tables["Labels"][1][0] == "Книги"  # no label depends on it
    assert page.tables["Labels"][1][1] == "700"


def test_run_report_without_corrected_shares_says_why(manifest):
    older = changed(manifest, estimates={"missing": "no sums"})
    assert "Class shares" not in run_html(older, None)
    missing = changed(manifest, estimates={"shares_missing": "no sample was kept"})
    assert Page(run_html(missing, None)).says(
        "The class shares are not corrected: no sample was kept."
    )


def test_hostile_class_of_a_share_is_inert(manifest):
    assert_self_contained(run_html(with_shares(manifest, ATTACK), None))
