"""What ads of megabytes cost the process that encodes a shard: python -m benchmarks.hostile_texts

Each table is a shard of its own in a fresh process. Prints seconds of the encode stage and the peak
RSS of the process, and fails when one needs more than 1.5 GB, or 5 s more than the ordinary ads.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tokenizers

from benchmarks.stub import SHAPES, build_bundle
from rubert_ood.synthetic.catalogue import generate_ads

NUM_ADS = 2_000
LONG_BYTES, HUGE_BYTES = 100_000, 50_000_000
MOST_GB, MOST_S = 1.5, 5.0
KINDS: dict[str, Callable[[str, int], str]] = {
    "words": lambda words, num_bytes: _bytes_of(words, num_bytes),
    "words of a letter": lambda _, num_bytes: _bytes_of("а ", num_bytes),
    "no white space": lambda words, num_bytes: _bytes_of(
        words.replace(" ", ""), num_bytes
    ),
    "one letter": lambda _, num_bytes: _bytes_of("ж", num_bytes),
    "zero-width": lambda _, num_bytes: _bytes_of("\u200b", num_bytes),
    "zero-width, then words": lambda words, num_bytes: (
        _bytes_of("\u200b", num_bytes) + words[:1000]
    ),
    "digits": lambda _, num_bytes: _bytes_of("12-", num_bytes),
}


def _bytes_of(pattern: str, num_bytes: int) -> str:
    """Repeat a pattern up to so many bytes."""
    data = pattern.encode()
    return (data * (num_bytes // len(data) + 1))[:num_bytes].decode("utf-8", "ignore")


def write_tables(folder: Path) -> dict[str, Path]:
    """Write ordinary ads, ads of 100 kB, and ordinary ads with one of 50 MB among them; by name."""
    ads = pa.Table.from_batches(generate_ads(NUM_ADS, seed=11, balanced=True)).select(
        ["ad_id", "title"]
    )
    ordinary = pa.Table.from_batches(generate_ads(NUM_ADS, seed=11, balanced=True))[
        "description"
    ].to_pylist()
    words = " ".join(ordinary)
    paths = {"ordinary": _write(folder / "ordinary.parquet", ads, ordinary)}
    for number, (kind, make) in enumerate(KINDS.items()):
        long = [f"{row} {make(words[row:], LONG_BYTES)}" for row in range(NUM_ADS)]
        name = f"{NUM_ADS:,} of 100 kB: {kind}"
        paths[name] = _write(folder / f"long-{number}.parquet", ads, long)
        name = f"one of 50 MB: {kind}"
        huge = [*ordinary[:1000], make(words, HUGE_BYTES), *ordinary[1001:]]
        paths[name] = _write(folder / f"huge-{number}.parquet", ads, huge)
    ids = pa.array([f"{row} {'x' * LONG_BYTES}" for row in range(NUM_ADS)])
    paths[f"{NUM_ADS:,} ids of 100 kB"] = _write(
        folder / "ids.parquet", ads.set_column(0, "ad_id", ids), ordinary
    )
    return paths


def _write(path: Path, ads: pa.Table, descriptions: list[str]) -> Path:
    pq.write_table(ads.append_column("description", pa.array(descriptions)), path)
    return path


def encode_once(path: str, bundle_uri: str) -> None:
    """Encode a table as one shard in this process; print seconds and peak RSS as JSON."""
    from rubert_ood.bundle import load_bundle
    from rubert_ood.scoring.encode import encode
    from rubert_ood.scoring.item import ShardItem
    from rubert_ood.scoring.job import ScoringJob
    from rubert_ood.scoring.planning import make_plan
    from rubert_ood.settings import ScoreSettings

    settings = ScoreSettings(
        input_uri=path, bundle_uri=bundle_uri, output_uri="/nowhere", shard_rows=NUM_ADS
    )
    plan = make_plan(settings, load_bundle(bundle_uri))
    job = ScoringJob.of(plan)
    started = time.perf_counter()
    for shard in plan.shards:
        result = encode(ShardItem(shard), job)
        if result.failure:
            raise SystemExit(result.failure)
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text()
    peak_kb = next(
        int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")
    )
    print(
        json.dumps(
            {"seconds": round(seconds, 2), "peak_gb": round(peak_kb * 1024 / 1e9, 3)}
        )
    )


def measure(path: Path, bundle_uri: str) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.hostile_texts",
        "--table",
        str(path),
        "--bundle_uri",
        bundle_uri,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(result.stdout + result.stderr)
    figures: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", help="encode this one here, and nothing else")
    parser.add_argument(
        "--bundle_uri",
        help="a bundle; by default one with a vocabulary of 30,000 is made",
    )
    arguments = parser.parse_args()
    if arguments.table:
        encode_once(arguments.table, arguments.bundle_uri)
        return
    with tempfile.TemporaryDirectory() as folder:
        shape = replace(SHAPES["small"], num_layers=1)
        uri = arguments.bundle_uri or build_bundle(Path(folder), shape, max_length=196)
        figures = {
            name: measure(path, uri) for name, path in write_tables(Path(folder)).items()
        }
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, pyarrow {pa.__version__}, ",
        end="",
    )
    print(
        f"tokenizers {tokenizers.__version__}\n\n| shard | encode, s | peak RSS, GB"
        " |\n|---|---|---|"
    )
    for name, figure in figures.items():
        print(f"| {name} | {figure['seconds']} | {figure['peak_gb']} |")
    most_s = figures["ordinary"]["seconds"] + MOST_S
    failed = [
        name
        for name, f in figures.items()
        if f["seconds"] > most_s or f["peak_gb"] > MOST_GB
    ]
    if failed:
        raise SystemExit(f"too slow or too large: {', '.join(failed)}")


if __name__ == "__main__":
    main()
