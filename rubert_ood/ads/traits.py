"""What an ad looks like before it is cleaned: by these traits the evaluation is cut into slices."""

from collections import Counter
from collections.abc import Iterable

from rubert_ood.ads.text import ad_text

MANY_CAPITALS = 0.5
LENGTHS = ((5, "up to 5 words"), (20, "6 to 20 words"), (60, "21 to 60 words"))
LONG = "over 60 words"
MAX_CITIES = 8
OTHER_CITIES = "other cities"
NO_CITY = "no city"


def ad_traits(
    title: str | None,
    description: str | None,
    cleaned: str,
) -> dict[str, str]:
    """Name the slices that an ad lies in: length (of the cleaned text), title, capitals."""
    written = ad_text(title, description)
    letters = [letter for letter in written if letter.isalpha()]
    shouts = sum(letter.isupper() for letter in letters) > MANY_CAPITALS * len(letters)
    num_words = len(cleaned.split())
    return {
        "length": next((name for limit, name in LENGTHS if num_words <= limit), LONG),
        "title": "with a title" if title and title.strip() else "without a title",
        "capitals": "mostly capitals" if shouts else "ordinary letters",
    }


def city_slices(cities: Iterable[str | None]) -> list[str]:
    """Name the city of each ad; all but the most frequent ones are one slice."""
    names = [city.strip() if city and city.strip() else NO_CITY for city in cities]
    frequent = {
        name
        for name, _ in Counter(name for name in names if name != NO_CITY).most_common(
            MAX_CITIES
        )
    }
    return [
        name if name in frequent or name == NO_CITY else OTHER_CITIES for name in names
    ]
