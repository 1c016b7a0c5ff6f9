"""Unlabelled ads to token ids, on the cluster: read, cleaned, tokenized, shard by shard.

Shapes: n ads of a shard.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import ray.data

from rubert_ood import storage
from rubert_ood.ads.absent import warn_of_absent
from rubert_ood.ads.labelled_table import LabelledShard, cut, whole_file
from rubert_ood.ads.schema import decoded
from rubert_ood.ads.sources import SNIFF_THREADS, list_tables
from rubert_ood.ads.splits import share_of
from rubert_ood.ads.text import TextCleaner, ad_text
from rubert_ood.classifier.tokenizer import load_tokenizer
from rubert_ood.classifier.tokens import tokenize
from rubert_ood.errors import InputError
from rubert_ood.progress import Progress, StepLog
from rubert_ood.settings import ColumnSettings
from rubert_ood.training.ray_tasks import results, run_tasks

log = StepLog("data")

ROLES = ("title", "description")
TRAIN, HELD_OUT = 0, 1
"""What an ad is for; it stands where a labelled one has its class."""
MOST_HELD_OUT = 20_000
"""Ads that are measured; more would not change the loss."""
SPLIT_SEED = 0


@dataclass(frozen=True)
class Piece:
    """A shard, and the number of its first row in the catalogue."""

    shard: LabelledShard
    first_row: int


@dataclass(frozen=True)
class TokenReader:
    """Makes a block of token ids of a shard; it travels to the workers."""

    cleaner: TextCleaner
    base_model: str
    max_length: int
    held_out_fraction: float

    def __call__(self, piece: Piece) -> tuple[np.ndarray, pa.Table]:
        """Return how many ads are trained on, and held out, and the block: row, label, ids."""
        rows, texts = clean_texts(piece.shard, self.cleaner)
        tokenizer = load_tokenizer(self.base_model)
        ids = tokenize(tokenizer, texts, self.max_length)
        has_words_n = _has_words(ids, tokenizer.ids.special)
        shares = [share_of(text, SPLIT_SEED) for text in texts]
        is_held_out_n = np.array(shares) < self.held_out_fraction
        kinds_n = np.where(is_held_out_n, HELD_OUT, TRAIN)
        numbers_n = np.array(rows, dtype=np.int64) + piece.first_row
        block = pa.table({"row": numbers_n, "label": kinds_n, "ids": ids})
        counts = np.bincount(kinds_n[has_words_n], minlength=2)
        return counts, block.filter(has_words_n)


def clean_texts(
    shard: LabelledShard, cleaner: TextCleaner
) -> tuple[list[int], list[str]]:
    """Return the rows of a shard that have readable text, and the cleaned texts."""
    table = shard.read(ROLES)
    rows, texts = list[int](), list[str]()
    columns = [decoded(table[role]) for role in ROLES]
    for row, (title, description) in enumerate(zip(*columns, strict=True)):
        if isinstance(title, bytes) or isinstance(description, bytes):
            continue
        text = cleaner.clean(ad_text(title, description))
        if text:
            rows.append(row)
            texts.append(text)
    return rows, texts


def _has_words(ids: pa.ListArray, special_ids: Sequence[int]) -> np.ndarray:
    """Say of each text whether there is anything to guess in it: bool (n,)."""
    is_word_T = ~np.isin(np.asarray(ids.values), special_ids)
    sums_T = np.concatenate([[0], np.cumsum(is_word_T)])
    offsets = np.asarray(ids.offsets)
    return sums_T[offsets[1:]] > sums_T[offsets[:-1]]


def look_at_catalogue(uri: str, columns: ColumnSettings) -> list[LabelledShard]:
    """List the files of a catalogue and resolve their columns; raises as `whole_file`.

    Raises InputError when there is no file, or no row in any.
    """
    look = partial(whole_file, columns=columns, roles=ROLES)
    with ThreadPoolExecutor(SNIFF_THREADS) as pool:
        files = list(pool.map(look, list_tables(uri)))
    if not sum(map(len, files)):
        raise InputError(f"{uri}: the table has no rows. Use a table with ads")
    warn_of_absent([file.columns for file in files], columns)
    return files


def digest_of_files(files: Sequence[LabelledShard]) -> str:
    """Return what tells these files, in their versions, from others."""
    names = [[file.uri, file.version] for file in files]
    return hashlib.sha256(storage.to_json(names)).hexdigest()


@dataclass(frozen=True)
class TokenBlocks:
    """The ads of a catalogue as token ids, in the object store of the cluster."""

    dataset: ray.data.Dataset
    """Columns row, label (TRAIN or HELD_OUT) and ids."""
    num_train: int
    num_held_out: int


def read_catalogue(files: Sequence[LabelledShard], reader: TokenReader) -> TokenBlocks:
    """Read all files on the cluster; of the texts nothing comes to the driver."""
    pieces = list(_numbered(cut(files)))
    facts, blocks = run_tasks(reader, pieces, num_returns=2)
    total = sum(map(len, files))
    progress, counts = Progress("data", total, "ads"), np.zeros(2, np.int64)
    for piece, found in zip(pieces, results(facts), strict=True):
        counts += found
        progress.add(len(piece.shard))
    num_train, num_held_out = counts.tolist()
    log.info(
        f"trains on {num_train:,} ads, holds out {num_held_out:,}, leaves"
        f" out {total - num_train - num_held_out:,} without readable text"
    )
    return TokenBlocks(ray.data.from_arrow_refs(blocks), num_train, num_held_out)


def _numbered(shards: Iterator[LabelledShard]) -> Iterator[Piece]:
    first_row = 0
    for shard in shards:
        yield Piece(shard, first_row)
        first_row += len(shard)
