"""What a bundle keeps of a tokenizer gives the ids that transformers gives, which a network was
fitted to."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from rubert_ood.bundle import tokenizer as bundle_tokenizer
from rubert_ood.bundle.tokenizer import write_tokenizer
from rubert_ood.classifier.tokenizer import SPECIAL_IDS, TextTokenizer, load_tokenizer
from rubert_ood.classifier.tokens import tokenize
from tests.unit.bundle.made_tokenizers import (
    SPECIAL,
    bert_tokenizer,
    learned,
    roberta_tokenizer,
    xlm_roberta_tokenizer,
)
from tests.unit.bundle.signed import edit

NASTY = [
    "",
    " ",
    "\t\r\n \x0b\x0c",
    "\u00a0\u2003\u3000 неразрывные\u00a0пробелы\u202fузкие",
    "Продам ДИВАН, б/у!!! Тел. +7 (900) 123-45-67; цена:15000р.",
    "[CLS] [MASK] [SEP] [PAD][UNK] [mask] до[CLS]после",
    "<s> <mask></s> <pad><unk> слово<mask>слово",
    "ёлка Ёлка е\u0308лка й и\u0306 Йод naïve café cafe\u0301 ﬁ Ⅳ ½ İstanbul ς Σ ß",
    "нуле\u200bвой мяг\u00adкий \ufeffметка \ufffd \x00 \x01 \x7f \u2028 \u202e",
    "汉字 кана カナ 한글 \u1112\u1161\u11ab",
    "👍🏽 👨‍👩‍👧 🇷🇺 ①②③ €№°²",
    "##ка #ка ▁диван Ġдиван _-–—…«»„“",
    "а" * 99 + " " + "а" * 100 + " " + "а" * 101,
    "ж" * 30_000,
    "диван угловой раскладной " * 4_000,
    "a\u0301" * 500 + "\u0301" * 500,
]


def _generic(texts: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of no class of its own, with a normalizer that joins characters."""
    learning = Tokenizer(models.Unigram())
    learning.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase()]
    )
    learning.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    made = learned(learning, trainer, texts)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    made.enable_truncation(16)
    made.enable_padding(pad_id=1, pad_token="<pad>", length=16)
    roles = ("cls_token", "pad_token", "sep_token", "unk_token", "mask_token")
    names = dict(zip(roles, SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def _with_tokens_of_its_own(texts: list[str]) -> PreTrainedTokenizerFast:
    made = bert_tokenizer(texts, do_lower_case=True)
    made.add_tokens(
        [AddedToken("<цена>", lstrip=True), AddedToken("б/у", normalized=True)]
    )
    made.add_special_tokens({"extra_special_tokens": ["[ГОРОД]"]})
    return made


def _that_splits_special_tokens(texts: list[str]) -> PreTrainedTokenizerFast:
    return bert_tokenizer(texts, do_lower_case=False, split_special_tokens=True)


Maker = Callable[[list[str]], PreTrainedTokenizerFast]
KINDS: dict[str, tuple[str, Maker]] = {
    "cased": ("bert", lambda texts: bert_tokenizer(texts, do_lower_case=False)),
    "lower-cased": ("bert", lambda texts: bert_tokenizer(texts, do_lower_case=True)),
    "lower-cased with accents": (
        "bert",
        lambda texts: bert_tokenizer(texts, do_lower_case=True, strip_accents=False),
    ),
    "cased without accents, Chinese in words": (
        "bert",
        lambda texts: bert_tokenizer(
            texts,
            do_lower_case=False,
            strip_accents=True,
            tokenize_chinese_chars=False,
        ),
    ),
    "tokens of its own": ("bert", _with_tokens_of_its_own),
    "splits special tokens": ("bert", _that_splits_special_tokens),
    "bytes": ("roberta", roberta_tokenizer),
    "bytes with a space first": (
        "roberta",
        lambda texts: roberta_tokenizer(texts, add_prefix_space=True),
    ),
    "unigram": ("xlm-roberta", xlm_roberta_tokenizer),
    "of no class": ("xlm-roberta", _generic),
}


@pytest.fixture(scope="module")
def texts(ad_texts) -> list[str]:
    """Ads as they are cleaned, and in letters that no cleaner lets through."""
    learned = ad_texts[:150]
    return [*learned, *(text.title() for text in learned), "Café naïve ёлка Йод <цена> 5"]


def _saved(kind: str, texts: list[str], folder: Path) -> Path:
    model_type, make = KINDS[kind]
    make(texts).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


def _plain_ids(folder: Path, texts: list[str]) -> list[list[int]]:
    """Return the ids by the call of transformers, text by text."""
    plain = AutoTokenizer.from_pretrained(folder)
    return [
        plain(text, truncation=False, padding=False, max_length=None)["input_ids"]
        for text in texts
    ]


def _our_ids(tokenizer: TextTokenizer, texts: list[str]) -> list[list[int]]:
    return tokenize(tokenizer, texts, 10**6).to_pylist()


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizer_of_a_bundle_gives_the_ids_of_transformers(kind, texts, tmp_path):
    folder = _saved(kind, texts, tmp_path)
    all_texts = [*NASTY, *texts[::10]]
    expected = _plain_ids(folder, all_texts)
    of_a_base_model = load_tokenizer(str(folder))
    write_tokenizer(str(folder))
    assert (folder / SPECIAL_IDS).exists()
    of_a_bundle = load_tokenizer(str(folder))
    assert _our_ids(of_a_bundle, all_texts) == expected
    assert _our_ids(of_a_base_model, all_texts) == expected
    assert _plain_ids(folder, all_texts) == expected  # other programs read it as before
    assert len(np.unique(np.concatenate(expected))) > 200


@pytest.mark.parametrize("kind", KINDS)
def test_special_ids_of_a_bundle_are_those_of_transformers(kind, texts, tmp_path):
    folder = _saved(kind, texts, tmp_path)
    write_tokenizer(str(folder))
    ours, plain = load_tokenizer(str(folder)), AutoTokenizer.from_pretrained(folder)
    assert ours.ids.cls == plain.cls_token_id
    assert ours.ids.pad == plain.pad_token_id
    assert ours.ids.unknown == plain.unk_token_id
    assert ours.ids.special == sorted(set(plain.all_special_ids))
    assert [ours.token(number) for number in range(90)] == plain.convert_ids_to_tokens(
        list(range(90))
    )
    framed = plain("диван", truncation=False, padding=False)["input_ids"]
    alone = plain("диван", add_special_tokens=False, padding=False)["input_ids"]
    assert [*ours.before, *alone, *ours.behind] == framed


def test_bundle_keeps_the_tokenizer_as_it_is_where_transformers_does(
    texts, tmp_path, caplog
):
    folder = _saved("lower-cased with accents", texts, tmp_path)
    before = (folder / "tokenizer.json").read_bytes()
    write_tokenizer(str(folder))
    assert (folder / "tokenizer.json").read_bytes() == before
    assert caplog.text == ""


def test_write_tokenizer_reads_tokenizer_json_once(texts, tmp_path, monkeypatch):
    """Beside transformers, which reads it in its own way."""
    folder = _saved("lower-cased with accents", texts, tmp_path)
    calls = []
    real = bundle_tokenizer.read_backend
    counted = lambda folder: calls.append(folder) or real(folder)  # noqa: E731
    monkeypatch.setattr(bundle_tokenizer, "read_backend", counted)
    write_tokenizer(str(folder))
    assert calls == [str(folder)]


def test_bundle_keeps_what_transformers_makes_of_a_tokenizer_that_says_otherwise(
    texts, tmp_path, caplog
):
    """A BertTokenizer goes by `do_lower_case`, not by the normalizer of tokenizer.json."""
    folder = _saved("cased", texts, tmp_path)
    edit(folder, "tokenizer_config.json", do_lower_case=True, strip_accents=False)
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    as_written = [backend.encode(text).ids for text in NASTY]
    expected = _plain_ids(folder, NASTY)
    assert as_written != expected
    write_tokenizer(str(folder))
    assert _our_ids(load_tokenizer(str(folder)), NASTY) == expected
    assert _plain_ids(folder, NASTY) == expected
    assert caplog.messages == [
        "bundle    keeps tokenizer.json as transformers reads it: of the checkpoint's"
        " file it takes no notice of normalizer"
    ]


def test_older_bundle_is_read_by_transformers_whatever_tokenizer_json_says(
    texts, tmp_path
):
    folder = _saved("cased", texts, tmp_path)
    edit(folder, "tokenizer_config.json", do_lower_case=True, strip_accents=False)
    expected = _plain_ids(folder, NASTY)
    assert not (folder / SPECIAL_IDS).exists()
    assert _our_ids(load_tokenizer(str(folder)), NASTY) == expected


def test_bundle_is_left_to_transformers_where_what_it_keeps_gives_other_ids(
    texts, tmp_path, caplog, monkeypatch
):
    folder = _saved("lower-cased", texts, tmp_path)
    read = bundle_tokenizer.read_backend

    def spoilt(folder: str) -> Tokenizer:
        backend = read(folder)
        backend.normalizer = normalizers.BertNormalizer(lowercase=False)
        return backend

    monkeypatch.setattr(bundle_tokenizer, "read_backend", spoilt)
    write_tokenizer(str(folder))
    monkeypatch.undo()
    assert not (folder / SPECIAL_IDS).exists()
    assert "leaves out special_ids.json" in caplog.text
    assert _our_ids(load_tokenizer(str(folder)), NASTY) == _plain_ids(folder, NASTY)


def test_special_ids_of_another_checkpoint_are_not_taken_over(texts, tmp_path):
    folder = _saved("lower-cased", texts, tmp_path)
    (folder / SPECIAL_IDS).write_text('{"cls": 5, "pad": 6, "special": [5, 6]}')
    write_tokenizer(str(folder))
    assert load_tokenizer(str(folder)).ids.special == [0, 1, 2, 3, 4]
