import re
from random import Random

from rubert_ood.synthetic.noise import Style, misspell, phone_number, roughen

PLAIN = Style(0.0, True, False, False, False, ". ", "", False)


def test_misspell_makes_one_small_error() -> None:
    rng = Random(3)
    for word in ("холодильник", "стиральная"):
        for _ in range(200):
            assert abs(len(misspell(word, rng)) - len(word)) <= 1
    assert {misspell(word, rng) for word in ("дом", "i7-8550", "\x01")} == {
        "дом",
        "i7-8550",
        "\x01",
    }


def test_roughen_leaves_a_careful_seller_alone() -> None:
    assert roughen("Чёрный стол, новый", PLAIN, Random(1)) == "Чёрный стол, новый"


def test_phone_numbers_hold_ten_digits_after_the_prefix() -> None:
    rng = Random(5)
    for _ in range(300):
        digits = re.sub(r"\D", "", phone_number(rng).replace("о", "0"))
        assert re.fullmatch(r"[78]9\d{9}", digits)


def test_roughen_follows_the_habits_of_the_seller() -> None:
    lazy = Style(0.0, False, True, False, False, ". ", "", True)
    assert roughen("Чёрный стол, новый", lazy, Random(1)) == "черный стол,новый"


def test_roughen_makes_as_many_errors_as_the_typo_rate_says() -> None:
    style = Style(0.05, True, False, False, False, ". ", "", False)
    words = ["холодильник"] * 4000
    written = roughen(" ".join(words), style, Random(2)).split(" ")
    # 200 draws of 4,000 places; one in five errors of a letter without a neighbour changes nothing
    assert 120 <= sum(word != "холодильник" for word in written) <= 200
