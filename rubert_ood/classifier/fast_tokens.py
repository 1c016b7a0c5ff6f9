"""Token ids by `nanotoken` (extra `fast-tokenizer`) where it agrees with the real tokenizer.

It makes WordPiece ids in a tenth of the time or less (docs/performance.md). Once in each process
both encode the same bounded sample: texts that tokenizers have been at odds about, and word pieces
of the vocabulary itself. Where one id differs the real tokenizer does all the work, as it does
without the extra.
"""

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from rubert_ood.progress import StepLog

log = StepLog("tokens")

CACHE_ENTRIES = 2**17
"""Words that it remembers, some 20 MB in a process."""
SAMPLE_PIECES, PIECES_PER_TEXT = 4_000, 8
HARD_TEXTS = (
    "",
    " \t\r\n ",
    "Продам ДИВАН, б/у!!! Тел. +7 (900) 123-45-67; цена:15000р.",
    "ёлка Ёлка е\u0308лка й и\u0306 naïve ﬁ Ⅳ ½ İstanbul ς Σ ß",
    "нуле\u200bвой мяг\xadкий \ufeffметка \ufffd \x00 \x0b \x0c \x7f \u2028",
    "не\u00a0разрывный\u2003широкий\u3000пробел",
    "汉字 кана カナ 한글 👍🏽 👨‍👩‍👧 ①②③ €№°²",
    "[CLS] [SEP] [PAD] [UNK] [MASK] [mask] ##ка #ка",
    "a" * 99 + " " + "a" * 100 + " " + "a" * 101,
    "ж" * 5_000,
    "12-" * 300,
)


def token_ids(backend: Any, texts: list[str]) -> list[list[int]]:
    """Return the ids of texts without special tokens, by whichever tokenizer is the faster one."""
    fast = _fast_tokenizer(backend)
    if fast is None:
        return plain_ids(backend, texts)
    try:
        return _fast_ids(fast, texts)
    except (
        ValueError
    ):  # a text that is not Unicode: the real one says so in its own words
        return plain_ids(backend, texts)


def plain_ids(backend: Any, texts: list[str]) -> list[list[int]]:
    """Return the ids of the real tokenizer, of `tokenizers`."""
    encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


@lru_cache(maxsize=4)
def _fast_tokenizer(backend: Any) -> Any:
    """Return what stands in for the backend in this process; None if nothing does."""
    if find_spec("nanotoken") is None:
        return None
    import nanotoken

    try:
        nanotoken.set_cache_entries(CACHE_ENTRIES)
        fast = nanotoken.Tokenizer.from_json(backend.to_str())
        sample = sample_texts(backend)
        is_equal = _fast_ids(fast, sample) == plain_ids(backend, sample)
    except Exception as error:  # the real tokenizer needs none of it
        log.warning(
            "does not use nanotoken, tokenizing will be slower: %s",
            " ".join(str(error).split())[:300],
        )
        return None
    if not is_equal:
        log.warning(
            "does not use nanotoken, tokenizing will be slower: its token ids differ"
        )
        return None
    return fast


def _fast_ids(fast: Any, texts: list[str]) -> list[list[int]]:
    # its own threads would stand beside those of the other tasks of the node
    return fast.encode_batch_list(texts, add_special_tokens=False, parallel=False)


def sample_texts(backend: Any) -> list[str]:
    """Return the texts that both must agree on."""
    pieces = sorted(backend.get_vocab(with_added_tokens=True))
    pieces = pieces[:: max(1, len(pieces) // SAMPLE_PIECES)]
    texts = list(HARD_TEXTS)
    for start in range(0, len(pieces), PIECES_PER_TEXT):
        words = pieces[start : start + PIECES_PER_TEXT]
        joined = "".join(word.removeprefix("##") for word in words)
        texts += [" ".join(words), joined, joined.upper()]
    return texts
