"""Parquet to Parquet on Ray: our pipeline, and the usual recipe. Rates are taken after start-up.

Start-up ends when the actor has done its first shard (or batch); the rate is what it does after
that, waiting included, over the time that it takes.
"""

import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import ray
import ray.data
import torch

from benchmarks.ways import PIPELINE_BATCHES, make_pipeline
from rubert_ood.bundle import Bundle
from rubert_ood.classifier.tokenizer import load_tokenizer
from rubert_ood.classifier.tokens import num_tokens, tokenize
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.plan import save_plan
from rubert_ood.runs.receipts import Receipt, read_receipts
from rubert_ood.scoring.passes import score_shards
from rubert_ood.scoring.planning import make_plan
from rubert_ood.scoring.ray_executor import RayExecutor
from rubert_ood.settings import ScoreSettings, ScoringComputeSettings


@dataclass
class JobRate:
    ads_per_s: float
    tokens_per_s: float
    start_up_s: float
    folded_share: float = 0.0
    """Tokens that were not computed because another ad of the shard has the same text."""
    idle_share: float = 0.0
    """Time in which the actor waited for its next shard."""


def our_pipeline(
    input_uri: str, bundle: Bundle, *, shard_rows: int, token_budget: int
) -> JobRate:
    """Score with one actor; the rate is by its clock."""
    compute = ScoringComputeSettings(token_budget=token_budget, num_workers=1)
    started, receipts = _scored(input_uri, bundle, shard_rows, compute)
    first, *others = sorted(receipts, key=_finished)
    seconds = sum(receipt.scorer_busy_s + receipt.scorer_idle_s for receipt in others)
    return _job_rate(receipts, others, seconds, _finished(first) - started)


def gpu_pipeline(
    input_uri: str, bundle: Bundle, *, shard_rows: int, use_gpu: bool
) -> tuple[JobRate, tuple[float, float]]:
    """Score as the nightly job does; the rate is that of the parts after the first one, by the
    clock on the wall.

    The second value is when the first part was written and when the last one, in seconds since the
    epoch.
    """
    compute = ScoringComputeSettings(use_gpu=use_gpu, num_workers=1)
    started, receipts = _scored(input_uri, bundle, shard_rows, compute)
    first, *others = sorted(receipts, key=_finished)
    begin, end = _finished(first), _finished(others[-1])
    return _job_rate(receipts, others, end - begin, begin - started), (begin, end)


def _scored(
    input_uri: str, bundle: Bundle, shard_rows: int, compute: ScoringComputeSettings
) -> tuple[float, list[Receipt]]:
    """Score every shard; return when it began, and the receipts."""
    with tempfile.TemporaryDirectory() as output:
        settings = ScoreSettings(
            input_uri=input_uri,
            bundle_uri=bundle.uri,
            output_uri=output,
            shard_rows=shard_rows,
            compute=compute,
        )
        plan = make_plan(settings, bundle)
        save_plan(plan)
        started = time.time()
        score_shards(
            plan, plan.shards, settings, Claim(plan.run_uri), RayExecutor(settings)
        )
        receipts = read_receipts(plan.run_uri, plan.fingerprint)
    return started, list(receipts.values())


def _job_rate(
    receipts: list[Receipt], counted: list[Receipt], seconds: float, start_up_s: float
) -> JobRate:
    """Return the rate of the counted parts."""
    computed = sum(receipt.unique_tokens for receipt in receipts)
    idle_s = sum(receipt.scorer_idle_s for receipt in counted)
    return JobRate(
        sum(receipt.rows_in for receipt in counted) / seconds,
        sum(receipt.tokens for receipt in counted) / seconds,
        start_up_s,
        1 - computed / sum(receipt.tokens for receipt in receipts),
        idle_s / seconds,
    )


def _finished(receipt: Receipt) -> float:
    """Return when a shard was written, in seconds since the epoch."""
    return datetime.fromisoformat(receipt.finished_at).timestamp()


def after_start_up(receipts: dict[str, Receipt]) -> float:
    """Return the seconds from the first part to the last."""
    finished = [_finished(receipt) for receipt in receipts.values()]
    return max(finished) - min(finished)


class _PipelineActor:
    """The usual recipe: an actor around transformers.pipeline. It gets all threads of the node."""

    def __init__(self, bundle: Bundle, num_threads: int, device: str) -> None:
        torch.set_num_threads(num_threads)
        self.bundle = bundle
        self.run = make_pipeline(bundle.folder, bundle.text.max_length, device)

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        titles, descriptions = batch["title"].fillna(""), batch["description"].fillna("")
        texts = [
            self.bundle.cleaner.clean(f"{title} {body}")
            for title, body in zip(titles, descriptions, strict=True)
        ]
        logits_NC = self.run(texts)
        columns = {
            "ad_id": batch["ad_id"],
            "label": logits_NC.argmax(1),
            "finished": time.time(),
            "text": texts,
        }
        return pd.DataFrame(columns)


def usual_recipe(
    input_uri: str, bundle: Bundle, num_ads: int, device: str = "cpu"
) -> JobRate:
    """ray.data.read_parquet, map_batches with an actor around an HF pipeline, write_parquet."""
    started = time.time()
    with tempfile.TemporaryDirectory() as output:
        ray.data.read_parquet(input_uri).limit(num_ads).map_batches(
            _PipelineActor,
            fn_constructor_args=(bundle, torch.get_num_threads(), device),
            batch_size=PIPELINE_BATCHES[device],
            batch_format="pandas",
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=1,
            num_gpus=int(device == "cuda"),
        ).write_parquet(output)
        rows: Any = pq.read_table(output).to_pandas()
    first = rows["finished"].min()
    later = rows[rows["finished"] > first]
    window = rows["finished"].max() - first
    tokens = int(
        num_tokens(
            tokenize(
                load_tokenizer(bundle.folder),
                later["text"].tolist(),
                bundle.text.max_length,
            )
        ).sum()
    )
    return JobRate(len(later) / window, tokens / window, first - started)
