import pytest

from rubert_ood.ads.traits import ad_traits, city_slices


@pytest.mark.parametrize(
    ("num_words", "length"),
    [
        (0, "up to 5 words"),
        (5, "up to 5 words"),
        (6, "6 to 20 words"),
        (20, "6 to 20 words"),
        (21, "21 to 60 words"),
        (60, "21 to 60 words"),
        (61, "over 60 words"),
    ],
)
def test_ad_traits_length_counts_the_words_of_the_cleaned_text(
    num_words: int, length: str
) -> None:
    written = "слово " * 7
    assert ad_traits(None, written, "слово " * num_words)["length"] == length


@pytest.mark.parametrize("title", [None, "", " \t"])
def test_ad_traits_of_a_blank_title_say_without_a_title(title: str | None) -> None:
    assert ad_traits(title, "Диван", "диван")["title"] == "without a title"
    assert ad_traits(f"{title or ''}Диван", None, "диван")["title"] == "with a title"


@pytest.mark.parametrize(
    ("title", "description", "capitals"),
    [
        ("ДИВАН", "новый", "ordinary letters"),  # 5 of 10 letters
        ("ДИВАНЫ", "новый", "mostly capitals"),  # 6 of 11
        ("ДИВАН", None, "mostly capitals"),
        ("12 345", "!!!", "ordinary letters"),  # no letter at all
    ],
)
def test_ad_traits_capitals_are_more_than_half_of_the_letters(
    title: str, description: str | None, capitals: str
) -> None:
    assert ad_traits(title, description, "")["capitals"] == capitals


def test_city_slices_keep_the_eight_most_frequent_cities_and_join_the_rest() -> None:
    cities = [f"Город {number}" for number in range(10) for _ in range(10 - number)]
    assert city_slices(cities) == [
        city if int(city.split()[1]) < 8 else "other cities" for city in cities
    ]


def test_city_slices_of_ads_without_a_city_are_one_and_take_no_place() -> None:
    cities = [None, "", "  ", *(f"Город {number}" for number in range(8)), " Город 0 "]
    assert city_slices(cities) == [
        *["no city"] * 3,
        *(f"Город {number}" for number in range(8)),
        "Город 0",
    ]
