"""What a repository is to hold of a bundle."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rubert_ood.bundle.files import read_manifest
from rubert_ood.errors import BundleError
from rubert_ood.sharing.content import content_of, names_in_repository


def _bytes(file) -> bytes:
    return (
        file.source if isinstance(file.source, bytes) else Path(file.source).read_bytes()
    )


def test_content_is_every_file_of_the_manifest_and_the_page(bundle):
    content = content_of(bundle, "страница\n")
    manifest = json.loads(Path(bundle.folder, "manifest.json").read_bytes())
    files = {file.name: _bytes(file) for file in content.files}
    assert files.pop("README.md") == "страница\n".encode()
    assert files.pop("manifest.json") == Path(bundle.folder, "manifest.json").read_bytes()
    files["README.md"] = files.pop("README.bundle.md")
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert hashes == {name: file["sha256"] for name, file in manifest["files"].items()}
    assert content.fingerprint == manifest["fingerprint"]
    assert content.size == sum(len(_bytes(file)) for file in content.files)


def test_content_of_a_bundle_that_was_replaced_is_refused(bundle):
    with pytest.raises(BundleError, match="replaced meanwhile"):
        content_of(replace(bundle, fingerprint="0" * 64), "page")


def test_names_in_repository_are_those_of_the_content_but_for_the_page(bundle):
    names = names_in_repository(read_manifest(bundle.uri))
    assert sorted([*names, "README.md"]) == sorted(
        f.name for f in content_of(bundle, "").files
    )
