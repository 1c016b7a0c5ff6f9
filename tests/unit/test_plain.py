import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubert_ood.plain import (
    count_of,
    markdown,
    printable,
    printable_lines,
    safe_cell,
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Шины, диски — 1 000 ₽ 👩‍👧 é", "Шины, диски — 1 000 ₽ 👩‍👧 é"),
        ("\x1b[31mкрасный\x1b[0m", r"\x1b[31mкрасный\x1b[0m"),
        ("a\nb\rc\td\0", r"a\nb\rc\td\x00"),
        ("\x9b31m\x7f\x85", r"\x9b31m\x7f\x85"),
        ("a\u202eb\u2066c\u200bd\ufeff\xad", r"a\u202eb\u2066c\u200bd\ufeff\xad"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\udcff.csv", r"\udcff.csv"),
        ("\U000e0041", r"\U000e0041"),
        ("\u00a0\ue000", "\u00a0\ue000"),
        ("", ""),
    ],
)
def test_printable_escapes_what_acts_and_keeps_what_shows(text: str, plain: str) -> None:
    assert printable(text) == plain


@given(st.text(st.characters()))
def test_printable_of_any_text_is_one_line_that_encodes(text: str) -> None:
    plain = printable(text)
    plain.encode()
    assert len(plain.splitlines()) <= 1
    assert printable(plain) == plain


def test_printable_lines_keeps_line_feeds_and_tabs_only() -> None:
    assert printable_lines("a\n\tb\x1b\r\nc") == "a\n\tb\\x1b\\r\nc"


def test_markdown_shows_markup_as_it_is() -> None:
    hostile = "<script>*a*</script> [x](http://e) `b` |c|\n# d"
    assert markdown(hostile) == (
        "\\<script\\>\\*a\\*\\</script\\> \\[x\\](http://e) \\`b\\` \\|c\\|\\\\n\\# d"
    )


def test_markdown_of_a_plain_name_is_the_name() -> None:
    assert markdown("Шины и диски") == "Шины и диски"


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ["file"], "0 files"),
        (1, ["file"], "1 file"),
        (2_000, ["file"], "2,000 files"),
        (1, ["copy", "copies"], "1 copy"),
        (3, ["copy", "copies"], "3 copies"),
    ],
)
def test_count_of_has_the_right_number(number, words, text):
    assert count_of(number, *words) == text


@pytest.mark.parametrize(
    "text", ["=1+1", "=HYPERLINK(1)", "+a", "@x", "-a", "\tx", "\r=1"]
)
def test_safe_cell_puts_an_apostrophe_before_a_formula(text):
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "-5", "+79", "диван", "a=1"])
def test_safe_cell_leaves_numbers_and_words(text):
    assert safe_cell(text) == text
