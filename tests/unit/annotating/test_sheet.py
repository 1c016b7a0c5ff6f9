import pytest

from rubert_ood.annotating.sheet import safe_cell


@pytest.mark.parametrize(
    ("text", "cell"),
    [("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("@a", "'@a"), ("диван", "диван"), ("", "")],
)
def test_cell_of_a_text_is_never_a_formula(text: str, cell: str) -> None:
    assert safe_cell(text) == cell
