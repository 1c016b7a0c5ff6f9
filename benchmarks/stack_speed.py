"""What a stack costs where an ad is scored: python -m benchmarks.stack_speed [--ads 2000]

One bundle of random weights (small shape), with and without words of generated ads, on the same
ads: the encode stage, and the whole from Parquet to decisions, in turn. Processor time of all
threads, median of the rounds; the ratio is the median of that of each round. Prints JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.floor import machine
from benchmarks.stub import MAX_LENGTH, SHAPES, build_bundle
from rubert_ood.ads.dataset import clean_labelled
from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier.stack import Stack
from rubert_ood.predictor import Model
from rubert_ood.runs.plan import Shard
from rubert_ood.scoring.encode import encode_rows
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.training.words import fit_words

COLUMNS = ["ad_id", "title", "description"]


def with_words(bundle: Bundle, num_ads: int) -> Bundle:
    table = pa.Table.from_batches(list(generate_ads(num_ads, seed=1, balanced=True)))
    train = clean_labelled(table, bundle.cleaner, bundle.fitted.labels)
    words = fit_words(train, len(bundle.fitted.labels))
    return replace(bundle, stack=Stack(words, 1.0))


def core_seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ads", type=int, default=2_000)
    parser.add_argument("--train_ads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "ads.parquet"))
        ads = pa.Table.from_batches(list(generate_ads(arguments.ads, seed=7)))
        pq.write_table(ads.select(COLUMNS), path)
        shard = Shard("0", path, {name: name for name in COLUMNS}, 0, arguments.ads)
        uri = build_bundle(
            Path(folder),
            SHAPES["small"],
            max_length=MAX_LENGTH,
            num_ads=arguments.train_ads,
        )
        plain = load_bundle(uri)
        stacked = with_words(plain, arguments.train_ads)
        models = {"without": Model(plain).with_network(), "with": Model(stacked)}
        models["with"]._classifier = models["without"]._classifier
        for round_ in range(arguments.rounds + 1):
            for name, model in models.items():
                encode = lambda model=model: encode_rows(  # noqa: E731
                    path, shard, model, carry=pa.schema([])
                )
                encode_s = core_seconds(encode)
                texts = encode().texts
                whole_s = encode_s + core_seconds(lambda m=model, t=texts: m.score(t))
                if round_:  # the first loads
                    times.setdefault(f"encode {name}", []).append(encode_s)
                    times.setdefault(f"whole {name}", []).append(whole_s)
    pairs = zip(times["whole without"], times["whole with"], strict=True)
    us = {name: 1e6 * median(found) / arguments.ads for name, found in times.items()}
    assert stacked.stack is not None
    report = {
        "machine": machine(),
        "ngrams": len(stacked.stack.words.ngrams),
        "classes": len(plain.fitted.labels),
        "us_per_ad": us,
        "rate_with_over_without": median(plain_s / with_s for plain_s, with_s in pairs),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
