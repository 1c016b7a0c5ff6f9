"""One check after the other: what makes it stand out, and what it says then."""

import pytest

from rubert_ood.cli import VERBS
from rubert_ood.reports.drift import drift
from rubert_ood.reports.night_checks import NightCheck, night_checks
from rubert_ood.runs.manifest import Manifest
from tests.unit.publishing.manifests import changed

REUSE = {"run_uri": "s3://r", "run_id": "old", "index_sha256": "0", "check_fraction": 0.1}
STOP = {
    "shard_id": "00001",
    "reused_uri": "s3://r",
    "texts_checked": 9,
    "texts_mismatched": 2,
    "reason": "label differs",
}
SHARD = {
    "shard_id": "00001",
    "uri": "s3://ads/a.parquet",
    "start": 0,
    "stop": 20,
    "rows_in": 20,
    "reason": "an actor died",
}


def counted(manifest: Manifest, **counts: int) -> Manifest:
    return changed(manifest, counts=manifest.counts.model_dump() | counts)


def standing_out(manifest: Manifest, previous: Manifest | None) -> list[NightCheck]:
    moves = drift(manifest, previous) if previous else None
    return [check for check in night_checks(manifest, previous, moves) if not check.ok]


def test_no_check_stands_out_of_two_alike_runs(manifest):
    assert standing_out(manifest, manifest) == []
    assert standing_out(counted(manifest, rows_rejected=4), None) == []


@pytest.mark.parametrize(
    ("content", "brief", "text", "section"),
    [
        (
            {
                "gate": [
                    {"check": "max_ood_rate", "value": 0.03, "limit": 0.02, "ok": False}
                ]
            },
            "the OOD rate, 3.00% with at most 2% allowed",
            "The OOD rate is 3.00%, and max_ood_rate allows at most 2%.",
            "gate",
        ),
        (
            {"quarantined": [{"uri": "s3://ads/b.parquet", "reason": "no title"}] * 2},
            "2 quarantined files",
            "The run lacks the ads of 2 quarantined files.",
            "quarantined-files",
        ),
        (
            {"quarantined_shards": [SHARD]},
            "1 quarantined shard",
            "The run lacks 0 ads of 1 quarantined shard.",
            "quarantined-shards",
        ),
        (
            {"duplicates": {"ids": 1, "rows": 3, "examples": []}},
            "1 duplicate id",
            "The input has 1 duplicate id, which is 3 rows too many. All of them are scored.",
            "duplicate-ids",
        ),
        (
            {"ignored": {"num_files": 2, "num_like_data": 1, "names": ["ads.orc", "x"]}},
            "1 unread file",
            "The input has 1 unread file with the look of data, neither Parquet nor CSV.",
            "unread-files",
        ),
        (
            {"reuse": REUSE, "reuse_stop": STOP},
            "a stop of reuse",
            "Reuse was stopped, and every text was scored. Of 9 results of s3://r that were"
            " checked 2 differ (label differs).",
            "top",
        ),
    ],
)
def test_a_check_that_stands_out_says_what_and_where(
    manifest, content, brief, text, section
):
    run = changed(manifest, **content)
    (found,) = standing_out(run, manifest)
    assert found == NightCheck(False, brief, text, section, found.mend)
    assert found.mend.command.split()[0] in VERBS


@pytest.mark.parametrize(
    ("counts", "brief"),
    [
        ({"rows_planned": 1201}, "the number of ads, 1,201 against 1,000"),
        ({"rows_planned": 799}, "the number of ads, 799 against 1,000"),
        ({"rows_ood": 90}, "the OOD rate, 9.09% against 3.33%"),
        ({"rows_rejected": 60}, "the rejected rows, 6.00% against 1.00%"),
    ],
)
def test_a_count_that_moved_since_the_run_before_stands_out(manifest, counts, brief):
    assert [one.brief for one in standing_out(counted(manifest, **counts), manifest)] == [
        brief
    ]


@pytest.mark.parametrize("counts", [{"rows_planned": 1199}, {"rows_ood": 45}])
def test_a_count_that_moved_by_its_usual_noise_does_not_stand_out(manifest, counts):
    assert standing_out(counted(manifest, **counts), manifest) == []


def test_many_rejected_rows_of_a_first_run_stand_out(manifest):
    (found,) = standing_out(counted(manifest, rows_rejected=60), None)
    assert found.brief == "60 rejected rows"
    assert found.text == "Of all rows 6.00% were rejected (good: at most 0.5%)."


def test_missing_indexes_stand_out(manifest):
    run = counted(changed(manifest, reuse=REUSE), shards_without_index=3)
    (found,) = standing_out(run, manifest)
    assert found.text == "3 shards found no index of s3://r. Every text there was scored."


def test_a_slow_run_stands_out_where_speeds_can_be_compared(manifest):
    slow = changed(manifest, rows_per_s=5.0)  # 10.5 before
    (found,) = standing_out(slow, manifest)
    assert found.brief == "the speed, 5 against 10 ads/s"
    assert standing_out(changed(slow, rows_per_s=5.3), manifest) == []
    assert standing_out(changed(slow, elapsed_s=59.0), manifest) == []
    assert standing_out(slow, counted(manifest, rows_reused=900)) == []


@pytest.mark.parametrize(
    ("ratio", "limit"), [(0.137, "0.13"), (0.499, "0.49"), (0.004, "0")]
)
def test_command_that_accepts_fewer_ads_admits_those_of_the_run(manifest, ratio, limit):
    gate = [{"check": "min_rows_ratio", "value": ratio, "limit": 0.5, "ok": False}]
    check = standing_out(changed(manifest, gate=gate), None)[0]
    assert check.section == "gate"
    assert check.mend.command == f"publish --run_uri RUN --gate.min_rows_ratio {limit}"
    assert float(limit) <= ratio
