"""What `predict` reads and prints; the classifying itself is made up here."""

import io
import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from rubert_ood.errors import InputError
from rubert_ood.settings import PredictSettings
from rubert_ood.workflows import predict as workflow

HOSTILE = "диван\x1b[2J\u202e \U0001f6cb é"


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def predict_texts(
        bundle: Any, texts: list[str], _compute: Any
    ) -> list[dict[str, Any]]:
        shared = {
            "status": "ok",
            "confidence": 0.9,
            "is_ood": False,
            "ood_distance": 1.0,
            "ood_z": 0.0,
            "ood_p": 0.5,
        }
        sizes = {
            "num_tokens": 3,
            "num_chunks": 2,
            "is_cut": True,
            "sub_label": "углов\x07ые",
            "sub_confidence": 0.5,
        }
        labels = {
            "label": "мебель\x1b[31m",
            "topk_labels": ["мебель\x1b[31m"],
            "topk_scores": [0.9],
        }
        results = [
            {"text": text, "cleaned": text, **shared, **sizes, **labels}
            for text in texts
            if text != "пусто"
        ]
        return results + [
            {"text": text, "cleaned": "", "status": "empty"}
            for text in texts
            if text == "пусто"
        ]

    monkeypatch.setattr(workflow, "predict_texts", predict_texts)
    bundle = SimpleNamespace(fitted=SimpleNamespace(promises=()))
    monkeypatch.setattr(workflow, "open_bundle", lambda uri, key: bundle)


def predict(*texts: str, json_lines: bool = False) -> list[dict[str, Any]]:
    return workflow.predict(
        PredictSettings(bundle_uri="b", texts=list(texts), json_lines=json_lines)
    )


def give(monkeypatch: pytest.MonkeyPatch, data: bytes, encoding: str = "utf-8") -> None:
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding=encoding)
    )


def test_a_paragraph_shows_hostile_text_and_labels_plainly(
    capsys: pytest.CaptureFixture[str],
) -> None:
    predict(HOSTILE, "пусто")
    assert capsys.readouterr().out == (
        "диван\\x1b[2J\\u202e \U0001f6cb é\n"
        "  мебель\\x1b[31m  (confidence 0.900  d2 1.0  z 0.00  p 0.500, in domain)\n"
        "  0.900 мебель\\x1b[31m\n"
        "  sub-category углов\\x07ые  0.500\n"
        "  2 windows\n"
        "  cut: only the first 3 tokens were read\n"
        "\n"
        "пусто\n"
        "  Other: no text is left after cleaning\n"
    )


@pytest.mark.parametrize("everything", [True, False])
def test_a_json_line_is_plain_and_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, everything: bool
) -> None:
    monkeypatch.setattr(workflow.terminal, "encodes_everything", lambda: everything)
    predict(HOSTILE + "\x9b\x7f", json_lines=True)
    line = capsys.readouterr().out
    assert json.loads(line)["text"] == HOSTILE + "\x9b\x7f"
    assert not {"\x1b", "\x9b", "\x7f", "\u202e"} & set(line)
    assert ("диван" in line) == everything
    assert everything or line.isascii()


def test_predict_takes_lines_of_input_as_texts_and_not_empty_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give(monkeypatch, "диван, угловой\r\n\n  \nшины\n".encode() + b"x" * 1_000_000)
    assert [result["text"] for result in predict()] == [
        "диван, угловой",
        "шины",
        "x" * 1_000_000,
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_bytes_that_are_no_text_are_replaced_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, encoding: str
) -> None:
    give(monkeypatch, b"\xd0\xb4\xff\n\xd0\xb4\n\xef\xbf\xbd\n", encoding)
    assert [result["text"] for result in predict()] == ["д\ufffd", "д", "\ufffd"]
    assert caplog.messages == [
        "predict   read bytes that are not utf-8 as U+FFFD in 1 text"
    ]
    caplog.clear()
    assert [result["text"] for result in predict("д\udcff", "д")] == ["д\ufffd", "д"]
    assert len(caplog.messages) == 1


def test_the_encoding_of_the_terminal_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "шины\n".encode("cp1251"), "cp1251")
    assert [result["text"] for result in predict()] == ["шины"]


@pytest.mark.parametrize(
    "stdin", [None, io.TextIOWrapper(io.BytesIO(b" \n"))], ids=["closed", "empty"]
)
def test_without_a_text_the_line_says_how_to_give_one(
    monkeypatch: pytest.MonkeyPatch, stdin: Any
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(
        InputError,
        match=(
            r"^texts: there are none. Pass them as arguments, or one per line on"
            r" standard input$"
        ),
    ):
        predict()


def test_an_input_that_cannot_be_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(io.BytesIO):
        def __next__(self) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(encoding="utf-8", buffer=Broken()))
    with pytest.raises(
        InputError, match=r"^standard input: \[Errno 5\] Input/output error$"
    ):
        predict()
