import json
import re
import time
from hashlib import blake2b
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubert_ood.ads.text import TextCleaner, ad_text, text_key
from rubert_ood.errors import SettingsError

NOISE = ("продам", "куплю", "обмен", "торг", "договор", "в наличии")
CITIES = (
    "Москва",
    "Новгород",
    "Нижний Новгород",
    "Нижний",
    "Нижний Тагил",
    "Орёл",
    "Орск",
    "Ростов",
    "Ростов-на-Дону",
    "Санкт-Петербург",
    "Петербург",
    "Йошкар-Ола",
    "Уфа",
    "Шуя",
    "Ош",
    "Кириши (Лен. обл.)",
)
LETTERS = "абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВЕЁЖМНОРУЯabzABZ0123456789_-+.,!?()\"'/: \n\t\u00a0"


def expected(
    text: str, cities: tuple[str, ...] = CITIES, noise: tuple[str, ...] = NOISE
) -> str:
    """Clean by the rules of docs/explanation/method.md, with one plain alternation sorted by length
    instead of a prefix tree."""
    text = re.sub(r"(\+?\d[\d\-\s]{6,}\d)", " ", text)
    for words in (cities, noise):
        longest_first = sorted(words, key=len, reverse=True)
        text = re.sub(
            rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)",
            " ",
            text,
            flags=re.IGNORECASE,
        )
    return re.sub(r"\s+", " ", text.lower()).strip()


def phone_like() -> st.SearchStrategy[str]:
    return st.from_regex(
        r"\A\+?[78]?[ (-]{0,2}\d{3}[) -]{0,2}\d{2,3}[ -]?\d\d[ -]?\d\d?\Z"
    )


words = st.one_of(
    st.sampled_from(CITIES),
    st.sampled_from(CITIES).map(str.upper),
    st.sampled_from(CITIES).map(str.lower),
    st.sampled_from(NOISE),
    st.sampled_from(NOISE).map(str.capitalize),
    phone_like(),
    st.text(LETTERS, max_size=8),
    st.sampled_from(
        (
            "москвашина",
            "Подмосква",
            "Уфа2",
            "Орск_",
            "торговля",
            "договорная",
            "продамся",
            "рост",
        )
    ),
)
texts = st.lists(
    st.tuples(words, st.sampled_from((" ", " ", "", "-", ", ", "\n", "  "))), max_size=12
).map(lambda pairs: "".join(word + gap for word, gap in pairs))


@given(texts)
def test_cleaning_equals_a_plain_alternation(text: str) -> None:
    assert TextCleaner(cities=CITIES).clean(text) == expected(text)


@given(
    texts,
    st.lists(
        st.text("абв -.+(", min_size=1, max_size=5).filter(str.strip),
        min_size=1,
        max_size=12,
    ),
)
def test_any_set_of_names_gives_what_a_plain_alternation_gives(
    text: str, names: list[str]
) -> None:
    cities = tuple(name.strip() for name in names)
    text = text + " " + " ".join(names) + "".join(names)
    assert TextCleaner(cities=names, noise_words=NOISE).clean(text) == expected(
        text, cities
    )


@given(texts)
def test_cleaned_text_is_lower_case_without_surplus_white_space(text: str) -> None:
    cleaned = TextCleaner(cities=CITIES).clean(text)
    assert cleaned == cleaned.lower()
    assert cleaned == " ".join(cleaned.split())


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Шины в Нижний Новгород", "шины в"),
        ("НИЖНИЙ НОВГОРОД, Новгород; нижний!", ", ; !"),
        ("нижний новгородский рынок", "новгородский рынок"),
        ("Ростов-на-Дону и Ростов-на", "и -на"),
        ("Москва-Петербург-Санкт-Петербург", "- -"),
        ("москвашина Подмосква Уфа2 Орск_", "москвашина подмосква уфа2 орск_"),
        ("(Уфа)", "( )"),
        ("орёл и орел", "и орел"),
        ("Кириши (Лен. обл.), Кириши (Лен. обл.)", ","),
        ("Москве и Уфе", "москве и уфе"),
    ],
)
def test_cleaner_removes_cities(text: str, cleaned: str) -> None:
    assert TextCleaner(cities=CITIES).clean(text) == cleaned


@pytest.mark.parametrize(
    "phone",
    [
        "+79161234567",
        "89161234567",
        "8 916 123 45 67",
        "8-916-123-45-67",
        "+7 916 123-45-67",
        "+7\u00a0916\u00a0123\u00a045\u00a067",
        "8  916\n123 45-67",
        "12345678",
        "495 123-45",
    ],
)
def test_cleaner_removes_phones(phone: str) -> None:
    assert TextCleaner().clean(f"Звоните {phone}, Анна") == "звоните , анна"


