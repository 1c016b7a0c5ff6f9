from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.ads.sources import survey_tables
from rubert_ood.errors import SettingsError
from rubert_ood.scoring.apart import check_apart, check_links_apart


def _ads(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("in", "in/out"),
        ("in", "in"),
        ("in/", "in/deep/out"),
        ("in/*", "in/out"),
        ("in/*", "in"),
        ("**", "in/out"),
        ("in/**/*.parquet", "in/out"),
        ("in/o*/*", "in/out"),
    ],
)
def test_check_apart_refuses_an_output_in_the_input(tmp_path, source, target):
    _ads(tmp_path / "in" / "a.parquet")
    with pytest.raises(SettingsError, match=r"^output_uri: .* lies inside the input"):
        check_apart(f"{tmp_path}/{source}", f"{tmp_path}/{target}")


@pytest.mark.parametrize(
    ("source", "target"), [("out/in", "out"), ("out/in/*.parquet", "out"), ("out/in", "")]
)
def test_check_apart_refuses_an_input_in_the_output(tmp_path, source, target):
    _ads(tmp_path / "out" / "in" / "a.parquet")
    with pytest.raises(SettingsError, match=r"^input_uri: .* lies inside the output"):
        check_apart(f"{tmp_path}/{source}", f"{tmp_path}/{target}".rstrip("/"))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("in", "out"),
        ("in", "in2"),
        ("in/*.parquet", "in"),
        ("in/a.parquet", "in"),
        ("in/day=*", "in/out"),
    ],
)
def test_check_apart_lets_neighbours_be(tmp_path, source, target):
    _ads(tmp_path / "in" / "a.parquet")
    check_apart(f"{tmp_path}/{source}", f"{tmp_path}/{target}")


def test_check_apart_sees_through_links(tmp_path):
    _ads(tmp_path / "in" / "a.parquet")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(SettingsError, match="lies inside the input"):
        check_apart(f"{tmp_path}/in", f"{tmp_path}/link/out")


@pytest.mark.parametrize(
    ("source", "target", "refused"),
    [
        ("s3://b/in", "s3://b/in/out", "output_uri"),
        ("s3://b", "s3://b/out", "output_uri"),
        ("s3://b/*", "s3://b/out", "output_uri"),
        ("s3://b/out/in", "s3://b/out", "input_uri"),
        ("s3://b/out/in", "s3://b", "input_uri"),
        ("s3://b/in", "s3://b/out", None),
        ("s3://b/in", "s3://b/in2", None),
        ("s3://b/in", "s3://c/in/out", None),
        ("s3://b/in", "b/in/out", None),
    ],
)
def test_check_apart_knows_buckets_from_folders(monkeypatch, source, target, refused):
    monkeypatch.setattr(storage, "exists", lambda _: False)
    if refused is None:
        check_apart(source, target)
        return
    with pytest.raises(SettingsError, match=f"^{refused}: "):
        check_apart(source, target)


def test_check_apart_takes_the_root_for_a_folder_that_holds_all(tmp_path):
    _ads(tmp_path / "in" / "a.parquet")
    with pytest.raises(SettingsError, match=r"^output_uri: "):
        check_apart("/", str(tmp_path / "out"))
    with pytest.raises(SettingsError, match=r"^input_uri: "):
        check_apart(str(tmp_path / "in"), "/")


@pytest.mark.parametrize("link", ["in/day=1", "in/deep/day=1"])
@pytest.mark.parametrize("leads_to", ["out", "out/run_date=2026-11-01", "elsewhere"])
@pytest.mark.parametrize("source", ["in", "in/*"])
def test_check_links_apart_refuses_a_link_that_leads_to_the_output(
    tmp_path, source, link, leads_to
):
    _ads(tmp_path / "in" / "deep" / "a.csv")
    (tmp_path / leads_to).mkdir(parents=True)
    (tmp_path / link).symlink_to(tmp_path / leads_to)
    output = "elsewhere/out" if leads_to == "elsewhere" else "out"
    folders = survey_tables(f"{tmp_path}/{source}").folders
    with pytest.raises(SettingsError) as refused:
        check_links_apart(folders, f"{tmp_path}/{output}")
    assert str(refused.value) == (
        f"input_uri: {tmp_path}/{link} leads by a link to the output {tmp_path}/{output}."
        " Remove the link, or use an output elsewhere"
    )


def test_check_links_apart_lets_links_elsewhere_and_hidden_ones_be(tmp_path):
    _ads(tmp_path / "in" / "a.csv")
    for name in ("out", "ads"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "day=1").symlink_to(tmp_path / "ads")
    (tmp_path / "in" / ".before").symlink_to(tmp_path / "out")
    folders = survey_tables(str(tmp_path / "in")).folders
    assert folders == [str(tmp_path / "in"), str(tmp_path / "in" / "day=1")]
    check_links_apart(folders, str(tmp_path / "out"))
