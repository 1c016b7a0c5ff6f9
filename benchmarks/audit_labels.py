"""How many planted wrong labels an audit finds, and how many of its suspects are planted: python -m
benchmarks.audit_labels

Prints JSON.
"""

import argparse
import json
import time

import numpy as np
import pyarrow as pa

from rubert_ood.ads.dataset import build_cleaner
from rubert_ood.auditing.audit import audit
from rubert_ood.auditing.folds import cut_folds, out_of_fold, word_judge
from rubert_ood.auditing.material import cleaned_ads
from rubert_ood.settings import CleanerSettings
from rubert_ood.synthetic.catalogue import generate_ads

PLANTED = 0.03
FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ads", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    num_ads, seed = given.ads, given.seed
    table = pa.Table.from_batches(list(generate_ads(num_ads, seed=seed, balanced=True)))
    rng = np.random.default_rng(seed)
    labels = np.array(table["category"].to_pylist(), object)
    classes = np.unique(labels)
    planted = rng.choice(num_ads, round(PLANTED * num_ads), replace=False)
    numbers = np.searchsorted(classes, labels[planted])
    moved = numbers + rng.integers(1, len(classes), len(planted))
    labels[planted] = classes[moved % len(classes)]
    place = table.schema.names.index("category")
    table = table.set_column(place, "category", pa.array(labels.tolist()))
    table = table.append_column("row", pa.array(range(1, num_ads + 1)))
    table = table.append_column("file", pa.array(["synthetic"] * num_ads))
    cleaner = build_cleaner(table, CleanerSettings())
    ads = cleaned_ads(table, cleaner.clean)
    started = time.perf_counter()
    judge = word_judge(ads.texts, ads.labels_N, len(ads.labels))
    folds = cut_folds(ads.keys_N, ads.labels_N, FOLDS, 42)
    found = audit(ads, out_of_fold(folds, judge, ads.labels_N, len(ads.labels)), FOLDS)
    rows = {row - 1 for row in found.suspects["row"].to_pylist()}
    hits = len(rows.intersection(planted.tolist()))
    result = {
        "num_ads": num_ads,
        "seed": seed,
        "num_planted": len(planted),
        "num_suspects": len(rows),
        "found": round(hits / len(planted), 4),
        "precision": round(hits / max(len(rows), 1), 4),
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
