"""How fast, against the floor and against what people use instead: make bench, or python -m
benchmarks.speed --help

For each model shape, interleaved: the GEMM rate of the machine (the best that was seen: what
disturbs a product only slows it down), and as medians of the rounds our forward pass on token ids
(packed, and as transformers has it), our pipeline from Parquet to Parquet, the usual Ray recipe,
and other engines. Rates are real tokens a second: padding does not count, an ad that is folded away
does. Every way must give the same numbers, or the benchmark fails. Writes a dated
Markdown and JSON.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import ways
from benchmarks.floor import gemm_rates, linear_flops, machine
from benchmarks.ray_jobs import JobRate, our_pipeline, usual_recipe
from benchmarks.stages import stage_shares
from benchmarks.stub import MAX_LENGTH, SHAPES, build_bundle
from rubert_ood.ads.sources import list_tables
from rubert_ood.ads.tables import read_rows
from rubert_ood.ads.text import ad_text
from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier.checkpoint import load_network
from rubert_ood.classifier.tokenizer import load_tokenizer
from rubert_ood.classifier.tokens import length_batches, num_tokens, pack, pad, tokenize
from rubert_ood.predictor import TOKEN_BUDGET
from rubert_ood.ray_session import ray_session
from rubert_ood.settings import ScoreSettings
from rubert_ood.synthetic.catalogue import generate_ads

TOLERANCE = 1e-4
ARGUMENTS = (
    "shapes",
    "rounds",
    "seconds",
    "base_ads",
    "small_ads",
    "base_shard_rows",
    "small_shard_rows",
    "input_uri",
)
RECIPE_ADS_PER_S = {"base": 3, "small": 90}
"""About; only to give the usual recipe as much as it can do in the time."""


class Sample:
    """Ads as texts and as token ids, cut into pieces of equal size; every way takes pieces from the
    first on."""

    def __init__(self, table: pa.Table, bundle: Bundle) -> None:
        pairs = zip(
            table["title"].to_pylist(), table["description"].to_pylist(), strict=True
        )
        self.texts = [
            text for pair in pairs if (text := bundle.cleaner.clean(ad_text(*pair)))
        ]
        self.ids = tokenize(load_tokenizer(bundle.folder), self.texts, MAX_LENGTH)
        self.lengths = num_tokens(self.ids)


def rate(
    run: Callable[[Any], ways.Output],
    inputs: Any,
    lengths: np.ndarray,
    piece: int,
    for_s: float,
) -> float:
    """Run piece after piece, at least one, for about so many seconds; return real tokens a
    second."""
    started, start = time.perf_counter(), 0
    while start == 0 or (
        time.perf_counter() - started < for_s and start + piece <= len(lengths)
    ):
        run(inputs[start : start + piece])
        start += piece
    return float(lengths[:start].sum()) / (time.perf_counter() - started)


def check(name: str, got: ways.Output, expected: ways.Output) -> None:
    for mine, theirs in zip(got, expected, strict=True):
        if mine is not None and not np.allclose(mine, theirs, atol=TOLERANCE):
            raise SystemExit(
                f"{name}: its numbers differ by {np.abs(mine - theirs).max():.2g}"
            )


def measure(
    name: str,
    bundle: Bundle,
    table: pa.Table,
    folder: Path,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Measure one shape; return the figures of the report."""
    shard_rows = {"base": arguments.base_shard_rows, "small": arguments.small_shard_rows}[
        name
    ]
    sample = Sample(table, bundle)
    input_uri = str(folder / "catalogue")
    os.makedirs(input_uri)
    pq.write_table(table, f"{input_uri}/ads.parquet", row_group_size=shard_rows)
    packed, padded = (
        make(bundle, arguments.token_budget)
        for make in (ways.bare_model, ways.padded_model)
    )
    forwards = {"ours, packed": packed, "ours, padded": padded}
    forwards["ours, packed, int8"] = ways.bare_model(
        bundle, arguments.token_budget, "int8"
    )
    peers: dict[str, tuple[ways.Way, int]] = {}
    if not arguments.skip_peers:
        for makers, piece in (
            (ways.FILE_ORDER, ways.PIPELINE_BATCH),
            (ways.LENGTH_ORDER, arguments.piece[name]),
        ):
            peers |= {
                way: (make(bundle, arguments.token_budget), piece)
                for way, make in makers.items()
            }
    few = min(ways.PIPELINE_BATCH, len(sample.texts))
    expected = packed(sample.ids[:few])
    check("padded", padded(sample.ids[:few]), expected)
    for peer, (run, _) in peers.items():
        check(peer, run(sample.texts[:few]), expected)
    config = load_network(bundle.folder).config
    gemm: list[dict[str, float]] = []
    rates: dict[str, list[float]] = {}
    jobs: dict[str, list[JobRate]] = {}
    for number in range(arguments.rounds):
        gemm.append(gemm_rates(config))
        for way, run in forwards.items():
            tokens_per_s = rate(
                run, sample.ids, sample.lengths, arguments.piece[name], arguments.seconds
            )
            rates.setdefault(f"forward: {way}", []).append(tokens_per_s)
        for way, (run, piece) in peers.items():
            rates.setdefault(way, []).append(
                rate(run, sample.texts, sample.lengths, piece, arguments.seconds)
            )
        job = our_pipeline(
            input_uri, bundle, shard_rows=shard_rows, token_budget=arguments.token_budget
        )
        jobs.setdefault("ours, Parquet to Parquet", []).append(job)
        if not arguments.skip_peers:
            batches = 1 + max(
                1, round(arguments.seconds * RECIPE_ADS_PER_S[name] / ways.PIPELINE_BATCH)
            )
            num_ads = batches * ways.PIPELINE_BATCH
            jobs.setdefault("usual Ray recipe, Parquet to Parquet", []).append(
                usual_recipe(input_uri, bundle, num_ads)
            )
        gemm.append(gemm_rates(config))
        print(f"{name}: round {number + 1} of {arguments.rounds}", flush=True)
    limit = max(rate["model"] for rate in gemm) / linear_flops(config)
    for job_name, runs in jobs.items():
        rates[job_name] = [run.tokens_per_s for run in runs]
    ours = statistics.median(rates["ours, Parquet to Parquet"])
    bare = statistics.median(rates["forward: ours, packed"])
    return {
        "ads": len(sample.texts),
        "shard_rows": shard_rows,
        "mean_tokens": float(sample.lengths.mean()),
        "gemm_gflops": {
            kind: max(rate[kind] for rate in gemm) / 1e9 for kind in ("peak", "model")
        },
        "limit_tokens_per_s": limit,
        "ways": {
            way: {
                "tokens_per_s": statistics.median(values),
                "lowest": min(values),
                "highest": max(values),
                "share_of_limit": statistics.median(values) / limit,
                "ours_is_faster_by": ours / statistics.median(values),
            }
            for way, values in rates.items()
        },
        "ads_per_s": statistics.median(
            run.ads_per_s for run in jobs["ours, Parquet to Parquet"]
        ),
        "start_up_s": statistics.median(
            run.start_up_s for run in jobs["ours, Parquet to Parquet"]
        ),
        "overhead_over_bare_model": bare / ours - 1,
        "idle_share": statistics.median(
            run.idle_share for run in jobs["ours, Parquet to Parquet"]
        ),
        "folded_share": jobs["ours, Parquet to Parquet"][0].folded_share,
        "padding_share": _padding_shares(sample, shard_rows, arguments.token_budget),
        "stages": stage_shares(
            input_uri, bundle, shard_rows=shard_rows, token_budget=arguments.token_budget
        ),
        "jobs": {
            job_name: [asdict(run) for run in runs] for job_name, runs in jobs.items()
        },
    }


