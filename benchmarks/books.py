"""The books of a run of up to a billion ads, without the ads: python -m benchmarks.books

Plans real Parquet files (hard links of one, ten shards each), puts receipts as a night leaves them
(50 labels, ten far ads with texts, 8 kB), and takes each step that reads them in a fresh process:
seconds, those of the processor, and peak RSS with all that is imported. Nothing is scored, parts
are empty and not read, storage is the local disk: S3 adds a request for each thousand names that
are listed, and for each object that is read. Prints JSON.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

SHARDS_PER_FILE = 10
SHARD_ROWS = 2_000
FILE = SHARDS_PER_FILE * SHARD_ROWS
VARIANTS = 500
"""Receipts that differ in their texts and numbers; the next ones repeat them."""
STARTED = "2026-11-24T03:00:00+00:00"
BEFORE = "r0"


def peak_mb() -> int:
    """Peak RSS of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kb,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kb) // 1024


class Steps:
    """What a step took, by name."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started, worked = time.perf_counter(), time.process_time()
        yield
        self.found[name] = {
            "s": round(time.perf_counter() - started, 2),
            "cpu_s": round(time.process_time() - worked, 2),
            "peak_mb": peak_mb(),
        }


def settings(folder: Path, run_id: str = "r1") -> Any:
    from rubert_ood.settings import ScoreSettings

    return ScoreSettings(
        input_uri=str(folder / "in"),
        bundle_uri=(folder / "bundle_uri").read_text(),
        output_uri=str(folder / "out"),
        run_date=date(2026, 11, 24),
        run_id=run_id,
        shard_rows=SHARD_ROWS,
    )


def prepare(folder: Path, num_shards: int, steps: Steps) -> None:
    """Write the input, and the bundle."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmarks.stub import STUB, STUB_LENGTH, build_bundle
    from rubert_ood.synthetic.catalogue import generate_ads

    ads = pa.Table.from_batches(list(generate_ads(FILE, seed=1)))
    (folder / "in").mkdir(parents=True)
    first = folder / "in" / "part-00000.parquet"
    pq.write_table(ads, first, row_group_size=SHARD_ROWS, compression="zstd")
    for number in range(1, num_shards // SHARDS_PER_FILE):
        os.link(first, folder / "in" / f"part-{number:05d}.parquet")
    (folder / "bundle").mkdir()
    uri = build_bundle(folder / "bundle", STUB, max_length=STUB_LENGTH, num_ads=2_000)
    (folder / "bundle_uri").write_text(uri)


def plan(folder: Path, num_shards: int, steps: Steps) -> None:
    from rubert_ood.bundle import load_bundle
    from rubert_ood.runs.plan import save_plan
    from rubert_ood.scoring.planning import make_plan

    given = settings(folder)
    bundle = load_bundle(given.bundle_uri)
    steps.found["nothing but the imports"] = {"s": 0, "peak_mb": peak_mb()}
    with steps("make_plan"):
        made = make_plan(given, bundle)
    assert len(made.shards) == num_shards
    with steps("save_plan"):
        save_plan(made)
    (folder / "run_uri").write_text(made.run_uri)
    path = Path(made.run_uri, "_run", "plan.json")
    steps.found["plan.json, MB"] = round(path.stat().st_size / 1e6, 1)


def load(folder: Path, num_shards: int, steps: Steps) -> None:
    with steps("load_plan"):
        found = the_plan(folder)
    assert len(found.shards) == num_shards


def the_plan(folder: Path) -> Any:
    from rubert_ood.runs.plan import load_plan

    return load_plan((folder / "run_uri").read_text())


def first_half(folder: Path, num_shards: int, steps: Steps) -> None:
    put_receipts(folder, 0, num_shards // 2)


def second_half(folder: Path, num_shards: int, steps: Steps) -> None:
    put_receipts(folder, num_shards // 2, num_shards)


def put_receipts(folder: Path, start: int, stop: int) -> None:
    """Put receipts as scoring does, but for the numbers in them."""
    found = the_plan(folder)
    run_dir = Path(found.run_uri)
    (run_dir / "_run" / "receipts").mkdir(exist_ok=True)
    variants = [a_receipt(number, found.fingerprint) for number in range(VARIANTS)]
    for number in range(start, stop):
        shard = found.shards[number]
        text = variants[number % VARIANTS]
        for name, value in (
            ("SHARD_ID", shard.shard_id),
            ("FILE_URI", shard.uri),
            ("PART_SHA", hashlib.sha256(shard.shard_id.encode()).hexdigest()),
            ('"@START"', str(shard.start)),
            ('"@STOP"', str(shard.stop)),
        ):
            text = text.replace(name, value)
        path = run_dir / "_run" / "receipts" / f"{shard.shard_id}.json"
        path.write_bytes(text.encode())


def a_receipt(number: int, fingerprint: str) -> str:
    """The JSON of a receipt of SHARD_ROWS ads, with places for what tells its shard."""
    import numpy as np

    from rubert_ood.runs.night_sums import CONFIDENCE_LIMITS, P_LIMITS
    from rubert_ood.runs.profile import TOKEN_EDGES
    from rubert_ood.runs.receipts import Receipt
    from rubert_ood.storage import to_json
    from rubert_ood.synthetic.catalogue import categories, generate_ads

    rng = np.random.default_rng(number)
    ads = next(iter(generate_ads(10, seed=number)))
    labels = [*categories(), "Other"]
    classes = rng.multinomial(SHARD_ROWS, np.ones(len(labels)) / len(labels))
    lengths = rng.multinomial(SHARD_ROWS, np.ones(len(TOKEN_EDGES)) / len(TOKEN_EDGES))
    far = []
    for row in range(10):
        far.append(
            {
                "ad_id": str(rng.integers(10**9)),
                "text_key": rng.bytes(16).hex(),
                "label": labels[row],
                "confidence": rng.random(),
                "is_ood": row < 2,
                "ood_distance": 1000 * rng.random(),
                "ood_z": 10 * rng.random(),
                "ood_p": rng.random(),
                "text": ads["description"][row].as_py()[:200],
                "uri": "FILE_URI",
            }
        )
    sums = {
        "confidence": [SHARD_ROWS] + [0] * (len(CONFIDENCE_LIMITS) - 1),
        "p": [SHARD_ROWS] + [0] * (len(P_LIMITS) - 1),
        "p_flagged": [20] + [0] * (len(P_LIMITS) - 1),
        "p_last": 1e-4,
        "confidence_sum": 0.9 * SHARD_ROWS,
        "confidence_squares": 0.81 * SHARD_ROWS,
    }
    sample = {
        "key": [number],
        "text": [number],
        "names": labels[:5],
        "best": [[0, 1, 2, 3, 4]],
        "p": [[0.6, 0.1, 0.1, 0.1, 0.1]],
    }
    cities = {"rows": SHARD_ROWS, "rows_unseen": 9, "unseen": {"тверь": 5, "псков": 4}}
    content = {
        "format": 2,
        "shard_id": "SHARD_ID",
        "fingerprint": fingerprint,
        "uri": "FILE_URI",
        "start": 0,
        "stop": SHARD_ROWS,
        "rows_in": SHARD_ROWS,
        "rows_scored": SHARD_ROWS,
        "rows_rejected": 0,
        "rejected_reasons": {},
        "rows_empty": 1,
        "rows_ood": 20,
        "rows_cut": 3,
        "classes": dict(zip(labels, classes.tolist(), strict=True)),
        "confidence_histogram": rng.multinomial(SHARD_ROWS, np.ones(20) / 20).tolist(),
        "unique_texts": 1900,
        "tokens": 94_000,
        "unique_tokens": 90_000,
        "ids_in": int(rng.integers(2**63)),
        "ids_out": 0,
        "ids_rejected": 0,
        "profile": {
            "cities": cities,
            "top_ood": far,
            "scored_tokens": 80,
            "padded_tokens": 0,
            "token_histogram": lengths.tolist(),
            "night": sums,
            "sample": sample if number < 5 else {},  # one shard in a hundred has an ad
        },
        "part_sha256": "PART_SHA",
        "part_bytes": 179_000,
        "seconds": 40.0 + 5 * rng.random(),
        "scorer_busy_s": 30.0,
        "scorer_idle_s": 1.0,
        "finished_at": f"2026-11-24T0{3 + number % 6}:{number % 60:02d}:00.000+00:00",
    }
    Receipt.model_validate(content)
    return to_json(content | {"start": "@START", "stop": "@STOP"}).decode()


def log_first(folder: Path, num_shards: int, steps: Steps) -> None:
    copy_as_the_run_goes_on(folder, slice(None, num_shards // 2), steps, "first half")


def log_second(folder: Path, num_shards: int, steps: Steps) -> None:
    copy_as_the_run_goes_on(folder, slice(num_shards // 2, None), steps, "second half")


def copy_as_the_run_goes_on(folder: Path, half: slice, steps: Steps, name: str) -> None:
    """What a driver does beside waiting: with each shard that is done."""
    from rubert_ood.runs.receipt_log import ReceiptLog

    found = the_plan(folder)
    with steps(f"copy receipts into batches, {name}"):
        log = ReceiptLog(found, lambda: None)
        log.wait_for(found.shards[half])
        for shard in found.shards[half]:
            log.add(shard.shard_id)
        log.end()
    batches = list(Path(found.run_uri, "_run", "receipt_log").glob("*"))
    megabytes = sum(path.stat().st_size for path in batches) / 1e6
    steps.found[f"batches, {name}"] = f"{len(batches):,}, {megabytes:,.0f} MB"


def resume(folder: Path, num_shards: int, steps: Steps, kind: str = "") -> None:
    """What a start does before it scores the other half."""
    from rubert_ood.runs.manifest import Manifest, revise_manifest
    from rubert_ood.runs.receipt_log import ReceiptLog
    from rubert_ood.runs.receipts import read_receipts

    found = the_plan(folder)
    with steps(f"resume: find the receipts of half{kind}"):
        fill = ReceiptLog(found, lambda: None).fill
        receipts = read_receipts(found.run_uri, found.fingerprint, fill)
        todo = [shard for shard in found.shards if shard.shard_id not in receipts]
    assert len(todo) == num_shards // 2
    with steps(f"resume: note what is done{kind}"):
        manifest = Manifest.of(found, receipts, outcome="running", started_at=STARTED)
        revise_manifest(found.run_uri, lambda _: manifest)
    assert manifest.counts.rows_scored == SHARD_ROWS * num_shards // 2


def resume_without_batches(folder: Path, num_shards: int, steps: Steps) -> None:
    """The log is gone: it is written again."""
    run_dir = Path((folder / "run_uri").read_text())
    shutil.rmtree(run_dir / "_run" / "receipt_log")
    resume(folder, num_shards, steps, ", without batches")


def publish_before(folder: Path, num_shards: int, steps: Steps) -> None:
    """Publish a run of the day before, for the gate, for a rollback."""
    from rubert_ood.publishing.publish import publish_run
    from rubert_ood.runs.manifest import read_manifest

    given = settings(folder, BEFORE)
    now = read_manifest((folder / "run_uri").read_text())
    manifest = now.model_copy(
        update={
            "run_uri": f"{folder}/out/run_date=2026-11-23/run_id={BEFORE}",
            "run_id": BEFORE,
            "run_date": "2026-11-23",
            "outcome": "complete",
        }
    )
    publish_run(manifest, given.gate)


def seal(folder: Path, num_shards: int, steps: Steps) -> None:
    """What sealing does beside the rows: the layout, and of each file its parts and its seal."""
    from rubert_ood import storage
    from rubert_ood.runs.seals import Seal, group_parts, seal_uri
    from rubert_ood.sealing.layout import settled_layout

    found = the_plan(folder)
    receipts = the_receipts(found)
    with steps("seal: cut the run into files"):
        layout = settled_layout(found, receipts, lambda: None)
    with steps("seal: digests of the parts of each file"):
        groups = group_parts(found, receipts, layout)
    with steps("seal: receipts of each file, its seal, and a file of no byte"):
        for group in groups:
            own = group.loaded().receipts
            made = Seal(
                path=group.path,
                sha256="0" * 64,
                rows=group.num_rows,
                fingerprint=found.fingerprint,
                start=group.start,
                stop=group.stop,
                ids_out=sum(receipt.ids_out for receipt in own) % 2**64,
                parts=group.parts,
            )
            storage.put_bytes(storage.join(found.run_uri, group.path), b"")
            storage.put_json(seal_uri(found.run_uri, group.path), made)
    steps.found["sealed files"] = len(groups)


def verify(folder: Path, num_shards: int, steps: Steps) -> None:
    """What verify does beside reading the files, and adding up."""
    from rubert_ood.runs.files import missing_files

    found = the_plan(folder)
    with steps("verify: find all receipts"):
        receipts = the_receipts(found)
        assert all(shard.shard_id in receipts for shard in found.shards)
    with steps("verify: find the seals"):
        paths = [file.path for file in the_files(found, receipts)]
    with steps("verify: list the run"):
        assert missing_files(found, receipts, paths) == {}


def the_files(found: Any, receipts: Any) -> Any:
    """The sealed files, as the manifest lists them."""
    from rubert_ood.runs.seals import find_layout, group_parts, read_seals

    layout = find_layout(found)
    assert layout is not None
    seals = read_seals(found, group_parts(found, receipts, layout))
    return [seal.data_file for seal in seals.values()]


def the_receipts(found: Any) -> Any:
    from rubert_ood.runs.receipts import read_receipts

    return read_receipts(found.run_uri, found.fingerprint)


def publish(folder: Path, num_shards: int, steps: Steps) -> None:
    """Add up, the gate, the pointer and the page; and what verify compares then."""
    from rubert_ood.nights.estimates import samples_of
    from rubert_ood.publishing.publish import publish_run
    from rubert_ood.reports.run_page import write_report
    from rubert_ood.runs.duplicate_ids import Duplicates
    from rubert_ood.runs.manifest import find_manifest
    from rubert_ood.runs.night_sample import merged
    from rubert_ood.runs.verify import VerifiedRun, check_manifest, complete_manifest

    found = the_plan(folder)
    receipts = the_receipts(found)
    files = the_files(found, receipts)
    verified = VerifiedRun(receipts, {}, Duplicates(ids=0, rows=0), files)
    with steps("add up"):
        manifest = complete_manifest(found, verified, STARTED)
    assert manifest.counts.rows_scored == SHARD_ROWS * num_shards
    with steps("samples of the night"):
        assert merged(samples_of(found, receipts)) is not None
    with steps("publish"):
        published = publish_run(manifest, settings(folder).gate)
    assert published.outcome == "published"
    previous = find_manifest(f"{folder}/out/run_date=2026-11-23/run_id={BEFORE}")
    with steps("report"):
        write_report(published, previous)
    with steps("verify: compare the manifest"):
        check_manifest(find_manifest(found.run_uri), manifest)
    path = Path(found.run_uri, "_run", "manifest.json")
    steps.found["manifest.json, MB"] = round(path.stat().st_size / 1e6, 3)


def diff(folder: Path, num_shards: int, steps: Steps) -> None:
    from rubert_ood.comparing.whole_run import read_run

    with steps("diff: read what one run says of its parts"):
        run = read_run((folder / "run_uri").read_text())
    assert run.num_rows == SHARD_ROWS * num_shards


def rollback(folder: Path, num_shards: int, steps: Steps) -> None:
    from rubert_ood.publishing.rollback import roll_back

    with steps("rollback"):
        pointer = roll_back(str(folder / "out"), "benchmark")
    assert pointer.run_id == BEFORE


STEPS: list[Callable[[Path, int, Steps], None]] = [
    prepare,
    plan,
    load,
    first_half,
    log_first,
    resume,
    resume_without_batches,
    publish_before,
    second_half,
    log_second,
    seal,
    verify,
    publish,
    diff,
    rollback,
]


def in_a_process(step: str, folder: Path, num_shards: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.books", "--folder", str(folder)]
    command += ["--shards", str(num_shards), "--step", step]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    took = time.perf_counter() - started
    print(f"{num_shards:,} shards, {step}: {took:,.1f} s", file=sys.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, nargs="+", default=[5_000, 50_000, 500_000])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/books"))
    names = [step.__name__ for step in STEPS]
    parser.add_argument("--step", choices=names, help="this one alone, in this process")
    arguments = parser.parse_args()
    if arguments.step:
        steps = Steps()
        step = STEPS[names.index(arguments.step)]
        step(arguments.folder, arguments.shards[0], steps)
        print(json.dumps(steps.found))
        return
    report: dict[str, Any] = {}
    for num_shards in arguments.shards:
        folder = arguments.folder / str(num_shards)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        figures: dict[str, Any] = {}
        for name in names:
            figures |= in_a_process(name, folder, num_shards)
        report[f"{num_shards} shards"] = figures
        shutil.rmtree(folder)
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
