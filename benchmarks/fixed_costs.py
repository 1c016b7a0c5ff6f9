"""What does not depend on the model, and how it grows: python -m benchmarks.fixed_costs

The distance against the forward pass, cleaning with thousands of city names, planning many small
files on S3, and plan, receipts, seals, manifest and verify for ten times the shards. Prints JSON.
"""

import argparse
import io
import json
import logging
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.floor import machine, timed
from benchmarks.ray_jobs import after_start_up
from benchmarks.stub import MAX_LENGTH, SHAPES, STUB, STUB_LENGTH, build_bundle
from rubert_ood import storage
from rubert_ood.ads.text import TextCleaner, ad_text
from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier.classifier import Classifier
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.ood.mahalanobis import MahalanobisStatistics
from rubert_ood.ray_session import ray_session
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.plan import Plan, save_plan
from rubert_ood.runs.receipts import read_receipts
from rubert_ood.runs.verify import verify_run
from rubert_ood.scoring.passes import score_shards
from rubert_ood.scoring.planning import make_plan
from rubert_ood.scoring.ray_executor import RayExecutor
from rubert_ood.sealing.seal_run import seal_run
from rubert_ood.settings import ScoreSettings
from rubert_ood.synthetic.catalogue import generate_ads, write_catalogue
from tests.s3.server import BUCKET, seaweedfs

UPLOAD_THREADS = 16
RATE_S = 1.0


def distance(num_classes: int, hidden: int, num_ads: int = 2000) -> dict[str, float]:
    """Milliseconds an ad, and the relative error against the plain formula in float64."""
    rng = np.random.default_rng(0)
    root_HH = rng.normal(size=(hidden, hidden)) / hidden**0.5
    statistics = MahalanobisStatistics(
        rng.normal(size=(num_classes, hidden)), root_HH @ root_HH.T + np.eye(hidden), 0.1
    )
    cls_NH = rng.normal(size=(num_ads, hidden)).astype(np.float32)
    seconds = timed(lambda: statistics.distance(cls_NH), RATE_S)
    d2_N, _ = statistics.distance(cls_NH[:50])
    differences_NCH = cls_NH[:50, None].astype(np.float64) - statistics.means_CH
    plain_N = np.einsum(
        "nch,hk,nck->nc", differences_NCH, statistics.precision_HH, differences_NCH
    ).min(1)
    return {
        "ms_per_ad": 1000 * seconds / num_ads,
        "relative_error": float(np.abs(d2_N / plain_N - 1).max()),
    }


def cleaning(num_cities: int, texts: list[str]) -> float:
    """Milliseconds an ad."""
    rng = Random(0)
    letters = "абвгдежзиклмнопрстуфхцчшэюя"
    cities = {
        "".join(rng.choices(letters, k=rng.randint(4, 12))) for _ in range(num_cities)
    }
    cleaner = TextCleaner(cities=cities)
    return (
        1000 * timed(lambda: [cleaner.clean(text) for text in texts], RATE_S) / len(texts)
    )


def forward(bundle: Bundle, texts: list[str]) -> float:
    """Milliseconds an ad."""
    classifier = Classifier.load(bundle.folder)
    ids = tokenize(classifier.tokenizer, texts, MAX_LENGTH)
    return (
        1000 * timed(lambda: classifier.run(ids, token_budget=4096), RATE_S) / len(texts)
    )


def plan_seconds(settings: ScoreSettings, bundle: Bundle) -> tuple[Plan, float]:
    started = time.perf_counter()
    plan = make_plan(settings, bundle)
    return plan, time.perf_counter() - started


