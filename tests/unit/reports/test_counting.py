import pytest

from rubert_ood.reports.counting import counted


@pytest.mark.parametrize(
    ("number", "many", "text"),
    [(0, "", "0 files"), (1, "", "1 file"), (2000, "", "2,000 files"), (2, "x", "2 x")],
)
def test_counted_has_the_noun_that_fits_the_number(number, many, text):
    assert counted(number, "file", many) == text
