"""Texts of none of the 50 categories: news, talk, code, English, gibberish, other goods."""

from random import Random

from rubert_ood.synthetic.lexicon import Entry, compile_phrases, load_data

DRAWS_PER_TEXT = 200
"""Bounds the search for texts that differ: a kind that has too few raises instead of looping."""


def out_of_domain_texts(num_per_kind: int, *, seed: int) -> dict[str, list[str]]:
    """Return `num_per_kind` different texts of each kind; ValueError when a kind has too few."""
    kinds = load_data("out_of_domain.yaml")
    return {
        kind: _distinct_texts(kind, entry, num_per_kind, seed)
        for kind, entry in kinds.items()
    }


def _distinct_texts(kind: str, entry: Entry, num_texts: int, seed: int) -> list[str]:
    rng = Random(f"out of domain {kind} {seed}")
    first = compile_phrases(entry["first"], entry["slots"])
    more = compile_phrases(entry["more"], entry["slots"]) if "more" in entry else first
    texts: dict[str, None] = {}
    for _ in range(num_texts * DRAWS_PER_TEXT):
        if len(texts) == num_texts:
            break
        opening = rng.choice(first)
        others = [phrase for phrase in more if phrase is not opening]
        phrases = [opening, *rng.sample(others, rng.randint(*entry["num_more"]))]
        rendered = [phrase.render(rng, {}) for phrase in phrases]
        texts[_joined(rendered, entry["separator"])] = None
    if len(texts) < num_texts:
        raise ValueError(
            f"out_of_domain.yaml: kind {kind!r} gives only {len(texts)} of"
            f" {num_texts} texts. Add phrases"
        )
    return list(texts)


def _joined(sentences: list[str], separator: str) -> str:
    if separator != ". ":
        return separator.join(sentences).replace("[[", "{").replace("]]", "}")
    return " ".join(
        s[:1].upper() + s[1:] + ("" if s[-1] in ".!?" else ".") for s in sentences
    )
