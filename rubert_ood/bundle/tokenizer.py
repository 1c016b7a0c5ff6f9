"""The tokenizer of a new bundle: kept as transformers makes it, so that none is needed to read.

transformers makes a tokenizer of tokenizer.json, tokenizer_config.json and the class that this one
names, in its own way in each version: a BertTokenizer, for one, takes the normalizer from
`do_lower_case` and `strip_accents`, whatever tokenizer.json says. What the network was fitted with
is what came out of that, so a bundle keeps that.
"""

import json
import os
from pathlib import Path

from tokenizers import Tokenizer

from rubert_ood.bundle.files import write_json
from rubert_ood.classifier.fast_tokens import plain_ids, sample_texts
from rubert_ood.classifier.tokenizer import (
    SPECIAL_IDS,
    TOKENIZER,
    SpecialIds,
    TextTokenizer,
    read_backend,
)
from rubert_ood.progress import StepLog

log = StepLog("bundle")

PARTS = ("normalizer", "pre_tokenizer", "model", "post_processor", "added_tokens")


def write_tokenizer(folder: str) -> None:
    """Write special_ids.json, and tokenizer.json where transformers makes another one of it.

    Raises BundleError as `load_tokenizer`. Where reading the two gives other ids than transformers
    all the same, a line says so, and special_ids.json is left out: transformers then goes on to
    read such a bundle.
    """
    Path(folder, SPECIAL_IDS).unlink(missing_ok=True)  # of what the checkpoint comes from
    # a process that only reads bundles needs neither torch nor transformers
    from rubert_ood.classifier.checkpoint import load_pretrained_tokenizer

    pretrained = load_pretrained_tokenizer(folder)
    made = TextTokenizer(pretrained.backend_tokenizer, SpecialIds.of(pretrained))
    written = read_backend(folder)
    changed = _changed_parts(written, made.backend)
    if changed:
        log.warning(
            f"keeps {TOKENIZER} as transformers reads it: of the checkpoint's file"
            f" it takes no notice of {', '.join(changed)}"
        )
        made.backend.save(os.path.join(folder, TOKENIZER))
        written = read_backend(folder)
    if _is_equal(TextTokenizer(written, made.ids), made):
        write_json(folder, SPECIAL_IDS, made.ids.model_dump())
        return
    log.warning(
        f"leaves out {SPECIAL_IDS}: {TOKENIZER} alone gives other token ids than"
        " transformers, which stays needed to read with this bundle"
    )


def _changed_parts(written: Tokenizer, made: Tokenizer) -> list[str]:
    """Name the parts in which two tokenizers differ, cutting and filling up apart."""
    before, after = json.loads(written.to_str()), json.loads(made.to_str())
    return [part for part in PARTS if before.get(part) != after.get(part)]


def _is_equal(read: TextTokenizer, made: TextTokenizer) -> bool:
    """Compare token ids, on texts that tokenizers have been at odds about."""
    texts = sample_texts(made.backend)
    return plain_ids(read.backend, texts) == plain_ids(made.backend, texts)
