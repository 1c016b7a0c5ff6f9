from rubert_ood import storage
from rubert_ood.annotating.register import Keys, Register

MOMENT = "2026-11-24T10:00:00+00:00"


def _keys(number: int) -> Keys:
    return Keys(ad=f"{number:016x}", text=f"t{number}", plain=f"p{number}")


def test_take_after_another_export_is_refused_until_that_was_read(tmp_path) -> None:
    first, second = Register(str(tmp_path)).read(), Register(str(tmp_path)).read()
    assert first.take("a", "run", MOMENT, [_keys(1)])
    assert not second.take("b", "run", MOMENT, [_keys(1)])
    assert second.read().has(_keys(1))
    assert second.take("b", "run", MOMENT, [_keys(2)])
    assert Register(str(tmp_path)).read().ads == {1, 2}


def test_take_whose_answer_got_lost_counts(tmp_path, monkeypatch) -> None:
    create = storage.create_bytes

    def lost(uri: str, data: bytes) -> bool:
        create(uri, data)
        return False

    monkeypatch.setattr(storage, "create_bytes", lost)
    assert Register(str(tmp_path)).take("a", "run", MOMENT, [_keys(1)])


def test_ad_of_the_same_text_in_other_eyes_is_known(tmp_path) -> None:
    register = Register(str(tmp_path))
    register.take("a", "run", MOMENT, [_keys(1)])
    for name in ("ad", "text", "plain"):
        shared = {name: getattr(_keys(1), name)}
        assert register.has(_keys(2).model_copy(update=shared))
    assert not register.has(_keys(2))
