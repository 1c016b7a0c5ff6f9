import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rubert_ood.errors import InputError
from rubert_ood.reuse import index as module
from rubert_ood.reuse.build import build_index
from rubert_ood.reuse.document import index_uri
from rubert_ood.reuse.index import Taker, fetch_index, open_index
from rubert_ood.runs.reuse import ReusedRun
from rubert_ood.storage import folders
from tests.unit.reuse.tables import random_rows

ROWS = random_rows(2_000)
KEYS = ROWS["text_key"].to_pylist()


@pytest.fixture
def reused(full_run, tmp_path, monkeypatch) -> ReusedRun:
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path / "cache"))
    plan = replace(full_run.plan, run_uri=str(tmp_path / "run"), run_id="night")
    name = build_index(plan, [ROWS], len(KEYS), "parts", lambda: None)
    return ReusedRun(
        run_uri=plan.run_uri,
        run_id="night",
        index_sha256=name.sha256,
        check_fraction=0.1,
    )


def test_fetch_index_copies_it_once_and_finds_what_is_in_it(reused):
    index = fetch_index(reused.run_uri, reused.index_sha256)
    places, _ = index.find(["00" * 16, *KEYS])
    assert places.tolist() == list(range(1, 2_001))
    for path in Path(index_uri(reused.run_uri)).glob("texts-*"):
        path.unlink()
    assert len(fetch_index(reused.run_uri, reused.index_sha256).find(KEYS)[0]) == 2_000


def _cut(folder: Path) -> None:
    (path,) = folder.glob("texts-*")
    path.write_bytes(path.read_bytes()[:-1])


def _remove(folder: Path) -> None:
    (path,) = folder.glob("texts-*")
    path.unlink()


@pytest.mark.parametrize("spoil", [_cut, _remove])
def test_open_index_that_is_damaged_or_gone_is_none_and_said_once(reused, spoil, caplog):
    spoil(Path(index_uri(reused.run_uri)))
    with pytest.raises(InputError):
        fetch_index(reused.run_uri, reused.index_sha256)
    assert [open_index(reused), open_index(reused)] == [None, None]
    assert caplog.text.count("scores every text, because the index cannot be used") == 1


def test_fetch_index_of_another_sha256_is_refused(reused):
    with pytest.raises(InputError, match="is not the index that the plan names"):
        fetch_index(reused.run_uri, "0" * 64)


def test_fetch_index_removes_copies_that_nobody_opened_for_hours(reused):
    old, young = (Path(folders.private_cache(), "reuse", name) for name in "ab")
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "texts").touch()
    hours_ago = time.time() - module.KEEP_S - 60
    os.utime(old, (hours_ago, hours_ago))
    fetch_index(reused.run_uri, reused.index_sha256)
    assert (old.exists(), young.exists()) == (False, True)


def _taken(reused: ReusedRun, fingerprint: str) -> tuple[Taker, list[str]]:
    taker = Taker(fetch_index(reused.run_uri, reused.index_sha256), reused, fingerprint)
    taken = [taker(["11" * 16, *KEYS[:900]]), taker(KEYS[900:])]
    return taker, [key for table in taken for key in table["text_key"].to_pylist()]


def test_taker_takes_over_what_it_does_not_set_apart_to_be_checked(reused):
    taker, taken = _taken(reused, "ab" * 32)
    checked = taker.checks()["text_key"].to_pylist()
    assert sorted([*taken, *checked]) == sorted(KEYS)
    assert taken == [key for key in KEYS if key in set(taken)]  # in their order
    assert 120 < len(checked) < 280
    salt, limit = int("ab" * 8, 16), int(0.1 * 2**64)
    assert set(checked) == {key for key in KEYS if int(key[16:], 16) ^ salt <= limit}


def test_taker_checks_the_same_texts_in_a_retry_and_others_in_another_run(reused):
    first, again, other = (
        set(_taken(reused, fingerprint)[0].checks()["text_key"].to_pylist())
        for fingerprint in ("ab" * 32, "ab" * 32, "3c" * 32)
    )
    assert first == again
    assert len(first & other) < 60