def planning_on_s3(folder: Path, bundle: Bundle, num_files: int) -> float:
    """Seconds to plan so many files of 20 ads on an S3 server of this machine."""
    table = pa.Table.from_batches(list(generate_ads(20, seed=1)))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    with seaweedfs(folder) as env:
        os.environ.update(env)
        uri = f"s3://{BUCKET}/catalogue"
        with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
            uris = [f"{uri}/part-{number:05d}.parquet" for number in range(num_files)]
            list(pool.map(lambda uri: storage.put_bytes(uri, sink.getvalue()), uris))
        settings = ScoreSettings(
            input_uri=uri, bundle_uri=bundle.uri, output_uri=f"s3://{BUCKET}/out"
        )
        return plan_seconds(settings, bundle)[1]


def many_shards(
    folder: Path, bundle: Bundle, num_shards: int, rows: int = 10
) -> dict[str, float]:
    """Seconds of each step of a run of so many shards of few rows, on local disk; start-up does not
    count."""
    source = folder / f"ads-{num_shards}"
    write_catalogue(str(source), num_shards * rows, seed=2, row_group_rows=rows)
    output_uri = str(folder / f"out-{num_shards}")
    settings = ScoreSettings(
        input_uri=str(source),
        bundle_uri=bundle.uri,
        output_uri=output_uri,
        shard_rows=rows,
    )
    plan, planned = plan_seconds(settings, bundle)
    assert len(plan.shards) == num_shards
    save_plan(plan)
    claim = Claim(plan.run_uri)
    score_shards(plan, plan.shards, settings, claim, RayExecutor(settings))
    receipts = read_receipts(plan.run_uri, plan.fingerprint)
    started = time.perf_counter()
    seal_run(plan, receipts, settings, claim)
    sealed = time.perf_counter() - started
    started = time.perf_counter()
    verified = verify_run(plan)
    Manifest.of(
        plan,
        verified.receipts,
        outcome="complete",
        started_at="2026-01-01T00:00:00+00:00",
    )
    checked = time.perf_counter() - started
    return {
        "plan": planned,
        "score": after_start_up(verified.receipts),
        "seal": sealed,
        "verify and add up": checked,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=10_000, help="on S3")
    parser.add_argument("--shards", type=int, default=200, help="and ten times as many")
    arguments = parser.parse_args()
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    ads = pa.Table.from_batches(list(generate_ads(500, seed=7)))
    texts = [
        ad_text(*pair)
        for pair in zip(
            ads["title"].to_pylist(), ads["description"].to_pylist(), strict=True
        )
    ]
    report: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, shape in SHAPES.items():
            (folder / name).mkdir()
            bundle = load_bundle(
                build_bundle(folder / name, shape, max_length=MAX_LENGTH)
            )
            report[f"forward, {name}, ms an ad"] = forward(
                bundle, texts[: 50 if name == "base" else 500]
            )
        for num_classes in (50, 500):
            report[f"distance, H 768, C {num_classes}"] = distance(num_classes, 768)
        for num_cities in (50, 5_000):
            report[f"cleaning, {num_cities} cities, ms an ad"] = cleaning(
                num_cities, texts
            )
        report["distance over forward, base"] = (
            report["distance, H 768, C 50"]["ms_per_ad"]
            / report["forward, base, ms an ad"]
        )
        report["cleaning over forward, small"] = (
            report["cleaning, 5000 cities, ms an ad"] / report["forward, small, ms an ad"]
        )
        (folder / "stub").mkdir()
        stub = load_bundle(build_bundle(folder / "stub", STUB, max_length=STUB_LENGTH))
        with ray_session(ScoreSettings(input_uri="-", bundle_uri="-", output_uri="-")):
            few, many = (
                many_shards(folder, stub, arguments.shards * factor) for factor in (1, 10)
            )
        (
            report[f"{arguments.shards} shards, s"],
            report[f"{10 * arguments.shards} shards, s"],
        ) = (
            few,
            many,
        )
        report["ratio"] = {step: many[step] / few[step] for step in few}
        report[f"plan of {arguments.files} files on S3, s"] = planning_on_s3(
            folder, stub, arguments.files
        )
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
