import re
from pathlib import Path
from random import Random

import yaml

from rubert_ood.synthetic import lexicon
from rubert_ood.synthetic.lexicon import Phrase

DATA_DIR = Path(lexicon.__file__).parent / "data"


def test_phrase_render_fills_every_kind_of_slot() -> None:
    rng = Random(1)
    phrase = Phrase("{item} {a|b} {2-6/2} {color}!", {"color": ["red", "blue"]})
    rendered = {phrase.render(rng, {"item": "cup"}) for _ in range(500)}
    assert rendered == {
        f"cup {x} {n} {c}!" for x in "ab" for n in (2, 4, 6) for c in ("red", "blue")
    }


def test_every_phrase_of_the_lexicons_renders() -> None:
    """A slot with a misspelt name would fail only when an ad draws its phrase."""
    names = set(
        yaml.safe_load((DATA_DIR / "phrases.yaml").read_text(encoding="utf-8"))["slots"]
    )
    names |= {
        "item",
        "acc",
        "other_item",
        "model",
        "brand",
        "price",
        "phone",
        "city",
        "city_in",
    }
    for file_name in ("taxonomy.yaml", "phrases.yaml"):
        content = "\n".join(
            (DATA_DIR / file_name).read_text(encoding="utf-8").splitlines()[6:]
        )
        for slot in re.findall(r"\{([^{}]*)\}", content):
            assert (
                "|" in slot or re.fullmatch(r"\d+-\d+(/\d+)?", slot) or slot in names
            ), f"{file_name}: {{{slot}}}"