def _padding_shares(
    sample: Sample, shard_rows: int, token_budget: int
) -> dict[str, float]:
    """Return the share of the positions that are computed for nothing, over the first shard."""
    ids, lengths = sample.ids[:shard_rows], sample.lengths[:shard_rows]
    in_length_order = length_batches(lengths, token_budget)
    in_file_order = [
        np.arange(start, min(start + 32, len(lengths)))
        for start in range(0, len(lengths), 32)
    ]
    positions = {
        "packed": sum(len(pack(ids, rows)[0]) for rows in in_length_order),
        "length order, padded": sum(
            pad(ids, rows, 0)[0].size for rows in in_length_order
        ),
        "file order, batch 32": sum(pad(ids, rows, 0)[0].size for rows in in_file_order),
    }
    return {way: 1 - float(lengths.sum()) / count for way, count in positions.items()}


def read_ads(arguments: argparse.Namespace, num_ads: int) -> pa.Table:
    """Return ads with ad_id, title, description: generated ones, or the first of a table that was
    given."""
    if not arguments.input_uri:
        return pa.Table.from_batches(list(generate_ads(num_ads, seed=7)))
    table = pa.concat_tables(
        read_rows(file.uri, ["ad_id", "title", "description"], stop=num_ads)
        for file in list_tables(arguments.input_uri)
    )
    return table.slice(0, num_ads)