def test_taker_of_all_checks_every_text(reused):
    every = reused.model_copy(update={"check_fraction": 1.0})
    taker, taken = _taken(every, "ff" * 32)
    assert (taken, taker.checks().num_rows) == ([], 2_000)


def _copy(reused: ReusedRun) -> Path:
    folder = Path(folders.private_cache(), "reuse", reused.index_sha256)
    (path,) = folder.glob("texts-*")
    return path


def _one_is_short(record: bytes) -> bytes:
    return record[:-1]


def _one_has_no_name(record: bytes) -> bytes:
    return record[:8] + b"\xf0\xf0" + record[10:]


@pytest.mark.parametrize("spoil", [_one_is_short, _one_has_no_name])
def test_taker_of_a_copy_with_damaged_records_takes_nothing_over_and_says_where(
    reused, spoil, caplog
):
    index = fetch_index(reused.run_uri, reused.index_sha256)
    path = _copy(reused)
    with sqlite3.connect(path) as database:
        head, record = database.execute("SELECT head, record FROM texts").fetchone()
        change = "UPDATE texts SET record = ? WHERE head = ?"
        database.execute(change, (spoil(record), head))
    taker = Taker(index, reused, "ab" * 32)
    assert (taker(KEYS).num_rows, taker.failed, taker.checks().num_rows) == (0, True, 0)
    assert "scores these texts, because the index cannot be read: " in caplog.text
    assert str(path.parent) in caplog.text
    again = fetch_index(reused.run_uri, reused.index_sha256)  # by a later process
    assert Taker(again, reused, "ab" * 32)(KEYS).num_rows > 1_500


def _end_zeroed(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-5_000, os.SEEK_END)
        file.write(bytes(5_000))


@pytest.mark.parametrize(
    "spoil", [_end_zeroed, Path.unlink, lambda path: os.truncate(path, 9)]
)
def test_fetch_index_whose_copy_changed_fetches_it_again(reused, spoil, caplog):
    fetch_index(reused.run_uri, reused.index_sha256)
    path = _copy(reused)
    good = path.read_bytes()
    spoil(path)
    index = fetch_index(reused.run_uri, reused.index_sha256)
    assert path.read_bytes() == good
    assert len(index.find(KEYS)[0]) == 2_000
    assert caplog.text.count("because the copy has changed") == 1


def test_fetch_index_compares_a_copy_again_only_after_the_machine_has_started_again(
    reused, monkeypatch, tmp_path, caplog
):
    compared = []
    digest = module.file_digest

    def counted(file, name):
        compared.append(os.path.basename(file.name))
        return digest(file, name)

    monkeypatch.setattr(module, "file_digest", counted)
    fetch_index(reused.run_uri, reused.index_sha256)
    files = {"index.json", _copy(reused).name}
    assert (set(compared), len(compared)) == (files, 2)
    fetch_index(reused.run_uri, reused.index_sha256)
    assert len(compared) == 2
    (tmp_path / "boot_id").write_text("another")
    monkeypatch.setattr(module, "BOOT", str(tmp_path / "boot_id"))
    path = _copy(reused)
    times = os.stat(path)
    _end_zeroed(path)  # as a crash leaves it: size and time are there, the content is not
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    index = fetch_index(reused.run_uri, reused.index_sha256)
    assert len(index.find(KEYS)[0]) == 2_000
    assert "because the copy has changed" in caplog.text


def test_fetch_index_of_a_damaged_run_names_the_file_of_the_run(reused):
    folder = Path(index_uri(reused.run_uri))
    (path,) = folder.glob("texts-*")
    _end_zeroed(path)
    with pytest.raises(InputError, match=f"^{path} is damaged .*`publish` on that run"):
        fetch_index(reused.run_uri, reused.index_sha256)


def test_taker_of_a_copy_that_broke_takes_nothing_over(reused):
    index = fetch_index(reused.run_uri, reused.index_sha256)
    (path,) = Path(folders.private_cache(), "reuse", reused.index_sha256).glob("texts-*")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(np.full(150_000, 255, np.uint8).tobytes())
    taker = Taker(index, reused, "ab" * 32)
    assert taker(KEYS).num_rows == 0
    assert taker.failed
    assert taker.checks().num_rows == 0
