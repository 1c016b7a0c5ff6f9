"""The checkpoint that a pretraining leaves: OUTPUT/pretrained/VERSION, written once.

config.json, model.safetensors, tokenizer*   HF layout, as `train --base_model` takes it
README.md                                    how it was made, and how well it guesses
pretraining.json                             the same for programs; last
"""

import os
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import TypeAdapter

from rubert_ood import storage
from rubert_ood.errors import SettingsError
from rubert_ood.plain import markdown, printable
from rubert_ood.runs.record import Count, Record, parse
from rubert_ood.storage import folders

PRETRAINED = "pretrained"
RECORD, CARD = "pretraining.json", "README.md"


class Pretraining(Record):
    """pretraining.json."""

    format: int = 1
    version: str
    base_model: str
    created_at: str
    code_version: str
    identity: dict[str, str]
    """Digests of what it depends on, by what a user would call them."""
    num_train: Count
    num_held_out: Count
    epoch: Count
    """The one that was kept."""
    history: list[dict[str, float]]
    settings: dict[str, Any]

    @property
    def kept(self) -> dict[str, float]:
        """Metrics of the epoch that was kept."""
        return self.history[self.epoch - 1]


def pretrained_uri(output_uri: str, version: str) -> str:
    """Return where a checkpoint goes."""
    return storage.join(storage.absolute(output_uri), PRETRAINED, version)


def read_finished(uri: str, identity: Mapping[str, str]) -> Pretraining | None:
    """Read the record of a checkpoint that is there already; None when there is none.

    Raises SettingsError when it was made of other data or by other settings.
    """
    place = storage.join(uri, RECORD)
    data = storage.read_optional(place)
    if data is None:
        return None
    found = parse(place, data, TypeAdapter(Pretraining))
    changed = [key for key, value in identity.items() if found.identity.get(key) != value]
    if changed:
        raise SettingsError(
            f"{uri}: this checkpoint was made with another value of"
            f" {', '.join(changed)}. Choose another version"
        )
    return found


def check_free(uri: str, base_model: str) -> None:
    """Raise SettingsError when the checkpoint would come to lie on another folder.

    On S3 the start before may have left a part of it, so there only the base model is told.
    """
    is_taken = not storage.is_s3(uri) and storage.exists(uri)
    if is_taken or base_model.rstrip("/") == uri:
        raise SettingsError(
            f"{uri}: it holds something else than this pretraining. Choose another version"
        )


def write_pretrained(uri: str, checkpoint_dir: str, record: Pretraining) -> None:
    """Put a checkpoint with its record and card."""
    with open(os.path.join(checkpoint_dir, RECORD), "wb") as file:
        file.write(storage.to_json(record))
    with open(os.path.join(checkpoint_dir, CARD), "w", encoding="utf-8") as file:
        file.write(card(record))
    folders.put_folder(checkpoint_dir, uri, last=RECORD)


def card(record: Pretraining) -> str:
    """Write the model card; names in it are shown as they are, never as markup."""
    head = {
        "language": "ru",
        "library_name": "transformers",
        "pipeline_tag": "fill-mask",
        "base_model": printable(record.base_model),
        "metrics": ["perplexity"],
        "tags": ["classified-ads", "masked-language-modelling"],
    }
    rows = "\n".join(map(_row, record.history))
    base_model = markdown(record.base_model)
    settings = yaml.safe_dump(record.settings, allow_unicode=True, sort_keys=False)
    return f"""---
{yaml.safe_dump(head, allow_unicode=True, sort_keys=False)}---

# Encoder of Russian private ads, version {markdown(record.version)}

Pretrained from {base_model} on {record.num_train:,} unlabelled ads, with whole words masked.
The held-out loss is that of {record.num_held_out:,} other ads. Epoch {record.epoch} was kept.
Fine-tune it with `rubert-ood train --base_model`. `AutoModelForMaskedLM` loads it too.

| epoch | loss | held-out loss | perplexity | accuracy | tokens |
|---|---|---|---|---|---|
{rows}

Losses are in nats per masked token. Made by rubert_ood {record.code_version}.

```yaml
{settings}```
"""


def _row(metrics: dict[str, float]) -> str:
    return (
        f"| {metrics['epoch']:.0f} | {metrics['train_loss']:.4f}"
        f" | {metrics['held_out_loss']:.4f} | {metrics['held_out_perplexity']:,.2f}"
        f" | {metrics['held_out_accuracy']:.2%} | {metrics['train_tokens']:,.0f} |"
    )
