import math

import pytest

from rubert_ood.comparing.document import ChangedLabels, ChangedPair
from rubert_ood.ood.promise import Promise
from rubert_ood.reports.run_page import run_html
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.sums import Counts
from rubert_ood.storage import to_json
from tests.unit.publishing.manifests import changed
from tests.unit.reports.test_html import ACTING, ATTACK, Page, assert_self_contained


@pytest.fixture
def full_manifest(manifest):
    shards = [
        {
            "shard_id": f"{number:05d}",
            "part_sha256": "0",
            "uri": f"s3://ads/{ATTACK}.parquet",
            "rows_in": 10,
            "rows_rejected": number % 2,
            "seconds": 2.0 + number % 3,
            "finished_at": f"2026-11-24T10:{number // 60:02d}:{number % 60:02d}.500+00:00",
        }
        for number in range(90)
    ]
    content = {
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
    return changed(manifest, **content)


def _changes(num_both: int, churn_rate: float, pairs: list[ChangedPair]) -> ChangedLabels:
    return ChangedLabels(num_both=num_both, churn_rate=churn_rate, pairs=pairs)


def _pair(before: str, now: str, count: int, examples: list[str]) -> ChangedPair:
    return ChangedPair(label_a=before, label_b=now, count=count, examples=examples)


def _counted(manifest: Manifest, **counts: int) -> Manifest:
    return changed(manifest, counts=manifest.counts.model_dump() | counts)


def at_most(count: int, num_now: int, num_before: int) -> str:
    """How far the share of two runs may move: by what a thousandth of all nights exceeds."""
    share = count / (num_now + num_before)
    deviation = math.sqrt(share * (1 - share) * (1 / num_now + 1 / num_before))
    return f"at most {100 * 3.290527 * deviation:.2f} points or 1.5 times"


def test_hostile_texts_of_a_run_are_inert(full_manifest):
    previous = changed(full_manifest, classes={ATTACK: 5})
    changes = _changes(5, 0.2, [_pair(ATTACK, ATTACK, 1, [ATTACK])])
    html = run_html(full_manifest, previous, changes)
    assert_self_contained(html)
    assert Page(html).says(" ".join(ATTACK.split()))


def test_texts_of_a_run_that_act_are_shown_as_escapes(full_manifest):
    acting = ACTING.replace("\udcff", "")  # what JSON in UTF-8 can hold
    texts = to_json(full_manifest).replace(to_json(ATTACK)[1:-1], to_json(acting)[1:-1])
    html = run_html(Manifest.model_validate_json(texts), None)
    assert not set("\x1b\x00\u202e\u200b\x9b") & set(html)
    assert r"a\x1b[2J\x00\u202e\u200b\x9bb" in html


def test_ads_that_were_cut_are_shown_with_their_share(full_manifest):
    cut = _counted(full_manifest, rows_cut=99)
    assert Page(run_html(cut, None)).says("Cut 10.00% 99 ads, too long and read in part")
    assert Page(run_html(cut, cut)).says(
        "Cut 10.00% 99 ads, before 10.00%, too long and read in part"
    )


def test_run_report(full_manifest):
    previous = changed(
        _counted(full_manifest, rows_scored=400, rows_ood=4, rows_other=8),
        run_id="before",
        classes={"Книги": 300, "Обувь": 100},
    )
    page = Page(run_html(full_manifest, previous))
    assert page.says(
        "Not an ordinary night: the gate refused the run. 4 of 13 checks stand out, first the OOD"
        " rate, 3.33% with at most 2% allowed."
    )
    assert page.says("It is not published, so readers see what they saw before.")
    assert page.says("The OOD rate is 3.33%, and max_ood_rate allows at most 2%.")
    assert page.says("The run lacks the ads of 1 quarantined file.")
    assert page.says("OOD 3.33% 33 ads, before 1.00%")
    assert page.says("Other 6.67% 66 ads, before 2.00%")
    assert page.says("Rejected 1.00% 10 ads")
    assert page.says("Folded 20.00%")  # 1 - 792 / 990
    assert page.says(
        "It started 2026-11-24 09:59:55 UTC and ended 2026-11-24 10:01:30 UTC."
    )
    assert page.tables["Labels"] == [
        ["label", "ads", "share", "before", "change, points"],
        ["Книги", "700", "70.71%", "75.00%", "-4.29"],
        ["Кошки", "224", "22.63%", "0.00%", "+22.63"],
        ["Other", "66", "6.67%", "0.00%", "+6.67"],
        ["Обувь", "0", "0.00%", "25.00%", "-25.00"],
    ]
    assert page.tables["Gate"][2] == [
        "!",
        "max_ood_rate",
        "OOD rate",
        "3.33%",
        "at most 2%",
    ]
    assert page.tables["Rejected rows"][2] == ["null ad_id", "3"]
    assert [row[3] for row in page.tables["Slowest shards"][1:]] == ["4.0"] * 10


def test_run_report_of_drift_and_of_single_ads(full_manifest):
    previous = changed(
        _counted(full_manifest, rows_ood=10),
        run_id="before",
        run_date="2026-11-23",
        bundle={"version": "v0", "fingerprint": "a" * 64},
        cities={"rows": 100, "rows_unseen": 1, "unseen": {}},
    )
    page = Page(run_html(full_manifest, previous))
    assert page.says("Since run before of 2026-11-23 1 of 7 measures moved: OOD rate.")
    assert page.says(
        "The run before had another bundle, v0. What moved may be the model, not the ads."
    )
    assert page.tables["Drift"] == [
        [
            *("steady", "measure", "now", "before", "change", "distance"),
            "usual",
        ],
        ["✓", "label shares", "", "", "", "0.0000", "a distance of at most 0.100"],
        ["!", "OOD rate", "3.33%", "1.01%", "+2.32 points", "", at_most(43, 990, 990)],
        ["✓", "Other rate", "6.67%", "6.67%", "+0.00 points", "", at_most(132, 990, 990)],
        [
            *("✓", "confidence of 0.95 or more", "20.00%", "20.00%", "+0.00 points"),
            *("0.0000", "a distance of at most 0.458"),
        ],
        [
            "✓",
            "tokens per ad",
            "45.6",
            "45.6",
            "+0.0%",
            "0.0000",
            "a distance of at most 0.389",
        ],
        [
            "✓",
            "unseen cities",
            "2.00%",
            "1.00%",
            "+1.00 points",
            "",
            at_most(19, 900, 100),
        ],
        [
            "✓",
            "rejected rows",
            "1.00%",
            "1.00%",
            "+0.00 points",
            "",
            at_most(20, 1000, 1000),
        ],
    ]
    assert page.says("Padding 3.1%")
    assert page.says(
        "Training has not seen the city of 18 of 900 ads with a city (2.00%)."
    )
    assert page.tables["Unseen cities"][1:] == [[ATTACK, "10"], ["тверь", "3"]]
    ad = f"{ATTACK} текст{ATTACK}0 in s3://ads/a.parquet"
    assert page.tables["Top OOD ads"][1] == [
        "yes",
        "1,234",
        "40.2",
        "0.0125",
        "Книги",
        "0.500",
        ad,
    ]
    assert [row[0] for row in page.tables["Top OOD ads"][1:]] == ["yes", "no"]
    assert [f"s3://ads/{ATTACK}.parquet", "45", "900"] in page.tables["Rejected rows"]


def test_run_report_after_a_run_of_an_earlier_version(full_manifest):
    later = ("token_histogram", "padding_share", "cities", "top_ood")
    previous = changed(full_manifest, run_id="before", **dict.fromkeys(later))
    page = Page(run_html(full_manifest, previous))
    assert page.says("Nothing moved since run before of 2026-11-24.")
    assert page.tables["Drift"][5] == [
        "✓",
        "tokens per ad",
        "45.6",
        "45.6",
        "+0.0%",
        "",
        "",
    ]
    assert page.tables["Drift"][6] == ["✓", "unseen cities", "2.00%", "", "", "", ""]
    now = changed(
        full_manifest, **dict.fromkeys(later)
    )  # as made again from such receipts
    page = Page(run_html(now, previous))
    assert len(page.tables["Drift"]) == 7
    assert not page.says("Padding")
    assert {"Unseen cities", "Top OOD ads"}.isdisjoint(page.tables)


def test_run_report_without_texts_of_ads(full_manifest):
    ads = [ad.model_copy(update={"text": None}) for ad in full_manifest.top_ood]
    page = Page(run_html(changed(full_manifest, top_ood=ads), None))
    assert page.says("Texts are left out (setting report_texts )")
    assert page.tables["Top OOD ads"][1][-1] == f"{ATTACK}0 in s3://ads/a.parquet"


def test_run_report_of_changed_labels(full_manifest):
    pairs = [_pair("Книги", f"класс {n}", 2000 - n, [f"id{n}", "007"]) for n in range(60)]
    changes = _changes(123_456, 0.0213, pairs)
    page = Page(run_html(full_manifest, full_manifest, changes))
    assert page.says(
        "Of 123,456 ads in both runs 2.13% have another label now (good: at most 5%)."
    )
    assert page.tables["Changed labels"][:2] == [
        ["before", "now", "ads", "examples (ad ids)"],
        ["Книги", "класс 0", "2,000", "id0, 007"],
    ]
    assert len(page.tables["Changed labels"]) == 51
    assert page.says("These are the 50 most frequent of 60 pairs.")
    none = _changes(5, 0.0, [])
    assert (
        "Changed labels" not in Page(run_html(full_manifest, full_manifest, none)).tables
    )
    assert not Page(run_html(full_manifest, full_manifest)).says("Changed labels")


def test_run_report_of_the_least_manifest(manifest):
    html = run_html(manifest, None)
    assert_self_contained(html)
    page = Page(html)
    assert page.says("It is published: readers of latest.json see this run.")
    assert page.tables == {
        "Labels": [
            ["label", "ads", "share"],
            ["Книги", "700", "70.71%"],
            ["Кошки", "224", "22.63%"],
            ["Other", "66", "6.67%"],
        ]
    }


def test_run_report_before_the_first_shard(manifest):
    nothing = dict.fromkeys(Counts.model_fields, 0) | {"rows_planned": 5000}
    manifest = changed(
        manifest,
        outcome="partial",
        classes={},
        confidence_histogram=[0] * 20,
        counts=nothing,
    )
    page = Page(run_html(manifest, None))
    assert page.says(
        "Not an ordinary night: the run stopped after 0 of 5,000 ads. Nothing of it is published."
        " Start the same command again to go on from there."
    )
    assert page.says("OOD –")


def test_run_page_says_what_was_reused(full_manifest):
    counts = {"rows_reused": 930, "texts_scored": 61, "texts_checked": 7}
    manifest = _counted(full_manifest, **counts)
    reuse = {"run_uri": "r", "run_id": "old", "index_sha256": "0", "check_fraction": 0.1}
    page = Page(run_html(changed(manifest, reuse=reuse), None))
    rows = full_manifest.counts.rows_scored
    assert page.says(f"{930 / rows:.2%}")
    assert page.says("930 ads from run old. 61 texts scored, 7 of them to check it")
    assert not Page(run_html(manifest, None)).says("of them to check it")


def test_run_page_says_why_reuse_was_stopped_and_where_no_index_was(full_manifest):
    stop = {
        "shard_id": "00001",
        "reused_uri": f"s3://ads/{ATTACK}",
        "texts_checked": 9,
        "texts_mismatched": 2,
        "reason": "label, is_ood differ",
    }
    reuse = {"run_uri": "r", "run_id": "old", "index_sha256": "0", "check_fraction": 0.1}
    manifest = _counted(full_manifest, shards_without_index=3)
    html = run_html(changed(manifest, reuse=reuse, reuse_stop=stop), None)
    assert_self_contained(html)
    page = Page(html)
    assert page.says("that were checked 2 differ (label, is_ood differ).")
    assert page.says("3 shards found no index of")


def test_run_page_leads_from_each_finding_to_a_section_that_is_there(full_manifest):
    previous = changed(_counted(full_manifest, rows_ood=1), run_id="before")
    page = Page(run_html(full_manifest, previous))
    ids = {tag["id"] for _, tag in page.tags if "id" in tag}
    links = [tag["href"] for name, tag in page.tags if name == "a"]
    assert {"#drift", "#gate", "#quarantined-files"} <= set(links)
    assert {link.removeprefix("#") for link in links} <= ids


def test_the_page_says_what_the_bundle_promises(manifest):
    assert "promises" not in run_html(manifest, None)
    promise = Promise("precision", 0.98, 0.95, 1240, 12)
    bundle = manifest.bundle.model_copy(update={"promises": [promise]})
    page = run_html(manifest.model_copy(update={"bundle": bundle}), None)
    assert promise.in_words() in page
