import time

import pytest

from rubert_ood.ads.patterns import compile_bounded
from rubert_ood.settings import PHONE_PATTERN


@pytest.mark.parametrize(
    "pattern",
    [
        PHONE_PATTERN,
        r"\d+",
        r"тел\S+",
        r"(?:\+7|8)(?:[\s\-()]*\d){10}",
        r"\+7(?:[\s-]*\d)+",
        r"\+?[78][\s(-]*\d{3}[\s)-]*\d{3}[\s-]*\d{2}[\s-]*\d{2}",
        r"(?:\d{3}[- ]?)+\d{2}[- ]?\d{2}",
        r"(?>(\d+)+)x",
        r"(\d++)+x",
        r"(\d)(?(1)-|x)\1(?=\d)",
        r"(?!)",
    ],
)
def test_a_pattern_that_takes_bounded_time_is_compiled_as_it_is(pattern):
    assert compile_bounded(pattern).pattern == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        r"(\d+)+x",
        r"8800(\d+)+x",
        r"(\d|\d)*x",
        r"(\d|\d\d)+$x",
        r"\d*\d*\d*\d*x",
        r"(.*)*z",
        r"(\d{1,20}){1,20}x",
        r"([а-яё]+)*1",
        r"(?i)(я|Я)+\b!",
        r"(?:(?:a+)+)+b",
        r"(a?|b)(?=(\s+)+x)",
        r"[^\W\d]+(\d+)+!",
    ],
)
def test_a_pattern_whose_time_explodes_is_refused_in_a_second(pattern):
    started = time.thread_time()
    with pytest.raises(
        ValueError, match=r"explodes with the length|matches the empty text"
    ):
        compile_bounded(pattern)
    assert time.thread_time() - started < 5


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "it is not a valid regular expression"),
        (r"\d{99999999999}", "it is not a valid regular expression"),
        # 3.11 cannot read it, 3.12 can
        ("(" * 400 + ")" * 400, "not a valid regular expression|the empty text"),
        ("a" * 1001, "it has 1,001 characters, more than 1,000"),
        ("", "it matches the empty text"),
        (r"\b", "it matches the empty text"),
        (r"\d*", "it matches the empty text"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(pattern, message):
    with pytest.raises(ValueError, match=message):
        compile_bounded(pattern)
