"""The pointers to runs: how they are read, and which of them name a run."""

import json

import pytest

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.pointers.pointer import swap
from rubert_ood.publishing.pointer import (
    Place,
    Pointer,
    day_uri,
    look,
    named_by,
    read_pointer,
)
from tests.unit.publishing.manifests import a_manifest

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


def _put(root_uri: str, **content) -> None:
    storage.put_bytes(f"{root_uri}/latest.json", json.dumps(content).encode())


def test_read_pointer_before_any_publication_is_none(out):
    assert read_pointer(out) is None
    place = look(out)
    run_uri = f"{out}/{DAY}/run_id=r1"
    assert not place.names(run_uri)
    assert not place.remembers(run_uri)
    assert not place.took_back(run_uri)


def test_read_pointer_of_version_0_2_0_has_no_memory_of_what_it_did_not_write(out):
    _put(out, path=f"{DAY}/run_id=r1", run_id="r1", run_date="2026-11-24", checksum="x")
    pointer = read_pointer(out)
    assert pointer.paths == [f"{DAY}/run_id=r1"]
    assert (pointer.finished_at, pointer.taken_back, pointer.rolled_back) == (
        None,
        [],
        None,
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "it does not hold JSON"),
        (b"[]", "content: "),
        (b'{"path": "a/b", "run_id": "r1"}', "run_date: "),
        (
            b'{"path": "../a", "run_id": "r", "run_date": "2026-11-24"}',
            "path: the path is not below the folder of this file",
        ),
        (
            b'{"path": "a", "run_id": "r", "run_date": "2026-11-24", "history": ["/etc"]}',
            "history.0: the path is not below",
        ),
        (
            b'{"path": "a", "run_id": "r", "run_date": "20261124"}',
            "run_date: the date is not",
        ),
    ],
)
def test_read_pointer_of_a_damaged_file_is_one_line_with_what_to_do(out, data, reason):
    storage.put_bytes(f"{out}/latest.json", data)
    with pytest.raises(InputError) as caught:
        read_pointer(out)
    line = str(caught.value)
    assert line.startswith(f"{out}/latest.json: the file is damaged ({reason}")
    assert line.endswith(
        "Restore it: without it nothing is published, and no run can come back"
    )
    assert "\n" not in line


@pytest.mark.parametrize(
    ("root", "path"), [("", f"{DAY}/run_id=r1"), (f"/{DAY}", "run_id=r1")]
)
def test_pointer_to_a_run_has_its_path_below_the_root(out, root, path):
    manifest = a_manifest(out)
    pointer = Place(f"{out}{root}", None, "").pointer_to(manifest)
    assert (pointer.path, pointer.run_id, pointer.run_date) == (path, "r1", "2026-11-24")
    assert (pointer.bundle, pointer.finished_at) == ("f" * 64, manifest.finished_at)
    assert pointer.paths == [path]


@pytest.mark.parametrize("end", ["", "/"])
def test_day_uri_is_the_folder_above_the_run(end):
    assert day_uri(f"s3://b/out/{DAY}/run_id=r1{end}") == f"s3://b/out/{DAY}"


def test_named_by_lists_the_pointers_of_catalogue_and_day_that_name_the_run(out):
    run_uri = f"{out}/{DAY}/run_id=r1"
    assert named_by(run_uri) == []
    swap(look(out), _pointer(f"{DAY}/run_id=r1"))
    assert named_by(f"{run_uri}/") == ["latest.json"]
    swap(look(day_uri(run_uri)), _pointer("run_id=r1"))
    assert named_by(run_uri) == ["latest.json", f"{DAY}/latest.json"]
    swap(look(out), _pointer(f"{DAY}/run_id=r2", f"{DAY}/run_id=r1"))
    assert named_by(run_uri) == [f"{DAY}/latest.json"]
