"""What encoding an ad costs on one core, step by step: python -m benchmarks.encoding [--input_uri
ads.csv]

Microseconds of processor time an ad for cleaning, tokenizing, windows and the whole stage, median
of interleaved rounds, on generated ads or on those of a table; and the cores that one GPU needs
beside it at a given rate. The process keeps to one core. Prints JSON.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from statistics import median

os.environ.setdefault("RAYON_NUM_THREADS", "1")  # before tokenizers is imported

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer

from benchmarks.floor import machine
from benchmarks.stub import MAX_LENGTH, build_bundle
from rubert_ood.ads.sources import list_tables
from rubert_ood.ads.tables import read_rows
from rubert_ood.ads.text import TextCleaner, ad_text, text_key
from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier.fast_tokens import (
    _fast_tokenizer,
    plain_ids,
    token_ids,
)
from rubert_ood.classifier.tokenizer import TextTokenizer, load_tokenizer
from rubert_ood.classifier.tokens import num_tokens
from rubert_ood.classifier.windows import Windows, cut, is_blank
from rubert_ood.predictor import Model
from rubert_ood.runs.plan import Shard
from rubert_ood.scoring.batch import from_batch, to_batch
from rubert_ood.scoring.encode import encode_rows
from rubert_ood.scoring.item import ShardItem
from rubert_ood.settings import TextSettings
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.synthetic.small_bert import BertShape, build_small_bert

SHAPE = BertShape(30_000, 32, num_layers=1, num_heads=2)
"""The network is not run; its vocabulary counts."""
NUM_CITIES = (0, 50, 5_000)
RATE_S = 0.5
TARGETS = (1.5e6, 2.5e6)
"""Real tokens a second of one GPU."""


@dataclass(frozen=True)
class Ads:
    """Ads in a file, and what reads them."""

    shard: Shard
    bundle: Bundle
    texts: list[str]
    """As they are written: title and description."""
    tokenizer: TextTokenizer
    tokenizer_folder: str

    def model(self, num_cities: int) -> Model:
        cleaner = TextCleaner(cities=self.cities(num_cities))
        return Model(replace(self.bundle, cleaner=cleaner, own_tokenizer=self.tokenizer))

    def cities(self, number: int) -> list[str]:
        """Return the cities that the bundle knows, then names of random letters."""
        known, rng = self.bundle.cleaner.cities[:number], Random(0)
        letters = "абвгдежзиклмнопрстуфхцчшэюя"
        while len(known) < number:
            known.append("".join(rng.choices(letters, k=rng.randint(4, 12))))
        return known


def read_ads(input_uri: str | None, num_ads: int, folder: Path) -> Ads:
    """Write the ads to a Parquet file; the vocabulary is learned from the ads themselves."""
    columns = ["ad_id", "title", "description"]
    if input_uri is None:
        table = pa.Table.from_batches(list(generate_ads(num_ads, seed=7))).select(columns)
    else:
        (file,) = list_tables(input_uri)
        table = read_rows(file.uri, ["ad_id", "description"], stop=num_ads)
        table = table.add_column(1, "title", pa.array([""] * len(table)))
    path = str(folder / "ads.parquet")
    pq.write_table(table, path)
    bundle = load_bundle(build_bundle(folder, SHAPE, max_length=MAX_LENGTH))
    rows = zip(table["title"].to_pylist(), table["description"].to_pylist(), strict=True)
    texts = [ad_text(*row) for row in rows]
    if input_uri is None:
        tokenizer_folder = bundle.folder
    else:
        cleaned = map(bundle.cleaner.clean, texts)
        tokenizer_folder = build_small_bert(cleaned, str(folder / "own"), SHAPE)
    tokenizer = load_tokenizer(tokenizer_folder)
    names = {name: name for name in columns}
    shard = Shard("0", path, names, 0, len(texts))
    return Ads(shard, bundle, texts, tokenizer, tokenizer_folder)


def steps(ads: Ads) -> dict[str, Callable[[], object]]:
    """Return the work of each step on all ads."""
    calls: dict[str, Callable[[], object]] = {}
    for number in NUM_CITIES:
        cleaner = TextCleaner(cities=ads.cities(number))
        calls[f"clean, {number} cities"] = lambda cleaner=cleaner: [
            cleaner.clean(text) for text in ads.texts
        ]
    cleaner = TextCleaner(cities=ads.cities(50))
    texts = [text for text in map(cleaner.clean, ads.texts) if text]
    backend, settings = ads.tokenizer.backend, TextSettings()
    windows = cut(ads.tokenizer, texts, settings)
    limit = settings.max_length
    calls["text keys"] = lambda: [text_key(text) for text in texts]
    calls["tokenizer"] = lambda: plain_ids(backend, texts)
    if _fast_tokenizer(backend) is not None:
        calls["nanotoken"] = lambda: token_ids(backend, texts)
    pretrained = AutoTokenizer.from_pretrained(ads.tokenizer_folder)
    calls["tokenizer of transformers, with overflow"] = lambda: pretrained(
        texts, truncation=True, max_length=limit, return_overflowing_tokens=True
    )
    calls["tokenize and cut windows"] = lambda: cut(ads.tokenizer, texts, settings)
    calls["look for blank texts"] = lambda: is_blank(ads.tokenizer, texts, windows)
    model = ads.model(50)
    encoded = encode_rows(ads.shard.uri, ads.shard, model, carry=pa.schema([]))
    item = ShardItem(ads.shard, rows=encoded.rows, texts=encoded.texts)
    calls["block of Ray and back"] = lambda: Windows.of(from_batch(to_batch(item)).texts)
    for number in NUM_CITIES:
        reader = partial(encode_rows, ads.shard.uri, ads.shard, carry=pa.schema([]))
        calls[f"whole stage, {number} cities"] = partial(reader, ads.model(number))
    return calls


def core_seconds(call: Callable[[], object]) -> float:
    """Return the median processor time of a call, of all its threads: what else runs on the machine
    does not count."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < RATE_S:
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ads", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--input_uri", help="a table with ad_id and description")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    with tempfile.TemporaryDirectory() as temporary:
        ads = read_ads(arguments.input_uri, arguments.ads, Path(temporary))
        calls = steps(ads)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(arguments.rounds):
            for name, call in calls.items():
                times[name].append(core_seconds(call))
        model = ads.model(50)
        encoded = encode_rows(ads.shard.uri, ads.shard, model, carry=pa.schema([]))
        tokens = int(num_tokens(Windows.of(encoded.texts).ids).sum())
    us = {name: 1e6 * median(found) / len(ads.texts) for name, found in times.items()}
    per_ad = tokens / encoded.texts.num_rows
    whole = us["whole stage, 50 cities"]
    report = {
        "machine": machine(),
        "ads": len(ads.texts),
        "texts": encoded.texts.num_rows,
        "tokens_per_text": per_ad,
        "tokenizer": "nanotoken" if "nanotoken" in us else "tokenizers",
        "us_per_ad": us,
        "cores_per_gpu": {
            f"{target:,.0f} tokens/s": target / per_ad * whole / 1e6 for target in TARGETS
        },
    }
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
