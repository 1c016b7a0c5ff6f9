"""Encoders other than BERT, from a checkpoint of transformers to the rows of `predict`: those of
plain transformers, one text at a time, and the rule written out."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

import rubert_ood
from rubert_ood.ads.text import TextCleaner
from rubert_ood.bundle import Bundle, BundleContent, write_bundle
from rubert_ood.ood.fit import fit
from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import DecisionSettings, FitSettings, TextSettings
from tests.unit.bundle.made_tokenizers import (
    bert_tokenizer,
    roberta_tokenizer,
    xlm_roberta_tokenizer,
)
from tests.unit.bundle.signed import sign
from tests.unit.messy_runs import decide_by_the_rule

LABELS = ["Животные", "Мебель", "Одежда"]
MAX_LENGTH, NUM_FITTED = 48, 120
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.3,
}
DISTILBERT_SIZES = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 48,
    "initializer_range": 0.3,
}
BUCKETS = {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["c2p"]}


def _without_types(texts: list[str]) -> PreTrainedTokenizerFast:
    made = bert_tokenizer(texts)
    made.model_input_names = ["input_ids", "attention_mask"]
    return made


Maker = Callable[[list[str]], PreTrainedTokenizerFast]
ENCODERS: dict[str, tuple[Maker, type[PreTrainedConfig], dict[str, Any], int]] = {
    "roberta": (roberta_tokenizer, RobertaConfig, SIZES, MAX_LENGTH + 2),
    "distilbert": (_without_types, DistilBertConfig, DISTILBERT_SIZES, MAX_LENGTH),
    "electra": (
        bert_tokenizer,
        ElectraConfig,
        SIZES | {"embedding_size": 16},
        MAX_LENGTH,
    ),
    "deberta": (xlm_roberta_tokenizer, DebertaV2Config, SIZES | BUCKETS, MAX_LENGTH),
}
"""Tokenizer, config, sizes, and places, of which these want as many as MAX_LENGTH needs."""


def _checkpoint(kind: str, texts: list[str], folder: Path) -> str:
    """Write a random encoder, with a head that is centred so that its answers differ by text."""
    make, config_type, sizes, places = ENCODERS[kind]
    tokenizer = make(texts)
    config = config_type(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=places,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
        **sizes,
    )
    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_config(config).eval()
    inputs = tokenizer(
        texts, truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt"
    )
    *_, head = [part for part in network.modules() if isinstance(part, torch.nn.Linear)]
    with torch.no_grad():
        logits_NC = network(**inputs).logits
        head.weight.div_(logits_NC.std(0)[:, None])
        head.bias.copy_(-logits_NC.mean(0) / logits_NC.std(0))
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _bundle(checkpoint: str, texts: list[str], one_by_one: Any, uri: Path) -> Bundle:
    logits_NC, cls_NH, tokens_NH = one_by_one(checkpoint, texts, MAX_LENGTH)
    labels_N = np.arange(len(texts)) % len(LABELS)
    statistics = fit_mahalanobis(cls_NH[:80], labels_N[:80], len(LABELS))
    fitted = fit(
        statistics,
        Outputs(logits_NC[80:], cls_NH[80:], labels_N[80:], tokens_NH[80:]),
        labels=LABELS,
        settings=FitSettings(threshold_quantile=0.8),
        decision=DecisionSettings(
            alpha=1.0, z_thr=0.5, ood_conf_gate=0.9, tau_other=0.35
        ),
    )
    content = BundleContent(
        checkpoint_dir=checkpoint,
        fitted=fitted,
        cleaner=TextCleaner(),
        text=TextSettings(max_length=MAX_LENGTH),
        documents={"README.md": "Карточка\n", "evaluation.json": "{}"},
    )
    return write_bundle(str(uri), content)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Two would wait for each other beside another process of tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("kind", ENCODERS)
def test_bundle_of_another_encoder_gives_the_rows_of_transformers_and_so_an_older_one(
    kind, ad_texts, one_by_one, tmp_path
):
    cleaned = [TextCleaner().clean(text) for text in ad_texts[: NUM_FITTED + 60]]
    seen, texts = cleaned[:NUM_FITTED], cleaned[NUM_FITTED:]
    checkpoint = _checkpoint(kind, cleaned, tmp_path / "checkpoint")
    bundle = _bundle(checkpoint, seen, one_by_one, tmp_path / "v1")
    expected = decide_by_the_rule(bundle, one_by_one, texts)
    rows = rubert_ood.load(bundle.uri).predict(texts, embedding=True)
    _check(rows.to_dict("records"), expected)
    assert len(set(rows["label"])) >= 3
    assert rows["num_tokens"].max() == MAX_LENGTH

    older = Path(shutil.copytree(bundle.folder, tmp_path / "older"))
    (older / "special_ids.json").unlink()
    (older / "tokenizer.json").unlink()
    shutil.copy(Path(checkpoint, "tokenizer.json"), older)
    sign(older)
    of_older = rubert_ood.load(older).predict(texts, embedding=True)
    assert of_older.map(repr).equals(rows.map(repr))


def _check(rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    clear = 0
    for got, want in zip(rows, expected, strict=True):
        assert got["confidence"] == pytest.approx(want["confidence"], abs=1e-4)
        assert got["ood_distance"] == pytest.approx(want["ood_distance"], rel=1e-3)
        np.testing.assert_allclose(got["topk_scores"], want["topk_scores"], atol=1e-4)
        np.testing.assert_allclose(got["embedding"], want["embedding"], atol=5e-3)
        if not want["close_call"]:
            clear += 1
            for name in ("label", "is_ood", "ood_p"):
                assert got[name] == want[name]
            assert list(got["topk_labels"]) == want["topk_labels"]
    assert clear > 0.9 * len(rows)
