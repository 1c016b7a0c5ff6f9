"""A shard that kills its process each time is tried a few times, then quarantined; all others are
scored."""

import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from rubert_ood.synthetic.catalogue import generate_ads
from tests.chaos.conftest import RUN_TIMEOUT_S
from tests.chaos.poison.sitecustomize import MARKER
from tests.chaos.runs import RUN_PATH, ScoreRun
from tests.conftest import write_parquet

pytestmark = pytest.mark.timeout(1500)  # a run that is killed again and again

NUM_GOOD, NUM_BAD, SHARD_ROWS = 600, 40, 100
MAX_ATTEMPTS = 12


@pytest.fixture
def poisoned(tmp_path: Path) -> tuple[str, list[str]]:
    """Good ads, and a file of one shard with the marker in its name and in one text; returns it and
    the good ids."""
    table = pa.Table.from_batches(list(generate_ads(NUM_GOOD + NUM_BAD, seed=23)))
    good, bad = table.slice(0, NUM_GOOD), table.slice(NUM_GOOD)
    texts = bad["description"].to_pylist()
    texts[17] = f"{texts[17]} {MARKER}"
    bad = bad.set_column(
        bad.schema.get_field_index("description"), "description", pa.array(texts)
    )
    write_parquet(
        tmp_path / "in" / "a.parquet",
        good.slice(0, NUM_GOOD // 2),
        row_group_size=SHARD_ROWS,
    )
    write_parquet(tmp_path / "in" / f"b-{MARKER}.parquet", bad)
    write_parquet(
        tmp_path / "in" / "c.parquet",
        good.slice(NUM_GOOD // 2),
        row_group_size=SHARD_ROWS,
    )
    return str(tmp_path / "in"), good["ad_id"].to_pylist()


@pytest.mark.parametrize("stage", ["encode", "score"])
def test_a_shard_that_kills_its_process_is_quarantined_after_a_few_attempts(
    stage: str, poisoned: tuple[str, list[str]], trained_bundle: str, tmp_path: Path
) -> None:
    input_uri, good_ids = poisoned
    attempts = tmp_path / "attempts"
    (tmp_path / "logs").mkdir()
    options = [
        "--input_uri",
        input_uri,
        "--bundle_uri",
        trained_bundle,
        "--shard_rows",
        str(SHARD_ROWS),
    ]
    options += ["--ray_address", "local", "--gate.max_error_rate", "1"]
    options += ["--gate.max_ood_rate", "1", "--gate.max_other_rate", "1"]
    env = {
        "PYTHONPATH": str(Path(__file__).with_name("poison")),
        "CHAOS_POISON": stage,
        "CHAOS_ATTEMPTS": str(attempts),
    }
    run = ScoreRun(
        fsspec.filesystem("file"), str(tmp_path / "out"), tmp_path / "logs", options, env
    )
    try:
        run.start()
        assert run.finish(RUN_TIMEOUT_S) == 0, run.log()
    finally:
        run.kill()

    num_attempts = len(attempts.read_text().splitlines())
    assert 2 <= num_attempts <= MAX_ATTEMPTS
    planned = run.planned()
    (bad,) = [shard_id for shard_id, uri in planned.items() if MARKER in uri]
    (name,) = [name for name in run.files() if "/_run/quarantine/" in name]
    assert name == f"{RUN_PATH}/_run/quarantine/{bad}.json"
    aside = json.loads(run.read(name))
    assert aside["shard_id"] == bad
    plan = json.loads(run.read(f"{RUN_PATH}/_run/plan.json"))
    assert aside["fingerprint"] == plan["fingerprint"]
    assert (aside["uri"], aside["start"], aside["stop"], aside["rows_in"]) == (
        planned[bad],
        0,
        NUM_BAD,
        NUM_BAD,
    )
    assert "process died" in aside["reason"]
    assert f"b-{MARKER}.parquet" in run.log()

    assert run.rows()["ad_id"].to_pylist() == good_ids
    assert set(run.receipts()) == planned.keys() - {bad}
    manifest = json.loads(run.read(f"{RUN_PATH}/_run/manifest.json"))
    assert manifest["outcome"] == "published"
    assert manifest["counts"]["rows_scored"] == NUM_GOOD


def test_more_lost_shards_than_allowed_end_the_run(
    poisoned: tuple[str, list[str]], trained_bundle: str, tmp_path: Path
) -> None:
    input_uri, _ = poisoned
    (tmp_path / "logs").mkdir()
    options = [
        "--input_uri",
        input_uri,
        "--bundle_uri",
        trained_bundle,
        "--shard_rows",
        str(SHARD_ROWS),
    ]
    options += ["--ray_address", "local", "--max_quarantined_shards", "0"]
    env = {
        "PYTHONPATH": str(Path(__file__).with_name("poison")),
        "CHAOS_POISON": "encode",
        "CHAOS_ATTEMPTS": str(tmp_path / "attempts"),
    }
    run = ScoreRun(
        fsspec.filesystem("file"), str(tmp_path / "out"), tmp_path / "logs", options, env
    )
    try:
        run.start()
        assert run.finish(RUN_TIMEOUT_S) == 6, run.log()
    finally:
        run.kill()
    assert "max_quarantined_shards" in run.log().splitlines()[-1]
    assert "latest.json" not in run.files()
