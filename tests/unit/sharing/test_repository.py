"""A repository on a hub of this machine: what a commit leaves there, and what is refused."""

import pytest

from rubert_ood.bundle import derive_bundle
from rubert_ood.errors import OutputError, SettingsError, StorageUnavailableError
from rubert_ood.sharing.content import content_of
from rubert_ood.sharing.repository import Repository
from tests.hub_server import READER


def _push(
    bundle, repo_id: str = "acme/ads", *, public=False, revision="main", page="page\n"
):
    repository = Repository(repo_id, revision)
    found = repository.prepared(public=public)
    return repository.replace(found, content_of(bundle, page), "a message")


def test_push_to_a_new_repository_makes_it_private_with_one_commit(hub, bundle):
    oid = _push(bundle)
    repo = hub.repos["acme/ads"]
    assert repo.private
    assert repo.branches == {"main": oid}
    assert repo.commits[oid].message == "a message"
    assert len(repo.commits) == 2  # with the hub's own first one
    names = {file.name for file in content_of(bundle, "").files}
    assert set(repo.files()) == {*names, ".gitattributes"}


def test_push_of_the_same_bundle_makes_no_commit(hub, bundle):
    oid = _push(bundle)
    assert _push(bundle) == oid
    assert len(hub.repos["acme/ads"].commits) == 2


def test_push_of_another_bundle_removes_what_it_lacks_and_keeps_the_license(
    hub, bundle, tmp_path
):
    documents = {"train.html": "<p>", "README.md": "another\n"}
    larger = derive_bundle(bundle, str(tmp_path / "v2"), documents=documents)
    repo = hub.create("acme/ads", LICENSE=b"mine")
    _push(larger)
    assert {"train.html", "LICENSE"} <= set(repo.files())
    oid = _push(bundle)
    assert repo.branches["main"] == oid
    assert "train.html" not in repo.files()
    assert repo.files()["LICENSE"] == b"mine"
    assert repo.files()["README.bundle.md"] == "Карточка\n".encode()


def test_push_to_a_branch_leaves_main_as_it_is(hub, bundle):
    oid = _push(bundle, revision="night/2")
    repo = hub.repos["acme/ads"]
    assert repo.branches["night/2"] == oid
    assert set(repo.files("main")) == {".gitattributes"}


def test_push_beside_files_of_others_writes_nothing(hub, bundle):
    repo = hub.create("acme/ads", **{"train.py": b"import os\n"})
    before = repo.branches["main"]
    with pytest.raises(OutputError, match=r"acme/ads: train\.py lies there"):
        _push(bundle)
    assert repo.branches["main"] == before


def test_push_beside_a_manifest_of_another_program_writes_nothing(hub, bundle):
    repo = hub.create("acme/ads", **{"manifest.json": b'{"name": "a web page"}'})
    with pytest.raises(OutputError, match=r"manifest\.json is not of a bundle"):
        _push(bundle)
    assert len(repo.commits) == 1


@pytest.mark.parametrize("public", [False, True])
def test_push_never_changes_who_may_read(hub, bundle, public):
    repo = hub.create("acme/ads", private=public)
    words = "this repository is private" if public else "this repository is public"
    with pytest.raises(OutputError, match=words):
        _push(bundle, public=public)
    assert len(repo.commits) == 1


def test_push_while_somebody_else_commits_is_refused(hub, bundle):
    repo = hub.create("acme/ads")

    def meanwhile() -> None:
        hub.before_commit = lambda: None
        commit = type(repo.commits[repo.branches["main"]])({"LICENSE": b"new"})
        repo.add("main", commit)

    hub.before_commit = meanwhile
    with pytest.raises(OutputError, match="somebody changed the repository meanwhile"):
        _push(bundle)
    assert repo.files() == {"LICENSE": b"new"}


def test_repository_without_a_token_is_refused_before_any_request(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(SettingsError, match="Set HF_TOKEN, or log in"):
        Repository("acme/ads", "main")
    assert hub.requests == []


@pytest.mark.parametrize("there", [True, False])
def test_push_with_a_token_that_only_reads_is_one_line(hub, bundle, monkeypatch, there):
    if there:
        hub.create("acme/ads")
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(OutputError, match="the token has no right to this") as caught:
        _push(bundle)
    assert "\n" not in str(caught.value)
    assert READER not in str(caught.value)


def test_push_with_an_unknown_token_is_one_line(hub, bundle, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_somebody_elses")
    with pytest.raises(OutputError, match="the hub does not know this token"):
        _push(bundle)


@pytest.mark.parametrize("part", ["/large/", "/commit/"])
def test_push_that_the_hub_cannot_take_now_commits_nothing(
    hub, bundle, part, monkeypatch
):
    monkeypatch.setattr(
        "time.sleep", lambda _: None
    )  # huggingface_hub tries again itself
    repo = hub.create("acme/ads")
    hub.failing.append((part, 503))
    with pytest.raises(
        StorageUnavailableError, match="acme/ads@main: the hub does not answer"
    ):
        _push(bundle)
    assert len(repo.commits) == 1
