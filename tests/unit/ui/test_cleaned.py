"""What is struck through: the rest is what the cleaner returns, character by character."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from rubert_ood.ads.text import TextCleaner
from rubert_ood.ui.cleaned import KEPT, UNREAD, Piece, pieces, trace

CLEANER = TextCleaner(cities=["Москва", "Нижний Новгород", "İzmir"])
PARTS = (
    *("8 912 345-67-89", "+7(912)", "Москва", "москвА", "нижний новгород", "izmir"),
    *("продам", "Торг", "в наличии", "в", "наличии", "диван", "ΑΣ", "İ", "ß", "\u200b"),
    *(" ", "\n", "\t", "\u00a0", ",", "1234567", "12 34"),
)


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join) | st.text(max_size=60))
@example("в 8 912 345-67-89наличии")
@example("İzmir İZMIR ΟΔΥΣΣΕΥΣ")
def test_trace_gives_what_the_cleaner_gives_and_every_origin(written):
    traced = trace(CLEANER, written)
    assert traced.cleaned == CLEANER.clean(written)
    assert len(traced.origins) == len(traced.cleaned)
    assert traced.origins == sorted(traced.origins)
    for letter, origin in zip(traced.cleaned, traced.origins, strict=True):
        if letter != " ":
            near = written[max(0, origin - 40) : origin + 1].lower()
            assert letter in near or letter in "ςσ"


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
def test_pieces_together_are_the_text_as_written(written):
    found = pieces(trace(CLEANER, written))
    assert "".join(piece.text for piece in found) == written
    assert all(left.kind != right.kind for left, right in pairwise(found))


def test_pieces_name_what_was_removed():
    text = "Продам диван, Москва, 8 912 345-67-89"
    assert pieces(trace(CLEANER, text)) == [
        Piece("Продам", "noise word"),
        Piece(" диван, ", KEPT),
        Piece("Москва", "city name"),
        Piece(", ", KEPT),
        Piece("8 912 345-67-89", "phone number"),
    ]


def test_pieces_behind_what_is_read_are_unread_but_removed_ones_stay_so():
    text = "Продам диван угловой, Москва, новый"
    found = pieces(trace(CLEANER, text), num_read=len("диван"))
    assert [piece.kind for piece in found] == [
        "noise word",
        KEPT,
        UNREAD,
        "city name",
        UNREAD,
    ]
    assert found[1].text.strip() == "диван"


def test_trace_without_cities_or_noise_words_only_lowers():
    cleaner = TextCleaner(noise_words=(), phone_pattern="(?!)")
    assert trace(cleaner, "  Диван \n УГЛОВОЙ ").cleaned == "диван угловой"
