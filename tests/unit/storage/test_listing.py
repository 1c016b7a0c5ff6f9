import os
import subprocess
import sys
from pathlib import Path

import pytest

from rubert_ood.errors import InputError
from rubert_ood.storage.listing import (
    is_left_by_writer,
    list_below,
    list_folders,
    literal_head,
    local_version,
)


def fill(folder: Path, *names: str) -> Path:
    """Write files whose content is their name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def listed(uri: str | Path, below: Path | None = None) -> list[str]:
    names = [file.uri for file in list_below(str(uri)).files]
    return names if below is None else [os.path.relpath(name, below) for name in names]


def test_list_below_a_folder_finds_every_file_at_any_depth(tmp_path: Path) -> None:
    names = [
        "._a",
        ".hidden/b",
        "_SUCCESS",
        "_day=1/p.parquet",
        "a b.csv",
        "ads[1]",
        "sub/deep/c",
    ]
    fill(tmp_path, *names)
    assert listed(tmp_path, tmp_path) == sorted(names)
    assert listed(f"{tmp_path}/") == listed(tmp_path)
    assert [file.size for file in list_below(str(tmp_path)).files] == [
        len(n) for n in sorted(names)
    ]


def test_list_below_follows_links_to_files_and_folders(tmp_path: Path) -> None:
    fill(tmp_path, "real/x.parquet", "other/deep/z.parquet", "in/y.parquet")
    (tmp_path / "in" / "x.parquet").symlink_to(tmp_path / "real" / "x.parquet")
    (tmp_path / "in" / "sub").symlink_to(tmp_path / "other")
    assert listed(tmp_path / "in", tmp_path / "in") == [
        "sub/deep/z.parquet",
        "x.parquet",
        "y.parquet",
    ]
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert listed(tmp_path / "link", tmp_path / "link") == listed(
        tmp_path / "in", tmp_path / "in"
    )


def test_list_below_a_loop_of_links_ends_and_names_it(tmp_path: Path) -> None:
    fill(tmp_path, "in/sub/a.csv")
    (tmp_path / "in" / "sub" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in" / "self")
    listing = list_below(str(tmp_path / "in"))
    assert [file.uri for file in listing.files] == [f"{tmp_path}/in/sub/a.csv"]
    assert listing.loops == [f"{tmp_path}/in/sub/up"]
    assert set(listing.unreadable) == {f"{tmp_path}/in/self"}


def test_list_below_names_dangling_links_and_what_is_not_a_file(tmp_path: Path) -> None:
    fill(tmp_path, "a.csv")
    (tmp_path / "gone.parquet").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.csv")
    listing = list_below(str(tmp_path))
    assert [file.uri for file in listing.files] == [f"{tmp_path}/a.csv"]
    assert set(listing.unreadable) == {f"{tmp_path}/gone.parquet", f"{tmp_path}/pipe.csv"}
    assert "leads nowhere" in listing.unreadable[f"{tmp_path}/gone.parquet"]
    assert "neither a file nor a folder" in listing.unreadable[f"{tmp_path}/pipe.csv"]


def test_list_below_names_what_is_not_utf8(tmp_path: Path) -> None:
    fill(tmp_path, "a.csv")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")).write_text("x")
    listing = list_below(str(tmp_path))
    assert [file.uri for file in listing.files] == [f"{tmp_path}/a.csv"]
    assert listing.unreadable == {
        f"{tmp_path}/\\udcff.csv": "this name is not UTF-8. Rename it"
    }


AS_NOBODY = """
import os, sys
from rubert_ood.errors import InputError
from rubert_ood.storage.listing import list_below
from rubert_ood.storage import filesystem
filesystem("/")  # imports what another user may not read
os.setgid(65534); os.setuid(65534)
listing = list_below(sys.argv[1])
print([file.uri for file in listing.files], listing.unreadable)
try:
    list_below(sys.argv[1] + "/closed")
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_list_below_a_folder_that_may_not_be_listed_names_it(tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", "a.csv", "closed/b.csv")
    for path in [folder, *folder.parents]:
        path.chmod(path.stat().st_mode | 0o055)
    (folder / "closed").chmod(0o700)
    out = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    found, refused = out.stdout.strip().splitlines()
    assert found.startswith(
        f"['{folder}/a.csv'] {{'{folder}/closed': 'this folder cannot be listed"
    )
    assert refused.startswith(f"{folder}/closed: access is denied")


def test_list_below_nothing_is_an_error_unless_it_may_be_missing(tmp_path: Path) -> None:
    for uri in (f"{tmp_path}/x", f"{tmp_path}/*.csv"):
        with pytest.raises(InputError, match="no such file, folder or bucket"):
            list_below(uri)
        assert list_below(uri, missing_ok=True).files == []
    assert list_below(str(tmp_path)).files == []


# globs

FILES = (
    "a.csv",
    "b.parquet",
    "day=1/a.csv",
    "day=2/deep/b.csv",
    "_day=3/c.csv",
    ".h/d.csv",
    "x[1].csv",
)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.csv", ["a.csv", "x[1].csv"]),
        (
            "*",
            [
                "_day=3/c.csv",
                "a.csv",
                "b.parquet",
                "day=1/a.csv",
                "day=2/deep/b.csv",
                "x[1].csv",
            ],
        ),
        ("d*/", ["day=1/a.csv", "day=2/deep/b.csv"]),
        ("day=*", ["day=1/a.csv", "day=2/deep/b.csv"]),
        ("day=[12]/a.csv", ["day=1/a.csv"]),
        ("day=?/*.csv", ["day=1/a.csv"]),
        (
            "**/*.csv",
            [
                "_day=3/c.csv",
                ".h/d.csv",
                "a.csv",
                "day=1/a.csv",
                "day=2/deep/b.csv",
                "x[1].csv",
            ],
        ),
        ("**", sorted(FILES)),
        ("x[1].csv", ["x[1].csv"]),
        ("x[[]1].csv", ["x[1].csv"]),
        (".h/*", [".h/d.csv"]),
    ],
)
def test_list_below_a_glob_matches_files_and_folders(
    tmp_path: Path, pattern: str, names: list[str]
) -> None:
    fill(tmp_path, *FILES)
    assert listed(f"{tmp_path}/{pattern}", tmp_path) == sorted(names)


