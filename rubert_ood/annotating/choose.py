"""Which of the candidates are exported: the random control first, then kind by kind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rubert_ood.ads.text import TextCleaner, text_key
from rubert_ood.annotating.diverse import Spread
from rubert_ood.annotating.mix import KINDS, LEAST_SURE, RANDOM, lacking
from rubert_ood.annotating.pools import ID_HASH, Pools
from rubert_ood.annotating.register import Keys, Register
from rubert_ood.annotating.texts import AdText

AMONG = 3
"""Candidates for each ad among which the most different are taken: fewer would be alike, more would
be less unsure."""
ANY_BUNDLE = TextCleaner()
"""Cleans a text in the same way for ever: it knows no city names."""


@dataclass(frozen=True)
class Candidate:
    """A row of the run with its text."""

    keys: Keys
    ad_id: str
    ad: AdText
    plain: str
    row: Mapping[str, object]
    """Columns of the run, by name."""


@dataclass(frozen=True)
class Chosen:
    """An ad that is exported."""

    candidate: Candidate
    kind: str
    copies: int = 1
    """Of the random control: ads that were drawn and have this very text."""
    weight: float = 0.0
    """Of the random control: ads of the run that this task stands for. Ads that were picked by
    their scores stand for no others."""


@dataclass
class Choice:
    """What is exported, and what was passed over."""

    ads: list[Chosen] = field(default_factory=list)
    num_drawn: int = 0
    """Ads of the random control, of which some may share a task."""
    num_similar: int = 0
    """Candidates that are near-duplicates of an exported ad."""
    num_seen: int = 0
    """Candidates that were exported before: by their text, in another bundle's eyes."""

    @property
    def taken(self) -> Counter[str]:
        """Tasks by kind; of the random control the ads that were drawn."""
        taken = Counter(chosen.kind for chosen in self.ads)
        return taken + Counter({RANDOM: self.num_drawn - taken[RANDOM]})


def candidates_of(
    pools: Pools, texts: Mapping[tuple[str, str], AdText]
) -> dict[tuple[str, str], Candidate]:
    """Put rows and texts together, by id and text_key; rows without a text are left out."""
    found = {}
    for row in pools.candidates().to_dict("records"):
        place = row["ad_id"], row["text_key"]
        ad = texts.get(place)
        if ad is None:
            continue
        plain = ANY_BUNDLE.clean(ad.text)
        keys = Keys(
            ad=f"{int(row[ID_HASH]):016x}",
            text=row["text_key"],
            plain=text_key(plain),
        )
        values = {str(name): value for name, value in row.items()}
        found[place] = Candidate(keys, row["ad_id"], ad, plain, values)
    return found


def choose(
    pools: Pools,
    candidates: Mapping[tuple[str, str], Candidate],
    register: Register,
    wanted: Mapping[str, int],
    max_similarity: float,
) -> Choice:
    """Choose so many ads of each kind; where one lacks some, the least sure take their place."""
    fresh = [ad for ad in candidates.values() if not register.has(ad.keys)]
    choice = Choice(num_seen=len(candidates) - len(fresh))
    if not fresh:
        return choice
    places = {(ad.ad_id, ad.keys.text): number for number, ad in enumerate(fresh)}
    spread = Spread([ad.plain for ad in fresh])
    drawn = _rows(pools.pools[RANDOM].rows, places)[: wanted[RANDOM]]
    taken = list[Candidate]()
    for row in _draw(choice, fresh, drawn, pools.num_eligible):
        spread.take(row)
        taken.append(fresh[row])
    similar = set[int]()
    for kind in KINDS[1:]:
        number = wanted[kind]
        if kind == LEAST_SURE:
            number = sum(lacking(wanted, choice.taken).values())
        rows = _of_new_ads(_rows(pools.pools[kind].rows, places), fresh, taken)
        picked, near = _pick(spread, np.array(rows, np.int64), number, max_similarity)
        similar |= near
        for row in picked:
            choice.ads.append(Chosen(fresh[row], kind))
            taken.append(fresh[row])
    choice.num_similar = len(similar)
    return choice


def _pick(
    spread: Spread, rows: NDArray[np.int64], number: int, max_similarity: float
) -> tuple[list[int], set[int]]:
    """Spread over the best candidates; the rest of the pool fills what they lack."""
    best, rest = rows[: AMONG * number], rows[AMONG * number :]
    picked, near = spread.pick(best, number, max_similarity)
    more, also_near = spread.pick(rest, number - len(picked), max_similarity)
    return picked + more, near | also_near if len(picked) < number else near


def _of_new_ads(
    rows: Sequence[int], fresh: Sequence[Candidate], taken: Sequence[Candidate]
) -> list[int]:
    """Return one row for each id and for each text that was not taken yet."""
    texts = {candidate.plain for candidate in taken}
    ids = {candidate.ad_id for candidate in taken}
    first = list[int]()
    for row in rows:
        candidate = fresh[row]
        if candidate.plain in texts or candidate.ad_id in ids:
            continue
        texts.add(candidate.plain)
        ids.add(candidate.ad_id)
        first.append(row)
    return first


def _rows(rows: pd.DataFrame, places: Mapping[tuple[str, str], int]) -> list[int]:
    """Return the numbers of a pool's candidates, the best first."""
    if rows.empty:
        return []
    pairs = zip(rows["ad_id"], rows["text_key"], strict=True)
    return [places[pair] for pair in pairs if pair in places]


def _draw(
    choice: Choice, fresh: Sequence[Candidate], rows: Sequence[int], num_eligible: int
) -> list[int]:
    """Take the random control, and return the rows that are tasks: ads of one text are one task,
    which counts for all of them.

    Drawn without replacement from the eligible ads, each with the same chance: so the share of
    right labels over the drawn ads is unbiased.
    """
    by_text: dict[str, list[int]] = {}
    for row in rows:
        by_text.setdefault(fresh[row].plain, []).append(row)
    choice.num_drawn = len(rows)
    tasks = list[int]()
    for same in by_text.values():
        weight = len(same) * num_eligible / len(rows)
        choice.ads.append(Chosen(fresh[same[0]], RANDOM, len(same), weight))
        tasks.append(same[0])
    return tasks
