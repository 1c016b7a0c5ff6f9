"""One repository of the hub: what it holds now, and one commit that makes it hold a bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, get_token
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from rubert_ood.bundle.files import MANIFEST, read_manifest
from rubert_ood.errors import BundleError, OutputError, SettingsError
from rubert_ood.plain import printable
from rubert_ood.sharing.content import PAGE, Content, names_in_repository
from rubert_ood.storage.hub import MAIN, SCHEME, client, explained

NOT_OURS = (".gitattributes", PAGE, "LICENSE", "LICENSE.md", "LICENSE.txt")
"""What may lie beside a bundle; only the page is replaced."""


@dataclass(frozen=True)
class Found:
    """A branch of a repository as it is before the commit."""

    commit: str
    is_private: bool
    names: tuple[str, ...]


class Repository:
    """A repository and one of its branches; every failure is one line."""

    def __init__(self, repo_id: str, revision: str) -> None:
        """Raise SettingsError where the token is missing: nothing can be written without one."""
        if get_token() is None:
            raise SettingsError(
                "the hub wants a token, and it is missing. Set HF_TOKEN, or log in by"
                " `hf auth login`"
            )
        self.repo_id, self.revision = repo_id, revision
        self._api = client()

    def prepared(self, *, public: bool) -> Found:
        """Return the branch, which is created where it is missing; in a new repository too.

        Raises OutputError where the repository is public and was not meant to be, or the other way
        round: a push never changes who may read.
        """
        found = self._look()
        if found is None:
            found = self._created(public=public)
        if public and found.is_private:
            raise OutputError(
                f"{self.repo_id}: this repository is private. Make it public on the hub, or"
                " leave --public out"
            )
        if found.is_private or public:
            return found
        raise OutputError(
            f"{self.repo_id}: this repository is public. Add --public if everybody may read"
            " the bundle, or choose another one"
        )

    def replace(self, found: Found, content: Content, message: str) -> str:
        """Make the branch hold the content and nothing of an older bundle; return the commit.

        Where it holds that already, the commit is the one that it has.
        """
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(file.name, file.source) for file in content.files
        ]
        for name in self._outdated(found, content):
            operations.append(CommitOperationDelete(name))
        with self._explained():
            done = self._api.create_commit(
                self.repo_id,
                operations,
                commit_message=message,
                revision=self.revision,
                parent_commit=found.commit,
            )
        return str(done.oid)

    def _look(self) -> Found | None:
        """Return the branch; None where the repository or the branch is missing, or hidden."""
        with self._explained():
            try:
                info = self._api.repo_info(self.repo_id, revision=self.revision)
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return None
        names = tuple(file.rfilename for file in info.siblings or ())
        return Found(str(info.sha), bool(info.private), names)

    def _created(self, *, public: bool) -> Found:
        with self._explained():
            self._api.create_repo(self.repo_id, private=not public, exist_ok=True)
            if self.revision != MAIN:
                self._api.create_branch(self.repo_id, branch=self.revision, exist_ok=True)
        found = self._look()
        if found is None:
            raise OutputError(
                f"{self.repo_id}: the hub does not show the branch {self.revision}. Use"
                " a token that may read this repository"
            )
        return found

    def _outdated(self, found: Found, content: Content) -> list[str]:
        """Return the files of the bundle before that the new one lacks.

        Raises OutputError where files lie there that no bundle has brought: they are somebody's.
        """
        before = self._names_before(found)
        unknown = [name for name in found.names if name not in (*before, *NOT_OURS)]
        if unknown:
            raise OutputError(
                f"{self.repo_id}: {printable(unknown[0])} lies there, which is not of a"
                " bundle. Choose another repository, or remove what is not of a bundle"
            )
        new = {file.name for file in content.files}
        return [name for name in before if name in found.names and name not in new]

    def _names_before(self, found: Found) -> list[str]:
        if MANIFEST not in found.names:
            return []
        try:
            older = read_manifest(f"{SCHEME}{self.repo_id}@{found.commit}")
        except BundleError as error:
            raise OutputError(
                f"{self.repo_id}: its {MANIFEST} is not of a bundle that this version"
                " reads. Choose another repository"
            ) from error
        return names_in_repository(older)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with explained(f"{self.repo_id}@{self.revision}", OutputError):
            yield
