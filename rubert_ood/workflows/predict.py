"""Classify a few texts on this machine, without Ray, and print the whole decision."""

import codecs
import json
import sys
from typing import Any

import pyarrow as pa

from rubert_ood import terminal
from rubert_ood.bundle import Bundle, check_compute
from rubert_ood.errors import InputError
from rubert_ood.plain import count_of, printable
from rubert_ood.pointers.champion import open_bundle
from rubert_ood.predictor import Model
from rubert_ood.progress import StepLog
from rubert_ood.runs.part import STATUS_OK
from rubert_ood.settings import ComputeSettings, PredictSettings
from rubert_ood.storage.retry import explained

log = StepLog("predict")

ANYWHERE = ComputeSettings()
Result = dict[str, Any]
"""A text and what is decided of it, as a JSON line has it."""


def predict(settings: PredictSettings) -> list[Result]:
    """Classify the texts of the settings, or the lines of standard input; print paragraphs or JSON
    lines."""
    given = [text.encode("utf-8", "surrogateescape") for text in settings.texts]
    texts = _decoded(given, "utf-8") if given else _decoded(*_lines_of_input())
    if not texts:
        raise InputError(
            "texts: there are none. Pass them as arguments, or one per line"
            " on standard input"
        )
    bundle = open_bundle(settings.bundle_uri, settings.require_signature)
    for promise in bundle.fitted.promises:
        log.info("the bundle promises: %s", promise.in_words().removesuffix("."))
    results = predict_texts(bundle, texts, settings.compute)
    for number, result in enumerate(results):
        between = "\n" if number else ""
        terminal.show(
            _json_line(result) if settings.json_lines else between + _paragraph(result)
        )
    return results


def _lines_of_input() -> tuple[list[bytes], str]:
    """Read standard input; return its lines, and their encoding (UTF-8 where the terminal knows
    only ASCII)."""
    if sys.stdin is None:  # closed
        return [], "utf-8"
    encoding = codecs.lookup(sys.stdin.encoding).name
    with explained("standard input"):
        lines = [line.strip() for line in sys.stdin.buffer]
    return [line for line in lines if line], "utf-8" if encoding == "ascii" else encoding


def _decoded(lines: list[bytes], encoding: str) -> list[str]:
    """Return lines as text; what is not text there becomes U+FFFD, and is counted."""
    texts, num_damaged = [], 0
    for line in lines:
        texts.append(line.decode(encoding, "replace"))
        num_damaged += line.decode(encoding, "ignore") != texts[-1]
    if num_damaged:
        log.warning(
            "read bytes that are not %s as U+FFFD in %s",
            encoding,
            count_of(num_damaged, "text"),
        )
    return texts


def _json_line(result: Result) -> str:
    """Write a result as JSON that any terminal takes: what acts, or what it lacks, is escaped as
    JSON has it."""
    line = json.dumps(result, ensure_ascii=not terminal.encodes_everything())
    if printable(line) == line:
        return line
    shown = []
    for char in line:
        is_plain = printable(char) == char
        shown.append(char if is_plain else json.dumps(char)[1:-1])
    return "".join(shown)


def predict_texts(
    bundle: Bundle, texts: list[str], compute: ComputeSettings = ANYWHERE
) -> list[Result]:
    """Decide each text as scoring would: one result per text, in order."""
    check_compute(bundle, compute)
    model = Model(bundle, use_gpu=compute.use_gpu, token_budget=compute.token_budget)
    ads = pa.table({"description": pa.array(texts, pa.string())})
    rows = model.predict(ads).to_pylist()
    results = []
    for text, row in zip(texts, rows, strict=True):
        results.append(_result(text, row, bundle))
    return results


def _result(text: str, row: Result, bundle: Bundle) -> Result:
    """Lay a row out; one with nothing to read has neither scores nor lengths."""
    result = {
        "text": text,
        "cleaned": bundle.cleaner.clean(text),
        "label": row["label"],
        "status": row["status"],
    }
    if row["status"] == STATUS_OK:
        result |= {name: value for name, value in row.items() if name != "text_key"}
    return result


def _paragraph(result: Result) -> str:
    """Lay one result out for reading."""
    text = printable(result["text"])
    if result["status"] == "empty":
        reason = (
            "the model knows no character of this text"
            if result["cleaned"]
            else "no text is left after cleaning"
        )
        return f"{text}\n  Other: {reason}"
    pairs = zip(result["topk_labels"], result["topk_scores"], strict=True)
    scored = [f"{score:.3f} {printable(label)}" for label, score in pairs]
    best = "  |  ".join(scored)
    numbers = f"confidence {result['confidence']:.3f}  d2 {result['ood_distance']:,.1f}"
    numbers += f"  z {result['ood_z']:.2f}  p {result['ood_p']:.3f}"
    ood = "OUT OF DOMAIN" if result["is_ood"] else "in domain"
    more = ""
    if result.get("sub_label"):
        more += f"\n  sub-category {printable(result['sub_label'])}  {result['sub_confidence']:.3f}"
    if result["num_chunks"] > 1:
        more += f"\n  {result['num_chunks']} windows"
    if result["is_cut"]:
        more += f"\n  cut: only the first {result['num_tokens']:,} tokens were read"
    label = printable(result["label"])
    return f"{text}\n  {label}  ({numbers}, {ood})\n  {best}{more}"
