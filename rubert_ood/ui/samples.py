"""Texts to begin with: made-up ads, hard cases, texts that are none of the catalogue's."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ValidationError

from rubert_ood.ads.text import ad_text
from rubert_ood.bundle import Bundle
from rubert_ood.bundle.evaluation import EVALUATION
from rubert_ood.synthetic.catalogue import generate_ads, hard_cases
from rubert_ood.synthetic.ood import out_of_domain_texts

SEED = 3
NUM_ADS = 12
NUM_HARD = 20
NUM_OF_A_KIND = 2
LABEL_CHARACTERS = 70


@dataclass(frozen=True)
class Sample:
    """A text to pick."""

    text: str
    note: str = ""
    """What a person expects of it."""

    @property
    def title(self) -> str:
        """Its beginning, as a line of a list."""
        line = " ".join(self.text.split())
        is_long = len(line) > LABEL_CHARACTERS
        return line[:LABEL_CHARACTERS].rstrip() + "…" if is_long else line


class _HardCase(BaseModel):
    text: str
    expected: str


class _Cases(BaseModel):
    hard_cases: list[_HardCase] = []


def samples(bundle: Bundle) -> dict[str, list[Sample]]:
    """Return lists of texts by their heading.

    Hard cases are those that the bundle was evaluated on; without any, those of the demo.
    """
    cases = _measured(bundle)
    heading = "Hard cases of this bundle's evaluation"
    if not cases:
        cases, heading = _made_up_cases(), "Hard cases (made up)"
    return {
        "Ads (made up)": _made_up_ads(),
        heading: cases[:NUM_HARD],
        "Out-of-domain texts (made up)": _out_of_domain(),
    }


def _measured(bundle: Bundle) -> list[Sample]:
    path = Path(bundle.folder, EVALUATION)
    try:
        found = _Cases.model_validate_json(path.read_bytes()).hard_cases
    except (OSError, ValidationError):
        return []
    return [Sample(case.text, f"expected: {case.expected}") for case in found]


@lru_cache(maxsize=1)
def _made_up_cases() -> list[Sample]:
    return [Sample(case.text, f"expected: {case.label}") for case in hard_cases()]


@lru_cache(maxsize=1)
def _made_up_ads() -> list[Sample]:
    found = []
    for batch in generate_ads(NUM_ADS, seed=SEED):
        for row in batch.to_pylist():
            text = ad_text(row["title"], row["description"]).strip()
            found.append(Sample(text, f"expected: {row['category']}"))
    return found


@lru_cache(maxsize=1)
def _out_of_domain() -> list[Sample]:
    found = []
    for kind, texts in out_of_domain_texts(NUM_OF_A_KIND, seed=SEED).items():
        found += [Sample(text, f"expected: Other, {kind}") for text in texts]
    return found
