"""What a repository holds of a bundle: its files byte for byte, and the page of the repository."""

import os
from dataclasses import dataclass

from rubert_ood import storage
from rubert_ood.bundle import Bundle
from rubert_ood.bundle.files import MANIFEST, Manifest, parse
from rubert_ood.errors import BundleError
from rubert_ood.storage.hub import RENAMED

PAGE = "README.md"


@dataclass(frozen=True)
class SharedFile:
    """A file of a repository, and where its bytes come from."""

    name: str
    """In the repository."""
    source: str | bytes
    """Local path, or the content."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Content:
    """Everything that a commit leaves in a repository."""

    version: str
    fingerprint: str
    files: tuple[SharedFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def content_of(bundle: Bundle, page: str) -> Content:
    """Return the files of a bundle, as its manifest lists them, and the page.

    Raises BundleError where another bundle lies there since this one was loaded.
    """
    data = storage.read_bytes(storage.join(bundle.uri, MANIFEST))
    manifest = parse(bundle.uri, MANIFEST, data, Manifest)
    if manifest.fingerprint != bundle.fingerprint:
        raise BundleError(f"{bundle.uri}: the bundle was replaced meanwhile. Start again")
    files = [_file(bundle, manifest, name) for name in sorted(manifest.files)]
    files.append(SharedFile(MANIFEST, data, len(data)))
    encoded = page.encode()
    files.append(SharedFile(PAGE, encoded, len(encoded)))
    return Content(bundle.version, bundle.fingerprint, tuple(files))


def names_in_repository(manifest: Manifest) -> list[str]:
    """Return the names that the files of a bundle have in a repository."""
    return [RENAMED.get(name, name) for name in [*manifest.files, MANIFEST]]


def _file(bundle: Bundle, manifest: Manifest, name: str) -> SharedFile:
    path = os.path.join(bundle.folder, name)
    return SharedFile(RENAMED.get(name, name), path, manifest.files[name].size)
