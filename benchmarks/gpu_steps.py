"""The measurements of `make gpu` and `make gpu-training`, each in a process of its own.

Figures are appended to FOLDER/figures.jsonl as soon as they are known: what a process has measured
before it fails, or runs out of time, is in the report. A way that fails does not stop the next one.
"""

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks import gpu_training, ways
from benchmarks.floor import gemm_rates, linear_flops, machine
from benchmarks.gpu import FIGURES
from benchmarks.gpu_watch import watched_gpu
from benchmarks.ray_jobs import gpu_pipeline, usual_recipe
from benchmarks.speed import Sample, rate
from benchmarks.stages import stage_shares
from benchmarks.stub import MAX_LENGTH, SHAPES, build_bundle
from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier import fast_tokens
from rubert_ood.classifier.checkpoint import load_network
from rubert_ood.classifier.precision import choose_device
from rubert_ood.predictor import TOKEN_BUDGET
from rubert_ood.ray_session import ray_session
from rubert_ood.settings import ScoreSettings
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.synthetic.small_bert import BertShape

SHARDS_PER_FILE = 5
CHECKED_ADS = 64
TOLERANCE = {"cpu": 1e-3, "cuda": 0.2}
"""Of logits and CLS against fp32 on CPU; a CLS has numbers of about 1, bf16 8 bits of mantissa."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    shapes: dict[str, BertShape]
    shard_rows: int
    num_files: dict[str, int]
    """Of SHARDS_PER_FILE shards each; many more shards than encode tasks run at first, or the rate
    would be that of the network alone."""
    seconds: float
    """Of each forward pass."""
    peer_ads: int
    """That a peer takes at a time."""
    recipe_ads: int
    vocabulary_ads: int
    """That the vocabulary is learned from."""
    compiler: str
    trained_ads: int
    """That the steps of training are drawn from."""
    ads_of_a_step: tuple[int, ...]


SIZES = {
    "cuda": Sizes(
        SHAPES,
        20_000,
        {"base": 12, "small": 20},
        3.0,
        4_096,
        10_240,
        10_000,
        "inductor",
        2_048,
        (32, 64, 128),
    ),
    "cpu": Sizes(
        {
            "base": BertShape(3000, 32, num_layers=2, num_heads=2),
            "small": BertShape(3000, 24, num_layers=1, num_heads=2),
        },
        50,
        {"base": 1, "small": 1},
        0.1,
        64,
        192,
        1_000,
        "aot_eager",
        64,
        (8,),
    ),
}


@dataclass(frozen=True)
class Work:
    """What a step works on."""

    folder: Path
    device: str
    """cuda or cpu."""
    shape: str = ""

    @property
    def sizes(self) -> Sizes:
        return SIZES[self.device]

    @property
    def use_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def input_uri(self) -> str:
        return str(self.folder / f"ads-{self.shape}")

    def bundle(self) -> Bundle:
        return load_bundle(str(self.folder / self.shape / "bundle"))

    def note(self, kind: str, name: str, figures: dict[str, Any]) -> None:
        """Append figures of a kind: machine, floor, way, stages, failed, absent."""
        line = {"kind": kind, "shape": self.shape, "name": name, **figures}
        with open(self.folder / FIGURES, "a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def attempt(self, name: str, measure: Callable[[], None]) -> bool:
        """Measure, or note why not; say whether nothing failed."""
        try:
            measure()
        except ModuleNotFoundError as error:
            self.note("absent", name, {"reason": str(error)})
        except Exception as error:  # the next way shall be measured
            logging.exception("%s", name)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self.note("failed", name, {"reason": reason[:500]})
            return False
        return True


def prepare(work: Work) -> bool:
    """Note the machine; write bundles with random weights, and ads, for shapes parted by commas."""
    found = machine() | {"tokenizer": "nanotoken" if _is_fast() else "tokenizers"}
    if work.use_gpu:
        properties = torch.cuda.get_device_properties(0)
        memory_gb = round(properties.total_memory / 2**30)
        found |= {
            "gpu": properties.name,
            "gpu_gb": memory_gb,
            "cuda": torch.version.cuda,
        }
    work.note("machine", "", found)
    sizes = work.sizes
    num_ads = SHARDS_PER_FILE * sizes.shard_rows
    table = pa.Table.from_batches(list(generate_ads(num_ads, seed=7)))
    for name in work.shape.split(","):
        shape, folder = sizes.shapes[name], work.folder / name
        folder.mkdir()
        device = choose_device(work.use_gpu)
        build_bundle(
            folder,
            shape,
            max_length=MAX_LENGTH,
            device=device,
            num_ads=sizes.vocabulary_ads,
        )
        ads = work.folder / f"ads-{name}"
        ads.mkdir()
        # nothing is folded across shards, so that copies cost as much as new ads
        pq.write_table(table, ads / "0.parquet", row_group_size=sizes.shard_rows)
        for number in range(1, sizes.num_files[name]):
            shutil.copy(ads / "0.parquet", ads / f"{number}.parquet")
    return True


def _is_fast() -> bool:
    return fast_tokens.find_spec("nanotoken") is not None


def forward(work: Work) -> bool:
    """Measure the floor, and every way to logits and CLS in one process."""
    bundle, sizes = work.bundle(), work.sizes
    sample = Sample(pq.read_table(f"{work.input_uri}/0.parquet"), bundle)
    config = load_network(bundle.folder).config
    floor = gemm_rates(config, work.device)
    figures = {"flops_per_token": linear_flops(config), "ads": len(sample.texts)}
    tokens = float(sample.lengths.mean())
    work.note("floor", "", {**floor, **figures, "tokens_per_ad": tokens})
    budget, few = TOKEN_BUDGET[work.use_gpu], slice(0, CHECKED_ADS)
    expected = ways.bare_model(bundle, TOKEN_BUDGET[False])(sample.ids[few])
    ours = partial(
        ways.bare_model, bundle, budget, bundle.precision, use_gpu=work.use_gpu
    )
    theirs = partial(ways.transformers_model, bundle, budget, work.device)
    on_ids = {
        "ours, token ids": ours,
        "transformers, token ids in length order": theirs,
    }
    on_texts = {
        "sentence-transformers, length order": partial(
            ways.sentence_transformers, bundle, budget, work.device
        ),
        "HF pipeline, file order": partial(_hf_pipeline, bundle, work.device),
    }
    compiled = "torch.compile, token ids in length order"

    def measure(name: str, make: Callable[[], Any], inputs: Any, piece: int) -> None:
        started = time.perf_counter()
        run = make()
        difference = _difference(run(inputs[few]), expected)
        if difference > TOLERANCE[work.device]:
            raise ValueError(f"its numbers differ from fp32 by {difference:.2g}")
        run(inputs[:piece])
        ready_s = time.perf_counter() - started
        found = rate(run, inputs, sample.lengths, piece, sizes.seconds)
        figures = {"tokens_per_s": found, "start_up_s": ready_s, "difference": difference}
        work.note("way", name, figures)

    is_good = True
    for name, make in on_ids.items():
        step = partial(measure, name, make, sample.ids, sizes.shard_rows)
        is_good &= work.attempt(name, step)
    for name, make in on_texts.items():
        step = partial(measure, name, make, sample.texts, sizes.peer_ads)
        is_good &= work.attempt(name, step)
    # the last one: compiling may take all the time that is left
    make = partial(theirs, sizes.compiler)
    step = partial(measure, compiled, make, sample.ids, sizes.shard_rows)
    return work.attempt(compiled, step) and is_good


def _hf_pipeline(bundle: Bundle, device: str) -> ways.Way:
    classify = ways.make_pipeline(bundle.folder, bundle.text.max_length, device)
    return lambda texts: (classify(texts), None)


def _difference(got: ways.Output, expected: ways.Output) -> float:
    pairs = zip(got, expected, strict=True)
    return max(
        float(np.abs(mine - theirs).max()) for mine, theirs in pairs if mine is not None
    )


def on_ray(work: Work) -> bool:
    """Measure Parquet to Parquet: ours, and an actor around an HF pipeline; then our stages."""
    bundle, sizes = work.bundle(), work.sizes

    def ours() -> None:
        with watched_gpu() as watch:
            found, (begin, end) = gpu_pipeline(
                work.input_uri,
                bundle,
                shard_rows=sizes.shard_rows,
                use_gpu=work.use_gpu,
            )
        figures = {**asdict(found), **watch.between(begin, end), "seconds": end - begin}
        work.note("way", "ours, Parquet to Parquet", figures)

    def recipe() -> None:
        found = usual_recipe(work.input_uri, bundle, sizes.recipe_ads, work.device)
        work.note("way", "HF pipeline in Ray Data, Parquet to Parquet", asdict(found))

    def stages() -> None:
        shares = stage_shares(
            f"{work.input_uri}/0.parquet",
            bundle,
            shard_rows=sizes.shard_rows,
            use_gpu=work.use_gpu,
        )
        work.note("stages", "", shares)

    with ray_session(ScoreSettings(input_uri="-", bundle_uri="-", output_uri="-")):
        is_good = work.attempt("ours, Parquet to Parquet", ours)
        is_good &= work.attempt("HF pipeline in Ray Data, Parquet to Parquet", recipe)
    return work.attempt("stages", stages) and is_good


def train(work: Work) -> bool:
    """Measure steps of training, way by way and by the ads of a step, in one process."""
    bundle, sizes, device = work.bundle(), work.sizes, choose_device(work.use_gpu, "bf16")
    ads = pq.read_table(f"{work.input_uri}/0.parquet").slice(0, sizes.trained_ads)
    sample, network = Sample(ads, bundle), load_network(bundle.folder)
    is_good = True
    for name, make in gpu_training.ways(sizes.compiler).items():
        for num_ads in sizes.ads_of_a_step:
            steps = gpu_training.random_steps(
                sample.ids, num_ads, len(bundle.fitted.labels)
            )

            def measure(
                name: str = name,
                make: gpu_training.Make = make,
                steps: list[pa.Table] = steps,
            ) -> None:
                found = gpu_training.measure(make, network, device, steps, sizes.seconds)
                work.note("training", name, {"ads": len(steps[0]), **found})

            is_good &= work.attempt(f"{name}, {num_ads} ads", measure)
    return is_good


STEPS = {"prepare": prepare, "forward": forward, "ray": on_ray, "train": train}


def main() -> None:
    name, folder, device, *shape = sys.argv[1:]
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    is_good = STEPS[name](Work(Path(folder), device, *shape))
    sys.stdout.flush()
    os._exit(not is_good)  # threads of a peer that failed keep no process alive


if __name__ == "__main__":
    main()
