"""Hard cases and out-of-domain texts: what an evaluation measures beside ads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rubert_ood.ads.dataset import LabelledAds
from rubert_ood.ads.labels import (
    RESERVED_LABEL,
    hint,
    is_missing,
    label_index,
    normal_label,
    shown,
)
from rubert_ood.ads.schema import as_text, check_type, decoded, has
from rubert_ood.ads.sources import list_tables
from rubert_ood.ads.tables import inspect, read_rows
from rubert_ood.ads.text import TextCleaner
from rubert_ood.errors import InputError, SchemaError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.settings import EvaluationSettings

log = StepLog("data")


@dataclass(frozen=True)
class ExtraTexts:
    """Hard cases and out-of-domain texts, cleaned as ads are."""

    hard_cases: list[tuple[str, str]]
    """(text as written, expected label)."""
    splits: dict[str, LabelledAds]
    """`hard_cases`, and `ood/KIND` for each kind; their classes are unknown (-1)."""


def load_extra_texts(
    settings: EvaluationSettings, cleaner: TextCleaner, labels: Sequence[str]
) -> ExtraTexts:
    """Read what the settings name; a hard case may expect one of the labels, or Other."""
    splits, hard_cases = {}, []
    if settings.hard_cases_uri:
        rows = read_texts(settings.hard_cases_uri, "label", cleaner)
        expected = _expected([label for _, _, label in rows], labels)
        hard_cases = [(row[0], label) for row, label in zip(rows, expected, strict=True)]
        splits["hard_cases"] = _unlabelled([cleaned for _, cleaned, _ in rows])
    if settings.ood_uri:
        kinds: dict[str, list[str]] = {}
        for _, cleaned, kind in read_texts(settings.ood_uri, "kind", cleaner):
            kinds.setdefault(kind, []).append(cleaned)
        splits |= {f"ood/{kind}": _unlabelled(texts) for kind, texts in kinds.items()}
    return ExtraTexts(hard_cases, splits)


def _expected(names: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return the labels that hard cases expect, as the model calls them; warn of what it lacks."""
    index = label_index(labels)
    expected = [labels[index[name]] if name in index else name for name in names]
    unknown = [name for name in expected if name not in (*labels, RESERVED_LABEL)]
    if unknown:
        log.warning(
            "%s can never be right: no class is called %s%s",
            count_of(len(unknown), "hard case"),
            shown(unknown[0]),
            hint(unknown[0], labels) or ". Correct the label",
        )
    return expected


def read_texts(
    uri: str,
    group: str,
    cleaner: TextCleaner,
) -> list[tuple[str, str, str]]:
    """Read a table of text and `group`: (text, cleaned text, group) for each row with both.

    Rows that lack one of them are counted in the log.
    """
    rows, num_left_out = [], 0
    for file in list_tables(uri):
        schema = inspect(file.uri, version=file.version).schema
        for name in ("text", group):
            if name not in schema.names:
                raise SchemaError(
                    f"{file.uri}: the table has no column {name!r}."
                    f" {has(file.uri, schema, ('text', group))}"
                )
            check_type(file.uri, schema, name, allow_integer=name == group)
        table = read_rows(file.uri, ["text", group], version=file.version)
        texts, values = decoded(as_text(table["text"])), decoded(as_text(table[group]))
        for text, value in zip(texts, values, strict=True):
            written = text if isinstance(text, str) else ""
            cleaned = cleaner.clean(written)
            name = normal_label(value) if isinstance(value, str) else ""
            if cleaned and not is_missing(name):
                rows.append((written, cleaned, name))
            else:
                num_left_out += 1
    if not rows:
        raise InputError(f"{uri}: no row has both text and {group}. Fill in both columns")
    if num_left_out:
        log.warning(
            "%s: leaves out %s without readable text or %s",
            uri,
            count_of(num_left_out, "row"),
            group,
        )
    return rows


def _unlabelled(texts: list[str]) -> LabelledAds:
    return LabelledAds(texts, np.full(len(texts), -1))