@pytest.mark.parametrize(
    "number",
    ["1234567", "12 500", "2026", "195/65 r15", "1.234.567.890", "5 000 р", "1-2-3"],
)
def test_cleaner_keeps_other_numbers(number: str) -> None:
    assert TextCleaner().clean(f"цена {number}") == f"цена {number}"


def test_a_phone_in_brackets_loses_what_the_documented_pattern_covers() -> None:
    assert TextCleaner().clean("8 (916) 123-45-67") == "8 (916)"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("ПРОДАМ диван, Торг!", "диван, !"),
        ("торговля договорная обменник", "торговля договорная обменник"),
        ("в наличии и не в  наличии", "и не в наличии"),
        ("В НАЛИЧИИ", ""),
        ("куплю продам обмен торг договор", ""),
    ],
)
def test_cleaner_removes_noise_words(text: str, cleaned: str) -> None:
    assert TextCleaner().clean(text) == cleaned


def test_cleaner_with_own_pattern_and_words_drops_the_defaults() -> None:
    cleaner = TextCleaner(
        phone_pattern=r"тел\S+",
        noise_words=["Срочно", "  ", ""],
        cities=[" Уфа ", "уфа", ""],
    )
    assert cleaner.clean("Срочно продам 89161234567 тел123 УФА") == "продам 89161234567"
    assert cleaner.noise_words == ["срочно"]
    assert cleaner.cities == ["уфа"]


def test_cleaner_with_nothing_to_remove_leaves_the_text() -> None:
    assert (
        TextCleaner(noise_words=(), cities=()).clean("  Продам\tдиван\r\n Уфа ")
        == "продам диван уфа"
    )
    assert TextCleaner().clean("") == ""


def test_a_broken_phone_pattern_is_a_setting_error() -> None:
    with pytest.raises(
        SettingsError,
        match=(
            r"^cleaner\.phone_pattern: it is not a valid regular expression \(.+\)\."
            " Correct it"
        ),
    ):
        TextCleaner(phone_pattern="(")


@given(texts)
def test_a_cleaner_survives_json(text: str) -> None:
    cleaner = TextCleaner(
        phone_pattern=r"\d{5}", noise_words=["срочно", "торг"], cities=CITIES
    )
    restored = TextCleaner.from_dict(
        json.loads(json.dumps(cleaner.to_dict(), ensure_ascii=False))
    )
    assert restored.to_dict() == cleaner.to_dict()
    assert restored.clean(text) == cleaner.clean(text)


def test_a_city_of_3000_letters_is_removed_too() -> None:
    long_name = "улица героев " * 250
    assert (
        TextCleaner(cities=[long_name, "улица"]).clean(f"дом {long_name} улица") == "дом"
    )


def test_cleaner_time_does_not_grow_with_the_number_of_cities() -> None:
    rng = Random(0)
    letters = "абвгдежзиклмнопрстуфхцчшыэюя"
    names = ["".join(rng.choices(letters, k=rng.randint(4, 10))) for _ in range(5_000)]
    vocabulary = [
        "".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(20_000)
    ] + names[:200]
    ads = [" ".join(rng.choices(vocabulary, k=60)) for _ in range(1_000)]
    few, many = TextCleaner(cities=names[:5]), TextCleaner(cities=names)
    assert many.clean(ads[0]) == expected(ads[0], tuple(names))

    def best_s(cleaner: TextCleaner) -> float:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            for ad in ads:
                cleaner.clean(ad)
            times.append(time.perf_counter() - started)
        return min(times)

    assert best_s(many) < 3 * best_s(few)


@pytest.mark.parametrize(
    ("title", "description", "text"),
    [
        ("Диван", "угловой", "Диван угловой"),
        (None, "угловой", " угловой"),
        ("Диван", None, "Диван "),
        (None, "", " "),
    ],
)
def test_ad_text_joins_what_there_is(
    title: str | None, description: str | None, text: str
) -> None:
    assert ad_text(title, description) == text


def test_text_key_is_the_blake2b_of_the_utf8_text() -> None:
    assert (
        text_key("зимняя резина") == "ba52b78c938fae394779b45f037dedb4"
    )  # printf 'зимняя резина' | b2sum -l 128
    assert text_key("") == "cae66941d9efbd404e4d88758ea67670"


@given(st.text())
def test_text_key_of_any_text(text: str) -> None:
    assert text_key(text) == blake2b(text.encode(), digest_size=16).hexdigest()


def test_text_key_of_a_lone_surrogate() -> None:
    assert len(text_key("\ud83d")) == 32
