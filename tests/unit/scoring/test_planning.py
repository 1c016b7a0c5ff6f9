"""What planning does with files that cannot be read, are not read, or lie where the output does
(see test_plan.py)."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.ads.sources import Ignored
from rubert_ood.errors import InputError
from rubert_ood.runs.plan import load_plan, save_plan, unpack_schema
from rubert_ood.scoring import planning
from rubert_ood.scoring.planning import make_plan
from rubert_ood.settings import ScoreSettings
from rubert_ood.storage.listing import list_below


def ads(path: Path, num_rows: int = 3, **more: pa.Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = [f"{path.name}-{row}" for row in range(num_rows)]
    pq.write_table(
        pa.table({"ad_id": ids, "description": ["диван"] * num_rows} | more), path
    )
    return path


def planned(bundle, folder: Path | str, **options):
    values = {
        "output_uri": os.path.join(os.path.dirname(str(folder)), "out"),
        "bundle_uri": bundle.uri,
    }
    return make_plan(ScoreSettings(input_uri=str(folder), **values | options), bundle)


def test_make_plan_reads_links_partitions_and_names_without_a_suffix(bundle, tmp_path):
    real, other = (
        ads(tmp_path / "real" / "x.parquet", 1),
        ads(tmp_path / "other" / "z.parquet", 2),
    )
    ads(tmp_path / "in" / "_day=1" / "p.parquet", 4)
    ads(tmp_path / "in" / "part_000", 8)
    (tmp_path / "in" / "x.parquet").symlink_to(real)
    (tmp_path / "in" / "sub").symlink_to(other.parent)
    assert planned(bundle, tmp_path / "in").num_rows == 1 + 2 + 4 + 8


def test_make_plan_gives_each_shard_the_version_of_its_file(bundle, tmp_path):
    path = ads(tmp_path / "in" / "a.parquet", 5)
    plan = planned(bundle, tmp_path / "in", shard_rows=2)
    assert {shard.version for shard in plan.shards} == {
        list_below(str(path)).files[0].version
    }
    before = path.stat()
    ads(path.with_name("b"), 5)
    os.replace(path.with_name("b"), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = planned(bundle, tmp_path / "in", shard_rows=2)
    differs = {
        name for name in plan.identity if plan.identity[name] != again.identity[name]
    }
    assert differs == {"input files"}


def test_make_plan_says_that_the_gate_will_refuse_files_that_look_like_data(
    bundle, tmp_path, caplog
):
    ads(tmp_path / "in" / "a.parquet")
    (tmp_path / "in" / "b.jsonl").write_text("{}")
    planned(bundle, tmp_path / "in", gate={"max_ignored_files": 1})
    assert "refuse" not in caplog.text
    planned(bundle, tmp_path / "in", columns={"title": None})
    assert caplog.messages[-1] == (
        "plan      the gate will refuse this run, because it ignores 1 file and"
        " gate.max_ignored_files is 0. Move the files named above, or raise the limit"
    )


def test_make_plan_counts_the_files_that_are_not_read_and_the_plan_keeps_them(
    bundle, tmp_path
):
    ads(tmp_path / "in" / "a.parquet")
    (tmp_path / "in" / "b.jsonl").write_text("{}")
    (tmp_path / "in" / "README.md").write_text("x")
    plan = planned(bundle, tmp_path / "in")
    assert plan.ignored == Ignored(
        2, 1, [f"{tmp_path}/in/b.jsonl", f"{tmp_path}/in/README.md"]
    )
    save_plan(plan)
    assert load_plan(plan.run_uri) == plan


def test_make_plan_with_a_dangling_link_fails_or_quarantines_it_as_half_of_the_input(
    bundle, tmp_path
):
    path = ads(tmp_path / "in" / "a.parquet")
    (tmp_path / "in" / "b.parquet").symlink_to(tmp_path / "gone")
    with pytest.raises(
        InputError, match=rf"^{tmp_path}/in/b\.parquet: this link leads nowhere"
    ):
        planned(bundle, tmp_path / "in")
    (bad,) = planned(bundle, tmp_path / "in", on_bad_file="quarantine").quarantined
    assert (bad.uri, bad.size) == (f"{tmp_path}/in/b.parquet", path.stat().st_size)
    assert "leads nowhere" in bad.reason


def test_make_plan_keeps_one_type_of_a_carried_column(bundle, tmp_path):
    ads(
        tmp_path / "in" / "a.parquet",
        price=pa.nulls(3),
        city=pa.array(["x"] * 3, pa.string_view()),
    )
    ads(
        tmp_path / "in" / "b.parquet",
        price=pa.array([1, 2, 3]),
        city=pa.array(["x"] * 3, pa.large_string()),
    )
    ads(
        tmp_path / "in" / "c.parquet",
        price=pa.array([1.5, 2, 3]),
        city=pa.array(["x"] * 3),
    )
    plan = planned(bundle, tmp_path / "in", carry_columns=("price", "city"))
    assert unpack_schema(plan.carry_schema) == pa.schema(
        [("price", pa.float64()), ("city", pa.string())]
    )


def test_make_plan_recognises_the_delimiter_or_takes_the_one_that_is_set(
    bundle, tmp_path, caplog
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("ad_id;description\n1;диван, новый\n2;стол\n")
    with caplog.at_level("INFO"):
        plan = planned(bundle, tmp_path / "in")
    assert [(shard.num_rows, shard.delimiter) for shard in plan.shards] == [(2, ";")]
    assert "plan      reads 1 CSV file with the delimiter ';'" in caplog.messages
    (tmp_path / "in" / "a.csv").write_text("ad_id^description\n1^диван\n")
    plan = planned(bundle, tmp_path / "in", columns={"delimiter": "^"})
    assert [shard.delimiter for shard in plan.shards] == ["^"]


def test_the_run_of_another_code_is_another_run(bundle, tmp_path, monkeypatch):
    ads(tmp_path / "in" / "a.parquet")
    first = planned(bundle, tmp_path / "in")
    assert planned(bundle, tmp_path / "in").fingerprint == first.fingerprint
    monkeypatch.setattr(planning, "code_digest", lambda: "0" * 64)
    other = planned(bundle, tmp_path / "in")
    changed = {
        name for name, value in first.identity.items() if other.identity[name] != value
    }
    assert changed == {"code version"}
    assert other.run_id != first.run_id
