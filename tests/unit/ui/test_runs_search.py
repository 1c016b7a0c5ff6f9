"""Ads of a run are found as a plain reading of its files finds them."""

import hashlib
import json
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from rubert_ood.clock import utc_now
from rubert_ood.errors import InputError
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.run import Run
from rubert_ood.runs.seals import DataFile
from rubert_ood.ui import runs_search
from rubert_ood.ui.runs_search import PAGE_ROWS, RunSearch, Wanted


@pytest.fixture(scope="module")
def sealed(full_run, tmp_path_factory) -> str:
    """A copy of the run in a catalogue of its own, finished."""
    output = tmp_path_factory.mktemp("catalogue")
    folder = output / "run_date=2026-11-24" / f"run_id={full_run.plan.run_id}"
    shutil.copytree(full_run.folder, folder)
    finish(folder, full_run)
    return str(folder)


def finish(folder: Path, run, **changes: object) -> None:
    """Write the manifest of a run that was published."""
    files = []
    for path in run.files:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows = pq.read_metadata(path).num_rows
        files.append(DataFile(path=path.name, sha256=sha256, rows=rows))
    manifest = Manifest.of(
        run.plan, run.by_id, outcome="published", started_at=utc_now(), files=files
    )
    content = json.loads(manifest.model_dump_json()) | changes
    target = folder / "_run" / "manifest.json"
    target.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def search(sealed):
    return RunSearch(sealed)


@pytest.fixture(scope="module")
def table(sealed):
    return Run(sealed).to_table()


def all_pages(search: RunSearch, **wanted: object) -> list[str]:
    found, number = list[str](), 0
    while True:
        page = search.page(Wanted(page=number, **wanted))
        assert len(page.ads) == PAGE_ROWS or not page.has_more
        found += [ad.ad_id for ad in page.ads]
        if not page.has_more:
            return found
        number += 1


def test_pages_together_are_the_run_in_its_order(search, table):
    assert all_pages(search) == table["ad_id"].to_pylist()
    assert search.num_rows == table.num_rows


@pytest.mark.parametrize("only", ["all", "ood", "in_domain"])
@pytest.mark.parametrize("below", [None, 0.5])
def test_page_filters_as_arrow_does(search, table, only, below):
    label = table["label"].to_pylist()[0]
    mask = pc.equal(table["label"], label)
    if only != "all":
        mask = pc.and_(mask, pc.equal(table["is_ood"], only == "ood"))
    if below is not None:
        mask = pc.and_(mask, pc.less(table["confidence"], below))
    expected = table.filter(mask)["ad_id"].to_pylist()
    assert all_pages(search, label=label, only=only, below=below) == expected


def test_find_gives_the_row_without_its_embedding(search, table):
    for number in (0, 57, table.num_rows - 1):
        row = table.slice(number, 1).drop_columns("embedding").to_pylist()[0]
        found = search.find(row["ad_id"])
        assert found["label"] == row["label"]
        assert found["confidence"] == row["confidence"]
        assert found["topk_labels"] == row["topk_labels"]
        assert list(found) == list(row)


@pytest.mark.parametrize("ad_id", ["nope", "' OR true --", "%", "*"])
def test_find_of_an_id_that_is_not_there_is_none(search, ad_id):
    assert search.find(ad_id) is None
    assert search.history(ad_id)[0].row is None


def test_history_lists_published_runs_newest_first(sealed, full_run, table):
    output = Path(sealed).parents[1]
    older = output / "run_date=2026-11-23" / "run_id=older"
    shutil.copytree(sealed, older)
    finish(older, full_run, run_id="older", run_date="2026-11-23")
    refused = output / "run_date=2026-11-25" / "run_id=refused"
    shutil.copytree(sealed, refused)
    finish(refused, full_run, run_id="refused", outcome="refused")
    damaged = output / "run_date=2026-11-25" / "run_id=damaged"
    shutil.copytree(sealed, damaged)
    (damaged / "_run" / "manifest.json").write_text("{")
    pointer = {"path": "run_date=2026-11-23/run_id=older", "run_id": "older"}
    pointer |= {"run_date": "2026-11-23", "history": []}
    (output / "latest.json").write_text(json.dumps(pointer))

    search = RunSearch(sealed)
    ad_id = table["ad_id"].to_pylist()[3]
    found = search.history(ad_id)
    assert [past.run_id for past in found] == [full_run.plan.run_id, "older"]
    assert [past.is_this for past in found] == [True, False]
    assert [past.is_current for past in found] == [False, True]
    assert all(past.row["ad_id"] == ad_id for past in found)


def test_search_below_a_folder_with_brackets_reads_that_folder_alone(full_run, tmp_path):
    other, ours = tmp_path / "out 2", tmp_path / "out [2]"
    for output in (other, ours):
        folder = output / "run_date=2026-11-24" / f"run_id={full_run.plan.run_id}"
        shutil.copytree(full_run.folder, folder)
    first = next(folder.glob("data-*.parquet"))  # of ours: one ad is another one
    rows = pq.read_table(first)
    ids = ["в скобках", *rows["ad_id"].to_pylist()[1:]]
    place = rows.schema.get_field_index("ad_id")
    pq.write_table(rows.set_column(place, rows.schema.field(place), [ids]), first)
    finish(folder, full_run, run_uri=str(folder), output_uri=str(ours))
    assert RunSearch(str(folder)).find("в скобках") is not None


def test_history_is_bounded(search, monkeypatch):
    monkeypatch.setattr(runs_search, "MAX_RUNS", 1)
    assert len(search.history("x")) == 1


def test_search_of_a_run_that_is_not_finished_is_one_line(sealed, full_run, tmp_path):
    folder = Path(shutil.copytree(sealed, tmp_path / "run"))
    finish(folder, full_run, outcome="interrupted")
    with pytest.raises(InputError, match="no files for readers yet"):
        RunSearch(str(folder))


def test_search_of_a_file_that_is_gone_names_the_run_and_verify(sealed, tmp_path):
    folder = Path(shutil.copytree(sealed, tmp_path / "run"))
    next(folder.glob("data-*.parquet")).unlink()
    with pytest.raises(InputError, match=r"cannot be read \(.*rubert-ood verify"):
        RunSearch(str(folder)).page(Wanted())