def test_list_below_takes_a_name_that_exists_literally(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "ads[1].csv",
        "ads1.csv",
        "out [p]/x*/a.csv",
        "out p/x1/b.csv",
        "q?.csv",
        "q1.csv",
    )
    assert listed(tmp_path / "ads[1].csv", tmp_path) == ["ads[1].csv"]
    assert listed(tmp_path / "q?.csv", tmp_path) == ["q?.csv"]
    assert listed(tmp_path / "out [p]", tmp_path) == ["out [p]/x*/a.csv"]
    assert listed(f"{tmp_path}/out [p]/*/*.csv", tmp_path) == ["out [p]/x*/a.csv"]
    assert listed(f"{tmp_path}/out [p]/x*/*.csv", tmp_path) == ["out [p]/x*/a.csv"]


def test_listing_inner_counts_from_the_literal_head_of_a_glob(tmp_path: Path) -> None:
    fill(tmp_path, ".cache/_x/day=1/_SUCCESS", ".cache/_x/day=1/a.csv")
    for uri in (
        f"{tmp_path}/.cache/_x",
        f"{tmp_path}/.cache/_x/*",
        f"{tmp_path}/.cache/_x/d*/*",
    ):
        listing = list_below(uri)
        inner = [listing.inner(file.uri) for file in listing.files]
        assert inner == ["day=1/_SUCCESS", "day=1/a.csv"], uri
    listing = list_below(f"{tmp_path}/.cache/_x/day=1/_SUCCESS")
    assert [listing.inner(file.uri) for file in listing.files] == [""]


def test_literal_head_ends_before_the_first_glob_character() -> None:
    assert literal_head("/a/b*/c") == "/a"
    assert literal_head("s3://bucket/day=?/x") == "s3://bucket"
    assert literal_head("/a/b") == "/a/b"


@pytest.mark.parametrize(
    "inner",
    [
        "_SUCCESS",
        "_committed_12",
        "_started_12",
        "_metadata",
        "x/_common_metadata",
        "_temporary/0/a.parquet",
        "a.crc",
        "._a.parquet",
        ".hidden/a.parquet",
        ".part.parquet",
    ],
)
def test_listing_knows_what_writers_leave_behind(inner: str) -> None:
    assert is_left_by_writer(inner)


@pytest.mark.parametrize(
    "inner", ["", "_day=1/p.parquet", "_errors/a.parquet", "_x", "SUCCESS", "a_SUCCESS"]
)
def test_listing_takes_what_else_begins_with_an_underscore(inner: str) -> None:
    assert not is_left_by_writer(inner)


# versions


def test_the_version_of_a_file_stays_while_nobody_touches_it(tmp_path: Path) -> None:
    path = fill(tmp_path, "a.csv") / "a.csv"
    assert list_below(str(path)).files == list_below(str(tmp_path)).files
    path.read_bytes()
    assert list_below(str(path)).files[0].version == local_version(path.stat())


@pytest.mark.parametrize("change", ["in place", "replaced", "cp -p", "touched back"])
def test_the_version_of_a_file_changes_with_any_write(
    tmp_path: Path, change: str
) -> None:
    path = fill(tmp_path, "a.csv") / "a.csv"
    before, times = list_below(str(path)).files[0].version, path.stat()
    if change == "in place":
        path.write_text("b.csv")
    elif change == "touched back":
        with path.open("r+") as file:
            file.write("b")
    else:
        other = fill(tmp_path, "b.csv") / "b.csv"
        os.replace(other, path)
    if change in ("cp -p", "touched back"):
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert list_below(str(path)).files[0].version != before


def test_list_below_a_relative_folder_gives_absolute_uris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "data/a.csv")
    monkeypatch.chdir(tmp_path)
    for uri in (
        "data",
        "./data/",
        "data/a.csv",
        "data/*.csv",
        "*/a.csv",
        f"file://{tmp_path}/data",
    ):
        assert listed(uri) == [f"{tmp_path}/data/a.csv"], uri


def test_list_folders_names_those_right_under_a_folder(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "run_id=b/part.parquet",
        "run_id=a/_run/manifest.json",
        "latest.json",
        ".latest.json.lock",
    )
    assert list_folders(str(tmp_path)) == [f"{tmp_path}/run_id=a", f"{tmp_path}/run_id=b"]
    with pytest.raises(InputError, match="gone: no such file, folder or bucket"):
        list_folders(str(tmp_path / "gone"))
