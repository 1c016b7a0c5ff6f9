"""The process dies before or after each single write of a run, in time order; the same command then
goes on.

Drivers and workers run in this process, without Ray: the order of the writes is that of a run with
one worker. A dead process writes nothing more, so nothing of its `finally` blocks reaches storage,
as with kill -9.
"""

import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.bundle import load_bundle
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.reports import run_page
from rubert_ood.runs import parts, receipt_log, receipts
from rubert_ood.scoring.planning import make_plan
from rubert_ood.sealing import layout
from rubert_ood.settings import GateSettings, ScoreSettings
from rubert_ood.storage import folders
from rubert_ood.workflows import score as workflow
from tests.conftest import patch_storage

WRITES = [
    "plan.json",
    "runner.json",
    "manifest.json running",
    "shard 0 _errors",
    "shard 0 part",
    "shard 0 receipt",
    "shard 1 part",
    "shard 1 receipt",
    "batch 0",
    "shard 2 part",
    "shard 2 receipt",
    "batch 1",
    "layout.json",
    "data-00000-of-00002.parquet",
    "data-00000-of-00002.json",
    "data-00001-of-00002.parquet",
    "data-00001-of-00002.json",
    "index texts",
    "index.json",
    "manifest.json complete",
    "latest.json",
    "manifest.json published",
    "parts removed",
    "report.html",
    "runner.json released",
]
"""What one run writes, in order; docs/explanation/recovery.md has a row for each."""


class Killed(BaseException):
    """Stands for kill -9."""


class Writes:
    """Count the writes to storage, and die at one of them."""

    def __init__(self, monkeypatch) -> None:
        self.names: list[str] = []
        self.die_at: tuple[int, bool] | None = None
        self.dead = self.inside = False
        for function in ("put_bytes", "swap_bytes"):
            patch_storage(
                monkeypatch, function, self._watched(getattr(storage, function))
            )
        remove = self._watched(lambda _, uris: folders.remove_files(uris))
        monkeypatch.setattr(parts, "remove_files", lambda uris: remove("removed", uris))

    def _watched(self, function):
        def call(uri, *arguments):
            if "/_run/log/" in uri:  # on its own clock, and nothing depends on it
                return None if self.dead else function(uri, *arguments)
            if self.dead:
                raise Killed
            if self.inside:  # on disk a swap is a put under a lock
                return function(uri, *arguments)
            number, self.names = len(self.names), [*self.names, uri]
            if self.die_at == (number, False):
                self.dead = True
                raise Killed
            self.inside = True
            try:
                result = function(uri, *arguments)
            finally:
                self.inside = False
            if self.die_at == (number, True):
                self.dead = True
                raise Killed
            return result

        return call

    def revive(self) -> None:
        self.names, self.die_at, self.dead = [], None, False


