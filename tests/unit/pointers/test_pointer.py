"""The memory of a pointer, what it says of a folder, and the swap of two publishers at once."""

import json
from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.pointers.pointer import MAX_HISTORY, is_swapped, swap
from rubert_ood.publishing.pointer import Place, Pointer, look, read_pointer
from tests.conftest import patch_storage

DAY = "run_date=2026-11-24"


@pytest.fixture
def out(tmp_path) -> str:
    return str(tmp_path / "out")


def _pointer(name: str, *history: str, taken_back: tuple[str, ...] = ()) -> Pointer:
    return Pointer(
        path=name,
        run_id=name,
        run_date="2026-11-24",
        history=list(history),
        taken_back=list(taken_back),
    )


def test_pointer_replacing_another_remembers_its_runs_newest_first():
    third = _pointer("c").replacing(_pointer("b", "a"))
    assert third.paths == ["c", "b", "a"]
    assert _pointer("c").replacing(None).paths == ["c"]


def test_pointer_replacing_one_that_knew_its_run_has_it_once_and_no_longer_taken_back():
    older = _pointer("c", "b", "a", taken_back=("b", "x"))
    again = _pointer("b").replacing(older)
    assert again.paths == ["b", "c", "a"]
    assert again.taken_back == ["x"]


def test_pointer_replacing_many_others_keeps_the_newest_max_history():
    pointer = _pointer("r0")
    for number in range(1, MAX_HISTORY + 10):
        pointer = _pointer(f"r{number}").replacing(pointer)
    newest = [f"r{number}" for number in range(MAX_HISTORY + 9, 8, -1)]
    assert pointer.paths == newest


def test_pointer_taking_back_another_forgets_its_run_and_says_why():
    bad = _pointer("c", "b", "a", taken_back=("x",))
    pointer = _pointer("b").taking_back(bad, "wrong labels")
    assert pointer.paths == ["b", "a"]
    assert pointer.taken_back == ["c", "x"]
    assert (pointer.rolled_back.path, pointer.rolled_back.reason) == ("c", "wrong labels")
    assert pointer.replacing(bad).rolled_back == pointer.rolled_back
    assert _pointer("d").replacing(pointer).rolled_back is None


def test_pointer_taking_back_run_after_run_keeps_the_newest_max_history():
    pointer = _pointer("r99", taken_back=tuple(f"t{n}" for n in range(MAX_HISTORY)))
    found = _pointer("a").taking_back(pointer, "x").taken_back
    assert found == ["r99", *(f"t{n}" for n in range(MAX_HISTORY - 1))]


@pytest.mark.parametrize(
    ("run_id", "expected"),
    [
        ("r3", (True, False, False)),
        ("r2", (False, True, False)),
        ("bad", (False, False, True)),
        ("r", (False, False, False)),
    ],
)
def test_place_says_what_its_pointer_knows_of_a_run(out, run_id, expected):
    pointer = _pointer(
        f"{DAY}/run_id=r3", f"{DAY}/run_id=r2", taken_back=(f"{DAY}/run_id=bad",)
    )
    place = Place(out, pointer, "v1")
    run_uri = f"{out}/{DAY}/run_id={run_id}"
    assert (
        place.names(run_uri),
        place.remembers(run_uri),
        place.took_back(run_uri),
    ) == expected


def test_swap_of_a_pointer_that_was_seen_puts_it_and_a_later_one_does_not(out):
    first = look(out)
    assert swap(first, _pointer("a")) == read_pointer(out) == _pointer("a")
    second = look(out)
    assert swap(second, _pointer("b", "a")).paths == ["b", "a"]
    assert swap(second, _pointer("c", "a")).paths == ["b", "a"]
    assert swap(first, _pointer("d")).paths == ["b", "a"]
    assert read_pointer(out).path == "b"


def test_swap_writes_no_member_that_is_none(out):
    swap(look(out), _pointer("a"))
    content = json.loads(Path(out, "latest.json").read_text())
    assert not {"finished_at", "rolled_back"} & content.keys()


def test_swap_whose_answer_is_wrong_returns_what_lies_there(out, monkeypatch):
    real = storage.swap_bytes
    patch_storage(monkeypatch, "swap_bytes", lambda *arguments: not real(*arguments))
    assert swap(look(out), _pointer("a")) == _pointer("a")


@pytest.mark.parametrize(
    ("now", "older", "expected"),
    [
        (None, None, False),
        (_pointer("b"), None, True),
        (_pointer("c", "b"), None, True),  # another publisher followed
        (_pointer("c", "a"), _pointer("a"), False),  # another one was faster
        (_pointer("b", "a"), _pointer("a"), True),
        (_pointer("c", "b", "a"), _pointer("a"), True),
        # "b" was there before already, and "a" still is newer: nothing was swapped
        (_pointer("a", "b"), _pointer("a", "b"), False),
        (_pointer("c", "a", "b"), _pointer("a", "b"), False),
    ],
)
def test_is_swapped_only_where_the_run_stands_before_the_one_it_replaced(
    now, older, expected
):
    assert is_swapped(now, "b", older) is expected
