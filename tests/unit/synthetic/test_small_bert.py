import hashlib
import os
import subprocess
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rubert_ood.classifier.checkpoint import max_positions
from rubert_ood.synthetic.small_bert import SPECIAL_TOKENS, BertShape, build_small_bert

TEXTS = [
    "продается угловой диван",
    "продается новый диван",
    "сдается квартира с балконом",
    "квартира и диван",
] * 5


def _sha256(folder: str) -> dict[str, str]:
    digests = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            digests[name] = hashlib.sha256(file.read()).hexdigest()
    return digests


def _build(folder, *, seed: int = 42, **options) -> str:
    shape = BertShape(**{"vocab_size": 90, "hidden_size": 16} | options)
    return build_small_bert(TEXTS, str(folder), shape, seed=seed)


def test_small_bert_of_the_same_seed_has_the_same_bytes(tmp_path):
    first, second, other = (
        _sha256(_build(tmp_path / name, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == second
    assert first["model.safetensors"] != other["model.safetensors"]
    assert set(first) == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


ON_TIES = """
import sys

from rubert_ood.synthetic.small_bert import BertShape, build_small_bert

letters = "абвгдежзиклмнопрстуфхцчшщэюя"
words = [a + b + c for a in letters for b in letters for c in letters[::5]]
texts = [" ".join(words[n::50]) for n in range(50)] * 2
build_small_bert(texts, sys.argv[1], BertShape(400, hidden_size=16))
"""
"""Words with equal counts everywhere, so that ties decide which pieces there are."""


def test_small_bert_has_the_same_bytes_in_every_process(tmp_path, monkeypatch):
    """In this one too, which has a hash seed of its own."""
    folder = str(tmp_path / "here")
    monkeypatch.setattr(sys, "argv", ["", folder])
    exec(ON_TIES, {})
    digests = [_sha256(folder)]
    for seed, parallel in (("1", "true"), ("2", "false")):
        folder = str(tmp_path / seed)
        subprocess.run(
            [sys.executable, "-c", ON_TIES, folder],
            env=os.environ | {"PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": parallel},
            check=True,
            capture_output=True,
        )
        digests.append(_sha256(folder))
    assert digests[0] == digests[1] == digests[2]
    assert len(AutoTokenizer.from_pretrained(folder)) == 400


def test_small_bert_names_no_letter_as_a_special_token(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(_build(tmp_path))
    assert sorted(tokenizer.all_special_tokens) == sorted(SPECIAL_TOKENS)
    assert list(tokenizer.added_tokens_decoder) == [0, 1, 2, 3, 4]


def test_small_bert_has_the_sizes_asked_for(tmp_path):
    folder = _build(tmp_path, hidden_size=24, num_layers=3, num_heads=4, dropout=0.2)
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert network.bert.embeddings.word_embeddings.weight.shape == (len(tokenizer), 24)
    assert len(network.bert.encoder.layer) == 3
    assert network.bert.encoder.layer[0].intermediate.dense.weight.shape == (96, 24)
    assert (network.config.num_attention_heads, network.config.hidden_dropout_prob) == (
        4,
        0.2,
    )
    assert network.config.pad_token_id == tokenizer.pad_token_id
    assert len(tokenizer) <= 90
    assert max_positions(folder) == 512


def test_small_bert_vocabulary_is_that_of_the_texts(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(_build(tmp_path, vocab_size=200))
    assert tokenizer.tokenize("Квартира И ДИВАН") == ["квартира", "и", "диван"]
    assert tokenizer.unk_token not in tokenizer.tokenize(" ".join(TEXTS))
    ids = tokenizer("диван")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "диван", "[SEP]"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "диван"


def test_small_bert_tokenizer_keeps_letters_with_marks(tmp_path):
    texts = ["ёлка и йод", "чёрный чай", "ёлка", "йод"] * 5
    tokenizer = AutoTokenizer.from_pretrained(
        build_small_bert(texts, str(tmp_path), BertShape(vocab_size=200, hidden_size=16))
    )
    assert tokenizer.tokenize("Ёлка Йод") == ["ёлка", "йод"]


def test_small_bert_answers_the_same_with_padding(tmp_path):
    folder = _build(tmp_path)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        alone = network(**tokenizer("диван", return_tensors="pt")).logits[0]
        padded = network(
            **tokenizer(["диван", TEXTS[0]], padding=True, return_tensors="pt")
        ).logits[0]
    torch.testing.assert_close(alone, padded, atol=1e-6, rtol=1e-5)
