"""Classify a few texts on this machine, without Ray, and print the whole decision."""

import json
import sys

from rich.console import Console
from rich.table import Table

from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier.model import Classifier
from rubert_ood.classifier.tokens import num_tokens, tokenize
from rubert_ood.errors import InputError
from rubert_ood.settings import PredictSettings

TOKEN_BUDGET = 4096


def predict(settings: PredictSettings) -> list[dict[str, object]]:
    """Classify the texts of the settings, or the lines of standard input; print a table or JSON lines."""
    texts = settings.texts or [line.strip() for line in sys.stdin if line.strip()]
    if not texts:
        raise InputError("no text: give texts as arguments, or one a line on standard input")
    results = predict_texts(load_bundle(settings.bundle_uri), texts)
    if settings.json_lines:
        for result in results:
            print(json.dumps(result, ensure_ascii=False))
    else:
        Console().print(_table(results))
    return results


def predict_texts(bundle: Bundle, texts: list[str]) -> list[dict[str, object]]:
    """Decide each text as scoring would: one dict per text, in order."""
    classifier = Classifier.load(bundle.folder)
    cleaned = [bundle.cleaner.clean(text) for text in texts]
    filled = [number for number, text in enumerate(cleaned) if text]
    ids = tokenize(classifier.tokenizer, [cleaned[number] for number in filled], bundle.max_length)
    decisions = bundle.fitted.decide(*classifier.run(ids, token_budget=TOKEN_BUDGET))
    results: list[dict[str, object]] = [
        {"text": text, "cleaned": clean, "label": "Other", "status": "empty"}
        for text, clean in zip(texts, cleaned, strict=True)
    ]
    for row, number in enumerate(filled):
        results[number] |= {
            "label": str(decisions.label[row]),
            "status": "ok",
            "confidence": float(decisions.confidence_N[row]),
            "is_ood": bool(decisions.is_ood[row]),
            "ood_distance": float(decisions.ood_distance_N[row]),
            "ood_z": float(decisions.ood_z_N[row]),
            "ood_p": float(decisions.ood_p_N[row]),
            "topk_labels": decisions.topk_labels[row].tolist(),
            "topk_scores": decisions.topk_scores[row].tolist(),
            "num_tokens": int(num_tokens(ids)[row]),
        }
    return results


def _table(results: list[dict[str, object]]) -> Table:
    table = Table(show_lines=True)
    for name in ("text", "label", "confidence", "OOD", "d2", "z", "top-k"):
        table.add_column(name, overflow="fold", justify="right" if name in ("confidence", "d2", "z") else "left")
    for result in results:
        if result["status"] == "empty":
            table.add_row(str(result["text"]), "Other", "", "", "", "", "no text after cleaning")
            continue
        best = zip(result["topk_labels"], result["topk_scores"], strict=True)  # type: ignore[call-overload]
        table.add_row(
            str(result["text"]),
            str(result["label"]),
            f"{result['confidence']:.3f}",
            "yes" if result["is_ood"] else "no",
            f"{result['ood_distance']:,.1f}",
            f"{result['ood_z']:.2f}",
            "\n".join(f"{score:.3f} {label}" for label, score in best),
        )
    return table