def markdown(report: dict[str, Any]) -> str:
    """Lay the figures out as tables."""
    lines = [f"# Speed, {report['date']}", "", f"`{report['command']}`", ""]
    lines += [", ".join(f"{key} {value}" for key, value in report["machine"].items()), ""]
    for name, shape in report["shapes"].items():
        gemm = shape["gemm_gflops"]
        lines += [
            f"## {name}",
            "",
            (
                f"GEMM {gemm['model']:.0f} GFLOP/s at the model's shapes ({gemm['peak']:.0f} at its"
                f" peak): {shape['limit_tokens_per_s']:,.0f} tokens/s. {shape['ads']:,} ads of"
                f" {shape['mean_tokens']:.1f} tokens, shards of {shape['shard_rows']:,}."
            ),
            "",
            (
                "| way | tokens/s (lowest-highest) | share of the GEMM limit | our pipeline is"
                " faster by |"
            ),
            "|---|---|---|---|",
        ]
        for way, figures in shape["ways"].items():
            lines.append(
                f"| {way} | {figures['tokens_per_s']:,.0f}"
                f" ({figures['lowest']:,.0f}-{figures['highest']:,.0f}) |"
                f" {figures['share_of_limit']:.0%} | {figures['ours_is_faster_by']:.2f} |"
            )
        padding = ", ".join(
            f"{key} {value:.1%}" for key, value in shape["padding_share"].items()
        )
        stages = ", ".join(f"{key} {value:.1%}" for key, value in shape["stages"].items())
        lines += [
            "",
            (
                f"Pipeline: {shape['ads_per_s']:,.1f} ads/s,"
                f" {shape['overhead_over_bare_model']:+.1%} over the bare model,"
                f" {shape['start_up_s']:.1f} s to the first shard, {shape['folded_share']:.1%} of"
                f" the tokens folded, the actor waits {shape['idle_share']:.1%} of the time."
            ),
            f"Padding: {padding}. Stages, one after the other: {stages}.",
            "",
        ]
    return "\n".join(lines)


def _command(arguments: argparse.Namespace) -> str:
    given = {
        name: value
        for name, value in vars(arguments).items()
        if name in ARGUMENTS and value is not None
    }
    flags = (
        f"--{name} {' '.join(value) if isinstance(value, list) else value}"
        for name, value in given.items()
    )
    return f"python -m benchmarks.speed {' '.join(flags)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each way and round")
    parser.add_argument("--base_ads", type=int, default=600)
    parser.add_argument("--small_ads", type=int, default=20_000)
    parser.add_argument("--base_shard_rows", type=int, default=100)
    parser.add_argument("--small_shard_rows", type=int, default=2_000)
    parser.add_argument("--token_budget", type=int, default=TOKEN_BUDGET[False])
    parser.add_argument(
        "--input_uri",
        help="CSV or Parquet with ad_id, title, description instead of generated ads",
    )
    parser.add_argument("--output_dir", default="benchmarks/results")
    parser.add_argument(
        "--skip_peers",
        action="store_true",
        help="our own ways alone; without the extra `bench`",
    )
    arguments = parser.parse_args()
    arguments.piece = {
        "base": 2 * arguments.base_shard_rows,
        "small": arguments.small_shard_rows,
    }
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    started, now = time.monotonic(), datetime.now().strftime("%Y-%m-%dT%H%M")
    shapes = {}
    with ray_session(ScoreSettings(input_uri="-", bundle_uri="-", output_uri="-")):
        for name in arguments.shapes:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                uri = build_bundle(folder, SHAPES[name], max_length=MAX_LENGTH)
                table = read_ads(
                    arguments,
                    {"base": arguments.base_ads, "small": arguments.small_ads}[name],
                )
                shapes[name] = measure(name, load_bundle(uri), table, folder, arguments)
    report = {
        "date": now,
        "command": _command(arguments),
        "machine": machine(),
        "minutes": (time.monotonic() - started) / 60,
        "shapes": shapes,
    }
    output = Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"speed-{now}.json").write_text(
        json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    )
    (output / f"speed-{now}.md").write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
