import pytest

from rubert_ood.plain import markdown, printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Мебель, б/у", "Мебель, б/у"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\0", "a\\nb\\tc\\x00"),
        ("\u200b\u202e\ufeff", "\\u200b\\u202e\\ufeff"),
        ("\x9b2J", "\\x9b2J"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("🪑", "🪑"),
    ],
)
def test_control_and_format_characters_are_written_as_escapes(text, expected):
    assert printable(text) == expected


def test_markup_is_shown_as_it_is():
    hostile = "<script>*a*</script> [x](http://e) `b` |c|\n# d"
    assert markdown(hostile) == ("\\<script\\>\\*a\\*\\</script\\> \\[x\\](http://e) \\`b\\` \\|c\\|\\\\n\\# d")


def test_markdown_of_a_plain_name_is_the_name():
    assert markdown("Шины и диски") == "Шины и диски"
