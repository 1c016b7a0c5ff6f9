"""URIs of the hub, what is read there, and what its answers become."""

import logging

import huggingface_hub
import pytest

from rubert_ood import storage
from rubert_ood.errors import InputError, StorageUnavailableError
from rubert_ood.storage import hub as module
from rubert_ood.storage.hub import HubPlace, place_of


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("hf://acme/ads", HubPlace("acme/ads", "main", "")),
        ("hf://acme/ads@v1", HubPlace("acme/ads", "v1", "")),
        (
            "hf://acme/ads@refs%2Fpr%2F1/a.json",
            HubPlace("acme/ads", "refs/pr/1", "a.json"),
        ),
        ("hf://acme/ads/a.json", HubPlace("acme/ads", "main", "a.json")),
    ],
)
def test_place_of_a_uri_is_repository_revision_and_file(uri, place):
    assert place_of(uri) == place


@pytest.mark.parametrize(
    "uri",
    ["hf://acme", "hf://", "hf://datasets/acme", "hf://acme/ads@", "hf://acme/ads/a/b"],
)
def test_place_of_what_is_not_a_repository_refuses_it(uri):
    with pytest.raises(InputError, match="not a repository of the hub"):
        place_of(uri)


def test_absolute_of_a_repository_is_the_repository():
    assert storage.absolute("hf://acme/ads@v1/") == "hf://acme/ads@v1"
    with pytest.raises(InputError, match="this is a file"):
        storage.absolute("hf://acme/ads/config.json")


def test_writing_to_the_hub_is_refused():
    for write in (storage.put_bytes, storage.create_bytes):
        with pytest.raises(InputError, match="this kind of storage is not supported"):
            write("hf://acme/ads/a.json", b"1")


def test_read_bytes_asks_the_hub_for_the_revision(hub):
    repo = hub.create("acme/ads", a=b"old")
    old = repo.branches["main"]
    hub.create("acme/ads", a=b"new").commits[old] = repo.commits[old]
    assert storage.read_bytes("hf://acme/ads/a") == b"new"
    assert storage.read_bytes(f"hf://acme/ads@{old}/a") == b"old"


def test_read_bytes_of_readme_reads_that_of_the_bundle(hub):
    files = {"README.md": b"page", "README.bundle.md": b"card"}
    hub.create("acme/ads", **files)
    assert storage.read_bytes("hf://acme/ads/README.md") == b"card"


def test_at_commit_of_a_branch_names_its_commit(hub):
    oid = hub.create("acme/ads").branches["main"]
    assert module.at_commit("hf://acme/ads") == f"hf://acme/ads@{oid}"
    assert module.at_commit(f"hf://acme/ads@{oid}") == f"hf://acme/ads@{oid}"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, InputError, "Set HF_TOKEN"),
        (403, InputError, "the token has no right to this"),
        (503, StorageUnavailableError, "the hub does not answer"),
    ],
)
def test_refusals_of_the_hub_are_one_line_without_the_token(
    hub, caplog, status, kind, words
):
    caplog.set_level(logging.INFO)
    hub.failing.append(("revision", status))
    with pytest.raises(kind, match=words) as caught:
        module.at_commit("hf://acme/ads")
    line = str(caught.value)
    assert line.startswith("hf://acme/ads: ")
    assert "\n" not in line
    assert huggingface_hub.get_token() not in line + caplog.text


def test_files_and_repositories_that_are_missing_are_input_errors(hub):
    hub.create("acme/ads")
    for uri in ("hf://acme/ads/a", "hf://acme/none/a", "hf://acme/ads@none/a"):
        with pytest.raises(InputError, match="no such repository, revision or file"):
            storage.read_bytes(uri)


def test_hub_that_is_not_there_is_tried_and_reported(hub):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(StorageUnavailableError, match=r"does not answer .*refused"):
        module.at_commit("hf://acme/ads")


def test_errors_of_this_program_are_not_explained_as_those_of_the_hub():
    with pytest.raises(KeyError), module.explained("hf://acme/ads"):
        raise KeyError("a mistake of ours")
