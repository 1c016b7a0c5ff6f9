"""The files of a bundle: what is refused, in one line that names file and key."""

import json

import pytest

from rubert_ood.bundle.documents import LabelsDocument
from rubert_ood.bundle.files import MANIFEST, check_files, parse, put_files, read_manifest
from rubert_ood.errors import BundleError


@pytest.fixture
def bundle_uri(tmp_path) -> str:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.json").write_text("{}")
    (source / "README.md").write_text("card")
    uri = str(tmp_path / "v1")
    put_files(str(source), uri)
    return uri


def test_files_that_are_put_are_those_of_the_manifest(bundle_uri):
    manifest = read_manifest(bundle_uri)
    assert (manifest.version, sorted(manifest.files)) == ("v1", ["README.md", "a.json"])
    check_files(bundle_uri, bundle_uri, manifest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "the bundle has format 2, and this version reads formats 3"),
        ({"fingerprint": "0"}, "does not match its own fingerprint"),
        (
            {"files": {"../a": {"sha256": "0" * 64, "size": 1}}},
            "is not a plain file name",
        ),
        (
            {"files": {"a.pkl": {"sha256": "0" * 64, "size": 1}}},
            "which no bundle may hold",
        ),
        ({"files": 5}, "files: expected"),
    ],
)
def test_a_manifest_that_says_otherwise_is_refused(bundle_uri, changes, message):
    path = f"{bundle_uri}/{MANIFEST}"
    with open(path) as file:
        content = json.load(file) | changes
    with open(path, "w") as file:
        json.dump(content, file)
    with pytest.raises(BundleError, match=message) as caught:
        read_manifest(bundle_uri)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_manifest_is_not_a_bundle(tmp_path):
    with pytest.raises(BundleError, match="no bundle is here"):
        read_manifest(str(tmp_path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "a.json: it does not hold JSON"),
        (b"{}", "a.json: it lacks 'labels'"),
        (b'{"labels": [1, "b"]}', r"a.json: labels.0: expected a valid string, got 1"),
        (b'{"labels": [], "labels": []}', "it has the key 'labels' twice"),
        (b'{"labels": ["a", "b"], "x": 1}', "it has an unknown key 'x'"),
    ],
)
def test_a_document_that_does_not_parse_is_one_line_with_its_key(data, message):
    with pytest.raises(BundleError, match=message):
        parse("/b", "a.json", data, LabelsDocument)


def test_a_document_of_another_version_says_so():
    with pytest.raises(
        BundleError, match=r"rubert_ood 0\.1\.0 wrote it in a form .* Train again"
    ):
        parse("/b", "a.json", b"{}", LabelsDocument, code_version="0.1.0")
