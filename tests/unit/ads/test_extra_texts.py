from pathlib import Path

import pytest

from rubert_ood.ads.extra_texts import load_extra_texts
from rubert_ood.ads.text import TextCleaner
from rubert_ood.errors import InputError
from rubert_ood.settings import EvaluationSettings

CLEANER = TextCleaner(cities={"Уфа"})
LABELS = ["Животные", "Мебель"]


def put(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_load_extra_texts_of_settings_that_name_none_is_empty() -> None:
    extra = load_extra_texts(EvaluationSettings(), CLEANER, LABELS)
    assert (extra.hard_cases, extra.splits) == ([], {})


def test_load_extra_texts_keeps_hard_cases_as_written_and_cleans_them(
    tmp_path: Path,
) -> None:
    uri = put(
        tmp_path / "hard.csv",
        "text,label",
        "Продам ДИВАН Уфа,Мебель",
        "Рыжий кот,Животные",
    )
    extra = load_extra_texts(EvaluationSettings(hard_cases_uri=uri), CLEANER, LABELS)
    assert extra.hard_cases == [("Продам ДИВАН Уфа", "Мебель"), ("Рыжий кот", "Животные")]
    assert list(extra.splits) == ["hard_cases"]
    assert extra.splits["hard_cases"].texts == ["диван", "рыжий кот"]
    assert extra.splits["hard_cases"].labels_N.tolist() == [-1, -1]


def test_hard_case_of_a_class_that_is_not_there_is_named(tmp_path: Path, caplog) -> None:
    uri = put(tmp_path / "h.csv", "text,label", "диван,мебель", "кот,Кот", "шум,Other")
    extra = load_extra_texts(EvaluationSettings(hard_cases_uri=uri), CLEANER, LABELS)
    assert [label for _, label in extra.hard_cases] == ["мебель", "Кот", "Other"]
    assert caplog.messages == [
        "data      2 hard cases can never be right: no class is called 'мебель'. Did you"
        " mean 'Мебель'?"
    ]


def test_hard_case_expects_a_label_of_an_older_bundle_as_that_writes_it(
    tmp_path: Path, caplog
) -> None:
    uri = put(tmp_path / "h.csv", "text,label", "диван,Дом и сад")
    settings = EvaluationSettings(hard_cases_uri=uri)
    extra = load_extra_texts(settings, CLEANER, ["Дом  и сад ", "Мебель"])
    assert extra.hard_cases == [("диван", "Дом  и сад ")]
    assert caplog.messages == []


def test_load_extra_texts_makes_a_part_of_each_kind_of_ood_text(tmp_path: Path) -> None:
    uri = put(
        tmp_path / "ood.csv",
        "text,kind",
        "Матч отложен,news",
        "print(1),code",
        "Курс упал,news",
    )
    extra = load_extra_texts(EvaluationSettings(ood_uri=uri), CLEANER, LABELS)
    assert {name: part.texts for name, part in extra.splits.items()} == {
        "ood/news": ["матч отложен", "курс упал"],
        "ood/code": ["print(1)"],
    }
    assert all((part.labels_N == -1).all() for part in extra.splits.values())


def test_load_extra_texts_counts_rows_that_lack_text_or_kind(
    tmp_path: Path, caplog
) -> None:
    uri = put(
        tmp_path / "ood.csv",
        "text,kind",
        "Матч отложен,news",
        "торг,news",
        "print(1),",
        ",code",
        "Курс упал,NaN",
    )
    extra = load_extra_texts(EvaluationSettings(ood_uri=uri), CLEANER, LABELS)
    assert {name: part.texts for name, part in extra.splits.items()} == {
        "ood/news": ["матч отложен"]
    }
    assert caplog.messages == [
        f"data      {uri}: leaves out 4 rows without readable text or kind"
    ]


def test_load_extra_texts_of_a_file_without_text_names_it(tmp_path: Path) -> None:
    uri = put(tmp_path / "ood.csv", "text,kind", ",news")
    with pytest.raises(
        InputError,
        match=r"ood\.csv: no row has both text and kind\. Fill in both columns",
    ):
        load_extra_texts(EvaluationSettings(ood_uri=uri), CLEANER, LABELS)
