"""Writes one ad of a category, with what makes real ads hard to classify.

A draft holds marks instead of the phone number and the city, so that a re-post repeats it with
others.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from rubert_ood.synthetic.lexicon import (
    Category,
    City,
    Phrase,
    categories_by_name,
    shared_phrases,
)
from rubert_ood.synthetic.noise import (
    CITY,
    CITY_IN,
    PHONE,
    Style,
    draw_style,
    phone_number,
    roughen,
)

MEDIAN_WORDS = 20
LOG_SIGMA = 1.08
MAX_WORDS = 900
"""Length is log-normal: half of the ads have 20 words, a tenth 80 and more, some have 500."""

LONG_WORDS = 60
"""From here on an ad grows by price lists, conditions of the shop and search words."""

SILENT_TITLE_WORDS = 12
"""Ads of more words may have a title like "Urgent!": their description tells what they sell."""

EMPTY_SHARE = 0.015
"""Ads that hardly say what they sell."""
VAGUE_SHARE = 0.015
"""Ads with a brand or model alone and the phrases that neighbouring categories share."""
MIXED_SHARE = 0.12
"""Ads that also sell things of a neighbouring category."""
MISFILED_SHARE = 0.015
"""Ads of a neighbouring category, filed under this one by their seller."""

PLAN: tuple[str, ...] = (
    ("properties",) * 17
    + ("stories",) * 8
    + ("group",) * 5
    + ("contact",) * 4
    + ("place", "closing", "greeting")
)
GOODS_PLAN = PLAN + ("condition",) * 4 + ("delivery",) * 3 + ("reason",) * 2
"""Kinds of phrases, as often as descriptions use them."""

VAGUE_PLAN: tuple[str, ...] = ("group",) * 2 + ("contact", "closing", "place")
VAGUE_GOODS_PLAN = ("group",) * 3 + (
    "condition",
    "condition",
    "reason",
    "delivery",
    "contact",
    "closing",
)

T = TypeVar("T")


@dataclass(frozen=True)
class Draft:
    """An ad before its city and its phone number."""

    title: str
    body: str
    price_rub: int | None

    def filled(self, city: City, rng: Random) -> tuple[str, str]:
        """Return title and description for one posting in a city, under a fresh phone number."""
        phone = phone_number(rng)
        title = self.title.replace(CITY_IN, city.prepositional).replace(CITY, city.name)
        body = (
            self.body.replace(PHONE, phone)
            .replace(CITY_IN, city.prepositional)
            .replace(CITY, city.name)
        )
        return title, body


class AdWriter:
    """Writes drafts from one random stream."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.by_name = categories_by_name()
        self.shared = shared_phrases()
        self.emoji = tuple(phrase.render(rng, {}) for phrase in self.shared["emoji"])

    def write(self, category: Category) -> Draft:
        """Write one ad of a category."""
        rng = self.rng
        style = draw_style(rng, self.emoji)
        price_rub = self._price(category)
        chance = rng.random()
        if chance < EMPTY_SHARE:
            title, sentences = self._empty_ad()
        else:
            source = category
            if chance < EMPTY_SHARE + MISFILED_SHARE:
                source = self._neighbour(category)
            values = self._values(source, price_rub)
            if chance < EMPTY_SHARE + MISFILED_SHARE + VAGUE_SHARE:
                plan = VAGUE_GOODS_PLAN if source.is_goods else VAGUE_PLAN
                title = values["model"] if rng.random() < 0.5 else values["brand"]
                sentences = self._sentences(
                    source, None, values, plan, 3 + int(rng.random() * 20)
                )
            else:
                mixed = chance < EMPTY_SHARE + MISFILED_SHARE + VAGUE_SHARE + MIXED_SHARE
                plan = GOODS_PLAN if source.is_goods else PLAN
                second = self._neighbour(source) if mixed else None
                num_words = self._num_words()
                title = self._title(
                    source, second, values, can_be_silent=num_words > SILENT_TITLE_WORDS
                )
                num_words -= len(title.split())
                sentences = self._sentences(source, second, values, plan, num_words)
        return Draft(*self._surface(title, sentences, style), price_rub)

    def _price(self, category: Category) -> int | None:
        if self.rng.random() < 0.05:
            return None
        low, high = category.price_rub
        price = math.exp(self.rng.uniform(math.log(low), math.log(high)))
        step = 10 ** max(1, int(math.log10(price)) - 1)
        return max(step, int(price // step) * step)

    def _num_words(self) -> int:
        return min(
            MAX_WORDS, int(self.rng.lognormvariate(math.log(MEDIAN_WORDS), LOG_SIGMA))
        )

    def _neighbour(self, category: Category) -> Category:
        return self.by_name[self._pick(category.neighbours)]

    def _pick(self, options: tuple[T, ...]) -> T:
        return options[int(self.rng.random() * len(options))]

    def _values(self, category: Category, price_rub: int | None) -> dict[str, str]:
        nominative, accusative = self._pick(category.items)
        model = self._pick(category.models)
        return {
            "item": nominative,
            "acc": accusative,
            "model": model,
            "brand": model.partition(" ")[0],
            "price": str(price_rub or 1000),
            "phone": PHONE,
            "city": CITY,
            "city_in": CITY_IN,
        }

    def _empty_ad(self) -> tuple[str, list[str]]:
        kinds = ("empty_body",) * 4 + ("condition", "contact", "reason")
        sentences = [
            self._shared_phrase(self._pick(kinds), {})
            for _ in range(int(self.rng.random() * 4))
        ]
        return self._shared_phrase("empty_title", {}), sentences

    def _shared_phrase(self, kind: str, values: dict[str, str]) -> str:
        marks = {"phone": PHONE, "city": CITY, "city_in": CITY_IN, "price": "1000"}
        return self._pick(self.shared[kind]).render(self.rng, values or marks)

    def _title(
        self,
        category: Category,
        second: Category | None,
        values: dict[str, str],
        *,
        can_be_silent: bool,
    ) -> str:
        chance = self.rng.random()
        if second is not None and chance < 0.3:
            return f"{values['item']} и {self._pick(second.items)[0]}"
        if chance < 0.1 and can_be_silent:  # a title that does not name the goods
            return self._shared_phrase("empty_title", values)
        if chance < 0.14:
            return self._pick(category.stories).render(self.rng, values)
        title = self._pick(category.titles).render(self.rng, values)
        if chance < 0.2:
            return f"Продам {values['acc']}" if category.is_goods else title
        return f"{title} в {CITY_IN}" if chance < 0.23 else title

    def _sentences(
        self,
        category: Category,
        second: Category | None,
        values: dict[str, str],
        plan: tuple[str, ...],
        num_words: int,
    ) -> list[str]:
        """Draw phrases, none twice, until the description has about `num_words` words."""
        rng = self.rng
        decks: dict[str, list[Phrase]] = {}
        sentences: list[str] = []
        count = 0
        while count < num_words:
            if count > LONG_WORDS and rng.random() < 0.5:
                sentence = self._long_block(category, values)
            else:
                kind = self._pick(plan)
                for name in (kind, "properties", "group"):
                    if name not in decks:
                        decks[name] = self._deck(category, second, name, num_words)
                    if decks[name]:
                        sentence = decks[name].pop().render(rng, values)
                        break
                else:
                    sentence = self._offer(category)
            sentences.append(sentence)
            count += sentence.count(" ") + 1
        return sentences

    def _deck(
        self, category: Category, second: Category | None, kind: str, num_words: int
    ) -> list[Phrase]:
        """Shuffle the phrases of a kind, with few of those that any seller uses."""
        size = 3 + num_words // 8
        if kind == "properties":
            phrases = category.properties + (second.properties if second else ())
        elif kind == "stories":
            phrases = category.stories + (second.stories[::2] if second else ())
        elif kind == "group":
            phrases = category.group_phrases
        else:
            phrases, size = self.shared[kind], 1 + num_words // 25
        return self.rng.sample(phrases, min(len(phrases), size))

    def _offer(self, category: Category) -> str:
        item, model, price_rub = (
            self._pick(category.items)[0],
            self._pick(category.models),
            self._price(category),
        )
        return f"{item} {model} - {price_rub} руб" if price_rub else f"{item} {model}"

    def _long_block(self, category: Category, values: dict[str, str]) -> str:
        chance = self.rng.random()
        if chance < 0.5:
            offers = [
                self._offer(category) for _ in range(2 + int(self.rng.random() * 8))
            ]
            return f"{self._shared_phrase('list_intro', values)}: {', '.join(offers)}"
        if chance < 0.85:
            return self._shared_phrase("boilerplate", values)
        sources = (category, category, self._neighbour(category))
        words = [
            self._pick(self._pick(sources).items)[0]
            for _ in range(4 + int(self.rng.random() * 8))
        ]
        return f"{self._shared_phrase('tags_intro', values)}: {', '.join(words)}"

    def _surface(self, title: str, sentences: list[str], style: Style) -> tuple[str, str]:
        separator = style.separator
        if style.emoji:
            separator = f"{separator}{style.emoji} "
        title = roughen(title, style, self.rng)
        begun = []
        for sentence in sentences:
            begun.append(sentence[:1].upper() + sentence[1:])
        body = separator.join(begun) + style.emoji
        body = roughen(body.replace(".. ", ". "), style, self.rng)
        if not style.lower_case:
            title = title[:1].upper() + title[1:]
        return (
            title.upper() if style.capital_title else title,
            body.upper() if style.capital_body else body,
        )