@pytest.fixture(scope="module")
def source(messy_table, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("in")
    for name, start in (("a", 20), ("b", 46), ("c", 70)):
        pq.write_table(messy_table.slice(start, 18), folder / f"{name}.parquet")
    table = messy_table.slice(15, 6)  # with rejected rows
    pq.write_table(
        pa.concat_tables([table, messy_table.slice(21, 12)]), folder / "a.parquet"
    )
    return str(folder)


@pytest.fixture
def job(bundle, source, tmp_path, monkeypatch):
    monkeypatch.setattr(
        run_page, "run_html", lambda manifest, *_: manifest.outcome
    )  # drawing takes a second
    monkeypatch.setattr(receipt_log, "BATCH_SHARDS", 2)
    for module in (receipt_log, receipts):
        monkeypatch.setattr(module, "FEWEST", 1)
    # three parts, of some kB, make two files
    monkeypatch.setattr(layout, "cut_files", lambda plan, receipts: [0, 2])
    return ScoreSettings(
        input_uri=source,
        bundle_uri=bundle.uri,
        output_uri=str(tmp_path / "out"),
        run_date=date(2026, 11, 24),
        run_id="night",
        executor="local",
        gate=GateSettings(
            max_error_rate=1, max_ood_rate=1, max_other_rate=1, max_duplicate_rate=1
        ),
    )


def _rows(run_dir: Path) -> pa.Table:
    return pa.concat_tables(
        [pq.read_table(path) for path in sorted(run_dir.glob("*.parquet"))]
    )


def _files(run_dir: Path) -> dict[str, int]:
    """Return what lies in a run folder, but for locks and logs, which every process leaves."""
    found = [
        path
        for path in run_dir.rglob("*")
        if path.is_file() and path.suffix not in (".lock", ".jsonl")
    ]
    return {str(path.relative_to(run_dir)): path.stat().st_mtime_ns for path in found}


def test_score_writes_these_files_in_this_order(job, monkeypatch):
    writes = Writes(monkeypatch)
    workflow.score(job)
    shards = [
        shard.shard_id for shard in make_plan(job, load_bundle(job.bundle_uri)).shards
    ]

    def name(uri: str) -> str:
        file = "parts removed" if uri == "removed" else uri.rpartition("/")[2]
        if "/reuse/texts-" in uri:
            return "index texts"
        if "/receipt_log/" in uri:
            return f"batch {int(file.partition('.')[0])}"
        number = next((n for n, shard_id in enumerate(shards) if shard_id in file), None)
        if number is None:
            return file
        kind = (
            "receipt"
            if "/receipts/" in uri
            else "_errors"
            if "/_errors/" in uri
            else "part"
        )
        return f"shard {number} {kind}"

    assert [name(uri) for uri in writes.names] == [
        expected.partition(" ")[0] if ".json" in expected else expected
        for expected in WRITES
    ]
    assert list(Path(job.output_uri).rglob("*.scored")) == []


@pytest.fixture(scope="module")
def undisturbed() -> dict:
    """The rows and the manifest of a run that nobody killed, once a test has made it."""
    return {}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(len(WRITES)), ids=WRITES)
def test_score_killed_at_a_write_is_finished_by_the_same_command(
    job, monkeypatch, undisturbed, number, after
):
    writes = Writes(monkeypatch)
    output, run_dir = (
        Path(job.output_uri),
        Path(job.output_uri) / "run_date=2026-11-24" / "run_id=night",
    )
    if not undisturbed:
        undisturbed["manifest"] = workflow.score(
            job.model_copy(update={"output_uri": f"{output}-whole"})
        )
        undisturbed["rows"] = _rows(Path(undisturbed["manifest"].run_uri))
        writes.revive()
    writes.die_at = (number, after)
    with pytest.raises(Killed):
        workflow.score(job)

    published = number > WRITES.index("latest.json") or (
        after and WRITES[number] == "latest.json"
    )
    pointer = read_pointer(str(output))
    assert (pointer is not None) == published
    if published:  # what a reader sees is whole
        assert _rows(run_dir).equals(undisturbed["rows"])
    done = {path.stem for path in run_dir.glob("_run/receipts/*.json")}
    sealed = {path.stem for path in run_dir.glob("_run/seals/*.json")}
    before = _files(run_dir)

    writes.revive()
    manifest = workflow.score(job)
    assert manifest.outcome == "published"
    assert read_pointer(str(output)).path == "run_date=2026-11-24/run_id=night"
    assert _rows(run_dir).equals(undisturbed["rows"])
    for name in (
        "counts",
        "classes",
        "ids_in",
        "ids_out",
        "ids_rejected",
        "rejected_reasons",
    ):
        assert getattr(manifest, name) == getattr(undisturbed["manifest"], name), name
    now = _files(run_dir)
    for shard_id in done:  # not scored again
        name = f"_run/receipts/{shard_id}.json"
        assert now[name] == before[name]
    for name in sealed:  # not sealed again
        for path in (f"{name}.parquet", f"_run/seals/{name}.json"):
            assert now[path] == before[path]
    assert set(now) == set(
        _files(Path(undisturbed["manifest"].run_uri))
    )  # no file of a dead process
    assert (
        json.loads((run_dir / "_run" / "manifest.json").read_text())["outcome"]
        == "published"
    )
    assert (run_dir / "_run" / "report.html").read_text() == "published"
