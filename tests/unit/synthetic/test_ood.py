import re

import pytest

from rubert_ood.synthetic.ood import out_of_domain_texts


def test_out_of_domain_texts_are_many_and_different() -> None:
    kinds = out_of_domain_texts(500, seed=1)
    assert set(kinds) == {"news", "talk", "code", "english", "gibberish", "other_goods"}
    for kind, found in kinds.items():
        assert len(set(found)) == 500, kind
        assert all(text.strip() and "[[" not in text for text in found), kind
    assert not set(kinds["news"]) & set(kinds["talk"])
    assert kinds == out_of_domain_texts(500, seed=1)
    assert kinds["news"] != out_of_domain_texts(500, seed=2)["news"]
    assert all(
        re.fullmatch(r"[\x00-\x7f]+", text) for text in kinds["english"] + kinds["code"]
    )


def test_out_of_domain_says_when_a_kind_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"num_more": [0, 0], "separator": " ", "slots": {}, "first": ["one {1-2}"]}
    monkeypatch.setattr("rubert_ood.synthetic.ood.load_data", lambda _: {"short": entry})
    assert sorted(out_of_domain_texts(2, seed=1)["short"]) == ["one 1", "one 2"]
    with pytest.raises(ValueError, match="'short' gives only 2 of 3 texts"):
        out_of_domain_texts(3, seed=1)
