"""What the generated ads are made of: the YAML lexicons, compiled into phrases with slots.

Slots of a phrase: `{a|b}` one of the options, `{4-20}` or `{40-60/2}` a number of the range (both
ends included, the step after the slash), `{name}` a shared list of words or a value that the ad has
drawn (item, model, price ...).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random
from typing import Any, NamedTuple

import yaml

SLOT = re.compile(r"\{([^{}]+)\}")
NUMBERS = re.compile(r"(\d+)-(\d+)(?:/(\d+))?")


class Value(NamedTuple):
    """A slot that the ad fills with a value of its own, the same one all through the ad."""

    name: str


Entry = Mapping[str, Any]
"""One entry of a YAML file."""
Part = str | range | tuple[str, ...] | Value


class Phrase:
    """A phrase with its slots compiled, because a million ads render some ten million of them."""

    __slots__ = ("parts",)

    def __init__(self, text: str, words: Mapping[str, Sequence[str]]) -> None:
        self.parts: list[Part] = []
        for number, piece in enumerate(SLOT.split(text)):
            if number % 2:
                self.parts.append(_compile_slot(piece, words))
            elif piece:
                self.parts.append(piece)

    def render(self, rng: Random, values: Mapping[str, str]) -> str:
        """Draw every slot; `values` has those that the ad fills itself."""
        rendered = []
        for part in self.parts:
            if isinstance(part, str):
                rendered.append(part)
            elif isinstance(part, Value):
                rendered.append(values[part.name])
            else:
                rendered.append(str(part[int(rng.random() * len(part))]))
        return "".join(rendered)


def _compile_slot(slot: str, words: Mapping[str, Sequence[str]]) -> Part:
    if "|" in slot:
        return tuple(slot.split("|"))
    if numbers := NUMBERS.fullmatch(slot):
        low, high, step = numbers.groups()
        return range(int(low), int(high) + 1, int(step or 1))
    return tuple(words[slot]) if slot in words else Value(slot)


def compile_phrases(
    texts: Sequence[str], words: Mapping[str, Sequence[str]]
) -> tuple[Phrase, ...]:
    """Compile the phrases of a list."""
    return tuple(Phrase(text, words) for text in texts)


@dataclass(frozen=True)
class Category:
    """A class of the generated ads, and what its ads are made of."""

    name: str
    weight: float
    """Share in the natural mix, relative to the other categories."""
    price_rub: tuple[int, int]
    is_goods: bool
    """Services, jobs, real estate and pets are not: they are neither new nor sent by post."""
    neighbours: tuple[str, ...]
    """Names of the categories that this one is mistaken for."""
    items: tuple[tuple[str, str], ...]
    """Nominative and accusative."""
    models: tuple[str, ...]
    titles: tuple[Phrase, ...]
    properties: tuple[Phrase, ...]
    stories: tuple[Phrase, ...]
    group_phrases: tuple[Phrase, ...]
    """What this category says in the same words as its neighbours."""


@dataclass(frozen=True)
class City:
    """A city, as it stands in an ad."""

    name: str
    prepositional: str
    weight: int


def load_data(file_name: str) -> Any:
    """Parse one YAML file of synthetic/data."""
    text = (
        resources.files("rubert_ood.synthetic")
        .joinpath("data", file_name)
        .read_text(encoding="utf-8")
    )
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def categories_by_name() -> dict[str, Category]:
    """Return the categories, sorted by name."""
    taxonomy, slots = load_data("taxonomy.yaml"), load_data("phrases.yaml")["slots"]
    return {
        name: _category(name, entry, taxonomy["pools"], slots)
        for name, entry in sorted(taxonomy["categories"].items())
    }


def _category(name: str, entry: Entry, pools: Entry, slots: Entry) -> Category:
    items = tuple(
        (item.partition("/")[0], item.rpartition("/")[2]) for item in entry["items"]
    )
    words = {**slots, "other_item": [nominative for nominative, _ in items]}
    low, high = entry["price"]
    return Category(
        name=name,
        weight=entry["weight"],
        price_rub=(low, high),
        is_goods=entry["goods"],
        neighbours=tuple(entry["near"]),
        items=items,
        models=tuple(entry["models"]),
        titles=compile_phrases(entry["titles"], words),
        properties=compile_phrases(entry["props"], words),
        stories=compile_phrases(entry["stories"], words),
        group_phrases=compile_phrases(pools[entry["pool"]], words),
    )


@cache
def shared_phrases() -> dict[str, tuple[Phrase, ...]]:
    """Return the phrases that sellers of anything use: condition, delivery, contact and so on."""
    data = load_data("phrases.yaml")
    return {
        kind: compile_phrases(texts, data["slots"])
        for kind, texts in data.items()
        if kind != "slots"
    }


@cache
def cities() -> tuple[City, ...]:
    """Return the cities of the generated ads."""
    return tuple(
        City(entry["name"], entry["in"], entry["weight"])
        for entry in load_data("cities.yaml")
    )
