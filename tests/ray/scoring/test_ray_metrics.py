"""A small run on a real Ray, and what its metrics port says: the counts of the manifest."""

import re
import time
import urllib.request
from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pytest
import ray

from rubert_ood.runs.receipts import read_receipts
from rubert_ood.scoring import series
from rubert_ood.settings import GateSettings, ScoreSettings
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.workflows.score import score
from tests.conftest import write_parquet
from tests.unit.deploy.monitoring import named_series

NUM_ADS, SHARD_ROWS = 240, 60
WAIT_S = 20
SAMPLE = re.compile(r"^(ray_rubert_ood_\w+)\{(.*)\} (\S+)$", re.MULTILINE)


def scraped() -> Counter[str]:
    """Return the value of each series of ours, added up over its tags but `le`."""
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    place = f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
    with urllib.request.urlopen(f"http://{place}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    values = Counter[str]()
    for name, tags, value in SAMPLE.findall(text):
        if 'le="' not in tags or 'le="+Inf"' in tags:
            values[name] += float(value)
    return values


def scraped_until(is_there: Callable[[Counter[str]], bool]) -> Counter[str]:
    """Scrape until that holds, or for so long; return the last answer."""
    ends_at = time.monotonic() + WAIT_S
    while True:
        values = scraped()
        if is_there(values) or time.monotonic() > ends_at:
            return values
        time.sleep(0.5)


@pytest.fixture(scope="module")
def before_and_after(ray_local, trained_bundle, tmp_path_factory):
    """A run with a rejected ad and an empty one, and two scrapes around it."""
    table = pa.Table.from_batches(list(generate_ads(NUM_ADS, seed=5)))
    columns = {
        name: table[name].to_pylist() for name in ("ad_id", "title", "description")
    }
    columns["ad_id"][3] = None
    columns["title"][4] = columns["description"][4] = ""
    folder = tmp_path_factory.mktemp("metrics")
    source = write_parquet(folder / "ads.parquet", pa.table(columns))
    before, started = scraped(), time.time()
    manifest = score(
        ScoreSettings(
            input_uri=source,
            bundle_uri=trained_bundle,
            output_uri=str(folder / "out"),
            gate=GateSettings(max_ood_rate=1, max_other_rate=1),
            shard_rows=SHARD_ROWS,
            deadline_h=72,
        )
    )
    tokens, seconds = series.TOKENS.exported, "ray_rubert_ood_shard_seconds_bucket"
    receipts = read_receipts(manifest.run_uri, manifest.fingerprint).values()
    scored = sum(receipt.profile.scored_tokens for receipt in receipts)

    def is_whole(values: Counter[str]) -> bool:
        has_shards = values[seconds] - before[seconds] >= NUM_ADS // SHARD_ROWS
        has_rows = values[series.ROWS_DONE.exported] == NUM_ADS
        return has_rows and has_shards and values[tokens] - before[tokens] >= scored

    return manifest, list(receipts), before, scraped_until(is_whole), started


def test_metrics_port_of_ray_has_every_series_that_dashboard_and_alerts_name(
    before_and_after,
):
    """But a counter that was never above 0, which Ray does not have."""
    _, receipts, _, after, _ = before_and_after
    has_padding = any(receipt.profile.padded_tokens for receipt in receipts)
    absent = set() if has_padding else {series.PADDED_TOKENS.exported}
    assert named_series() - after.keys() == absent
    assert {one.exported for one in series.ALL} - after.keys() == absent


def test_gauges_of_a_run_are_the_counts_of_its_manifest(before_and_after):
    manifest, _, _, after, started = before_and_after
    counts = manifest.counts
    shards = NUM_ADS // SHARD_ROWS
    expected = {
        series.SHARDS_PLANNED: shards,
        series.SHARDS_DONE: shards,
        series.SHARDS_QUARANTINED: 0,
        series.ROWS_PLANNED: NUM_ADS,
        series.ROWS_DONE: NUM_ADS,
        series.ROWS_SCORED: NUM_ADS - 1,
        series.ROWS_REJECTED: 1,
        series.ROWS_EMPTY: counts.rows_empty,
        series.ROWS_OOD: counts.rows_ood,
        series.ROWS_OTHER: counts.rows_other,
        series.ROWS_REUSED: 0,
    }
    assert {one.name: after[one.exported] for one in expected} == {
        one.name: value for one, value in expected.items()
    }
    assert counts.rows_empty >= 1
    times = [after[one.exported] for one in (series.STARTED, series.LAST_SHARD)]
    assert started < times[0] < times[1] < time.time()
    assert after[series.EXPECTED_END.exported] == pytest.approx(times[1], abs=5)
    assert after[series.DEADLINE.exported] > time.time()


def test_counters_of_the_scorers_are_the_sums_of_the_receipts(before_and_after):
    """Those of the last shard too, although its actor has ended."""
    _, receipts, before, after, _ = before_and_after
    added = {one: after[one.exported] - before[one.exported] for one in series.ALL}
    profiles = [receipt.profile for receipt in receipts]
    assert added[series.TOKENS] == sum(profile.scored_tokens for profile in profiles) > 0
    assert added[series.PADDED_TOKENS] == sum(one.padded_tokens for one in profiles)
    busy = sum(receipt.scorer_busy_s for receipt in receipts)
    idle = sum(receipt.scorer_idle_s for receipt in receipts)
    assert added[series.BUSY] == pytest.approx(busy, abs=0.01)
    assert added[series.IDLE] == pytest.approx(idle, abs=0.01)
    assert added[series.SHARD_SECONDS] == len(receipts)
