"""What a second night costs, and the index behind it: python -m benchmarks.reuse STEP --folder F

`prepare` writes ads and a bundle. `first` scores a night and leaves its index; `second` scores the
same ads in another order, 5 % of them with another text; both as `score` does, in this process.
`index` writes an index of random results, `lookup` asks it for texts. Each step prints JSON; what
the steps before it made lies in the folder.
"""

import argparse
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.floor import machine
from benchmarks.stub import MAX_LENGTH, SHAPES, build_bundle
from rubert_ood.predictor import load
from rubert_ood.reuse import build
from rubert_ood.reuse.buckets import Buckets
from rubert_ood.reuse.document import FORMAT, IndexDocument, document_uri, index_uri
from rubert_ood.reuse.index import Index, fetch_index
from rubert_ood.reuse.layout import RecordWriter
from rubert_ood.reuse.segment import write_segment
from rubert_ood.runs.manifest import Manifest, read_manifest
from rubert_ood.runs.plan import load_plan
from rubert_ood.runs.receipts import read_receipts
from rubert_ood.settings import GateSettings, ScoreSettings
from rubert_ood.storage import put_bytes, to_json
from rubert_ood.synthetic.catalogue import write_catalogue
from rubert_ood.workflows.score import score
from tests.unit.reuse.tables import random_rows

T = TypeVar("T")
CHANGED = 0.05
STEPS = ("prepare", "first", "second", "index", "lookup")
BATCH_TEXTS = 100_000
LOOKUPS, LOOKED_UP, FOUND = 5, 20_000, 19_000
WIDE_OPEN = GateSettings(max_error_rate=1, max_ood_rate=1, max_other_rate=1)


def prepare(folder: Path, shape: str, num_ads: int) -> dict[str, object]:
    """Write so many ads, the same with some changed, and a bundle."""
    write_catalogue(str(folder / "in-1"), num_ads, seed=3)
    (folder / "bundle").mkdir()
    build_bundle(folder / "bundle", SHAPES[shape], max_length=MAX_LENGTH)
    _change(folder)
    return {"shape": shape, "ads": num_ads}


def first(folder: Path) -> dict[str, object]:
    """Score the first night, and build its index once more by itself."""
    report = _night(folder, 1)
    receipts = read_receipts(report["run_uri"], load_plan(report["run_uri"]).fingerprint)
    build_s, again = _timed(lambda: _index_again(report["run_uri"], receipts))
    report["index_s"] = build_s
    report["index_share"] = build_s / report["seconds"]
    report["index_bytes_per_text"] = again.index.size / again.index.texts
    return report


def _index_again(run_uri: str, receipts: dict) -> Manifest:
    plan = load_plan(run_uri)
    Path(document_uri(run_uri)).unlink()
    started_at = "2026-11-01T00:00:00+00:00"
    manifest = Manifest.of(plan, receipts, outcome="complete", started_at=started_at)
    files = read_manifest(run_uri).files
    whole = manifest.model_copy(update={"files": files})
    return build.with_index(plan, whole)


def _change(folder: Path) -> None:
    """Write the same ads in another order, some of them with another text."""
    ads = pq.read_table(folder / "in-1")
    rng = np.random.default_rng(5)
    ads = ads.take(rng.permutation(ads.num_rows))
    texts = ads["description"].to_pylist()
    for row in np.flatnonzero(rng.random(ads.num_rows) < CHANGED).tolist():
        texts[row] = f"{texts[row]} торг уместен номер {row}"
    position = ads.schema.get_field_index("description")
    (folder / "in-2").mkdir(exist_ok=True)
    changed = ads.set_column(position, "description", pa.array(texts))
    pq.write_table(changed, folder / "in-2" / "ads.parquet", row_group_size=10_000)


def second(folder: Path) -> dict[str, object]:
    """Score the second night, which reuses the first."""
    return _night(folder, 2)


def _night(folder: Path, day: int) -> dict[str, object]:
    settings = ScoreSettings(
        input_uri=str(folder / f"in-{day}"),
        bundle_uri=str(folder / "bundle" / "bundle"),
        output_uri=str(folder / "out"),
        run_date=date(2026, 11, day),
        gate=WIDE_OPEN,
        executor="local",
        report_changes=False,
    )
    load_s, _ = _timed(lambda: load(settings.bundle_uri).with_network())
    seconds, manifest = _timed(lambda: score(settings))
    counts = manifest.counts
    return {
        "run_uri": manifest.run_uri,
        "ads": counts.rows_scored,
        "seconds": seconds,
        "of which loading the model, about": load_s,
        "seconds after start-up": seconds - load_s,
        "network_s": _network_s(manifest.run_uri),
        "rows_reused": counts.rows_reused,
        "texts": [counts.texts_scored, counts.texts_reused, counts.texts_checked],
    }


