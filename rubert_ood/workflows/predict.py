"""Classify a few texts on this machine, without Ray, and print the whole decision."""

import json
import sys
from typing import Any

import numpy as np

from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier import windows
from rubert_ood.classifier.model import Classifier
from rubert_ood.errors import InputError
from rubert_ood.ood.decision import OTHER
from rubert_ood.settings import PredictSettings

TOKEN_BUDGET = 4096


def predict(settings: PredictSettings) -> list[dict[str, Any]]:
    """Classify the texts of the settings, or the lines of standard input; print paragraphs or JSON lines."""
    texts = settings.texts or [line.strip() for line in sys.stdin if line.strip()]
    texts = [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in texts]
    if not texts:
        raise InputError("no text: give texts as arguments, or one a line on standard input")
    results = predict_texts(load_bundle(settings.bundle_uri), texts)
    if settings.json_lines:
        for result in results:
            print(json.dumps(result, ensure_ascii=False))
    else:
        print("\n".join(_paragraph(result) for result in results), end="")
    return results


def predict_texts(bundle: Bundle, texts: list[str]) -> list[dict[str, Any]]:
    """Decide each text as scoring would: one dict per text, in order."""
    classifier = Classifier.load(bundle.folder, precision=bundle.precision)
    cleaned = [bundle.cleaner.clean(text) for text in texts]
    filled = [number for number, text in enumerate(cleaned) if text]
    read = windows.cut(
        classifier.tokenizer,
        [cleaned[number] for number in filled],
        max_length=bundle.max_length,
        long_text=bundle.long_text,
    )
    is_blank_N = windows.is_blank(classifier.tokenizer, [cleaned[number] for number in filled], read)
    read, filled = read.select(~is_blank_N), np.array(filled, np.int64)[~is_blank_N].tolist()
    logits_NC, cls_NH = windows.run(classifier, read, token_budget=TOKEN_BUDGET)
    decisions = bundle.fitted.decide(logits_NC, cls_NH)
    results: list[dict[str, Any]] = [
        {"text": text, "cleaned": clean, "label": OTHER, "status": "empty"}
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
            "num_tokens": int(read.num_tokens_N[row]),
            "num_chunks": int(read.num_chunks_N[row]),
            "is_cut": bool(read.is_cut_N[row]),
        }
    if bundle.subheads:
        sub_labels, sub_confidence_N = bundle.subheads.predict(cls_NH, decisions.label.tolist())
        for row, number in enumerate(filled):
            known = sub_labels[row] is not None
            results[number] |= {
                "sub_label": sub_labels[row],
                "sub_confidence": float(sub_confidence_N[row]) if known else None,
            }
    return results


def _paragraph(result: dict[str, Any]) -> str:
    """Lay one result out for reading."""
    if result["status"] == "empty":
        reason = "the model knows no sign of this text" if result["cleaned"] else "no text is left after cleaning"
        return f"{result['text']}\n  Other: {reason}\n"
    best = "  |  ".join(
        f"{score:.3f} {label}" for label, score in zip(result["topk_labels"], result["topk_scores"], strict=True)
    )
    numbers = f"confidence {result['confidence']:.3f}  d2 {result['ood_distance']:,.1f}  z {result['ood_z']:.2f}"
    ood = "OUT OF DOMAIN" if result["is_ood"] else "in domain"
    length = f"  {result['num_chunks']} windows\n" if result["num_chunks"] > 1 else ""
    length += f"  cut: only the first {result['num_tokens']:,} tokens were read\n" if result["is_cut"] else ""
    if result.get("sub_label"):
        length = f"  sub-category {result['sub_label']}  {result['sub_confidence']:.3f}\n{length}"
    lines = f"{result['label']}  ({numbers}  p {result['ood_p']:.3f}, {ood})\n  {best}\n{length}"
    return f"{result['text']}\n  {lines}"