def _network_s(run_uri: str) -> float:
    receipts = read_receipts(run_uri, load_plan(run_uri).fingerprint)
    return sum(receipt.scorer_busy_s for receipt in receipts.values())


def index(folder: Path, num_texts: int) -> dict[str, object]:
    """Write an index of so many random results."""
    rows = random_rows(BATCH_TEXTS)
    writer = RecordWriter(rows)
    _, records = writer.records(rows)
    count = -(-num_texts * records.dtype.itemsize // build.FILE_BYTES)
    (folder / "buckets").mkdir()
    uri, files = str(folder / "run"), []

    def write() -> None:
        buckets = Buckets(str(folder / "buckets"), records.dtype, count)
        for start in range(0, num_texts, BATCH_TEXTS):
            keys = keys_of(start, min(BATCH_TEXTS, num_texts - start))
            some = records[: len(keys)].copy()
            some["tail"] = keys[:, 1]
            buckets.add(keys[:, 0], some)
        for number, (ids, sorted_records) in enumerate(buckets.sorted()):
            path = str(folder / "segment")
            write_segment(path, ids, sorted_records)
            files.append(build._put_file(uri, number, path, lambda: None))

    seconds, _ = _timed(write)
    document = IndexDocument(
        format=FORMAT,
        run_id="night",
        identity={},
        parts="",
        layout=writer.layout(),
        texts=num_texts,
        files=files,
    )
    put_bytes(document_uri(uri), to_json(document))
    return {
        "texts": num_texts,
        "seconds": seconds,
        "texts/s": num_texts / seconds,
        "bytes/text": sum(file.size for file in files) / num_texts,
        "files": len(files),
    }


def keys_of(start: int, count: int) -> np.ndarray:
    """Return random keys, the same for the same start: uint64 (count, 2)."""
    return np.random.default_rng(start).integers(0, 2**64, (count, 2), np.uint64)


def lookup(folder: Path) -> dict[str, object]:
    """Ask for texts, of which 95 % are there, in a process that has done nothing else."""
    uri = str(folder / "run")
    data = Path(document_uri(uri)).read_bytes()
    fetch_s, opened = _timed(lambda: fetch_index(uri, hashlib.sha256(data).hexdigest()))
    before, seconds = rss(), []
    num_batches = opened.document.texts // BATCH_TEXTS
    for number in range(LOOKUPS):
        known = keys_of((number * 7 % num_batches) * BATCH_TEXTS, BATCH_TEXTS)
        absent = keys_of(10**9 + number, LOOKED_UP - FOUND)
        keys = np.concatenate([known[:FOUND], absent])
        texts = [f"{head:016x}{tail:016x}" for head, tail in keys.tolist()]
        seconds.append(_find(opened, texts))
    return {
        "texts": opened.document.texts,
        "fetch_s": fetch_s,
        "lookups_s": seconds,
        "rss_growth_mb": (rss() - before) / 2**20,
        "bytes": sum(path.stat().st_size for path in Path(index_uri(uri)).iterdir()),
    }


def _find(opened: Index, texts: list[str]) -> float:
    seconds, (places, records) = _timed(lambda: opened.find(texts))
    assert places.tolist() == list(range(FOUND))
    opened.document.layout.to_table([texts[place] for place in places], records)
    return seconds


def rss() -> int:
    """Return the resident bytes of this process, memory-mapped pages included."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--ads", type=int, default=200_000)
    parser.add_argument("--texts", type=int, default=20_000_000)
    given = parser.parse_args()
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    given.folder.mkdir(exist_ok=True)
    steps = {
        "prepare": lambda: prepare(given.folder, given.shape, given.ads),
        "first": lambda: first(given.folder),
        "second": lambda: second(given.folder),
        "index": lambda: index(given.folder, given.texts),
        "lookup": lambda: lookup(given.folder),
    }
    report = {"machine": machine(), "step": given.step, **steps[given.step]()}
    print(json.dumps(report, indent=1, ensure_ascii=False, default=str))


if __name__ == "__main__":
    main()
