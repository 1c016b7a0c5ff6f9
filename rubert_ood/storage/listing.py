"""What lies below a URI: every file of a folder or a glob, links followed, nothing left out.

A path that exists is taken literally; only another one is a glob (`*`, `?`, `[...]`, and `**` for
folders at any depth), which matches folders as well as files, on disk as on S3.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from stat import S_ISDIR, S_ISREG
from typing import Any

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.storage.retry import explained, retried

LEFT_BY_WRITERS = re.compile(
    r"_SUCCESS|_committed_.*|_started_.*|_metadata|_common_metadata|_temporary|.*\.crc|\..*"
)
"""Names that writers of tables leave behind, and hidden ones: readers everywhere pass them over."""
GLOB_CHARACTERS = re.compile(r"[*?\[]")
LEADS_NOWHERE = "this link leads nowhere. Restore its target, or remove it"
NOT_LISTED = "this folder cannot be listed. Grant access to it, or use the other folders"
NOT_A_FILE = "this is neither a file nor a folder. Remove it"
NOT_UTF8 = "this name is not UTF-8. Rename it"


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file, in one version of its content."""

    uri: str
    size: int
    """Bytes."""
    version: str
    """Another one whenever the content is: ETag on S3; size, times and inode on disk."""


@dataclass
class Listing:
    """What lies below a URI."""

    base: str
    """The folder from which names below it count: the literal head of a glob. A single file:
    itself."""
    files: list[FileInfo] = field(default_factory=list)
    """Sorted by URI, each once."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """URI of a link that leads nowhere, of a folder that may not be listed -> what is wrong."""
    loops: list[str] = field(default_factory=list)
    """Links to a folder above them; what is there has been listed."""
    folders: set[str] = field(default_factory=set)

    def inner(self, uri: str) -> str:
        """Return the path of a file below the base; "" for the base itself."""
        return uri[len(self.base) :].strip("/")


def is_left_by_writer(inner: str) -> bool:
    """Say whether a path below the base is one that readers of tables pass over."""
    return any(LEFT_BY_WRITERS.fullmatch(name) for name in inner.split("/") if name)


@retried
def list_below(uri: str, *, missing_ok: bool = False) -> Listing:
    """List a file, a folder at any depth, or a glob.

    Raises InputError when such a thing is not there, unless it may be missing, and when the folder
    itself may not be listed.
    """
    with explained(uri):
        tree: _Tree = _Objects(uri) if storage.is_s3(uri) else _Disk(uri)
        base, roots = _expanded(tree, uri)
        if not roots and not missing_ok:
            raise InputError(f"{uri}: no such file, folder or bucket")
        listing = Listing(tree.uri(base))
        for root in roots:
            tree.walk(root, listing)
    unique = {file.uri: file for file in listing.files}
    listing.files = [unique[name] for name in sorted(unique)]
    return listing


@retried
def list_folders(uri: str) -> list[str]:
    """List the folders right under a folder, sorted; InputError when it is not there."""
    fs, path = storage.filesystem(uri)
    with explained(uri):
        found = fs.ls(path, detail=True)
    names = [info["name"].rstrip("/") for info in found if info["type"] == "directory"]
    return sorted(storage.join(uri, name.rpartition("/")[2]) for name in names)


def look_at(uri: str) -> FileInfo:
    """Return what a listing says of one file; FileNotFoundError when it is not there.

    Neither a failure that may pass is tried again here, nor is one explained.
    """
    fs, path = storage.filesystem(uri)
    if not storage.is_s3(uri):
        info = os.stat(path)
        return FileInfo(path, info.st_size, local_version(info))
    found = fs.info(path)
    if found["type"] != "file":
        raise FileNotFoundError(uri)
    version = str(found.get("ETag")).strip('"')
    return FileInfo(f"s3://{path}", int(found["size"]), version)


def literal_head(uri: str) -> str:
    """Return the part of a path before the first name with a glob character in it."""
    match = GLOB_CHARACTERS.search(uri)
    return uri if match is None else uri[: match.start()].rpartition("/")[0]


def local_version(info: os.stat_result) -> str:
    """Name the state of a local file: times can be set back (`cp -p`), ctime and inode cannot."""
    return f"{info.st_size}-{info.st_mtime_ns}-{info.st_ctime_ns}-{info.st_ino}"


def _expanded(tree: "_Tree", uri: str) -> tuple[str, list[str]]:
    """Return the base of a path, and what it names: itself if it exists, else what it matches."""
    if tree.exists(tree.path):
        return tree.path, [tree.path]
    if not GLOB_CHARACTERS.search(tree.path):
        return tree.path, []
    first, *names = tree.path.split("/")
    base, heads = first, [first]
    for name in names:
        heads, literal = _matched(tree, heads, name)
        if literal and heads == [f"{base}/{name}"]:
            base = heads[0]
    if uri.endswith("/"):
        heads = [head for head in heads if tree.children(head)]
    return base, heads


def _matched(tree: "_Tree", heads: list[str], name: str) -> tuple[list[str], bool]:
    """Go one name down from each folder; say whether the name was taken literally."""
    if name == "**":
        return [folder for head in heads for folder in tree.folders(head)], False
    literal = [f"{head}/{name}" for head in heads]
    present = [path for path in literal if tree.exists(path)]
    if present or not GLOB_CHARACTERS.search(name):
        return present, True
    found = []
    for head in heads:
        for child in tree.children(head):
            hidden = child.startswith(".") and not name.startswith(".")
            if fnmatchcase(child, name) and not hidden:
                found.append(f"{head}/{child}")
    return found, False


class _Disk:
    """The local file system."""

    def __init__(self, uri: str) -> None:
        self.path = storage.filesystem(uri)[1]

    def uri(self, path: str) -> str:
        return path or "/"

    def exists(self, path: str) -> bool:
        return os.path.lexists(path or "/")

    def children(self, path: str) -> list[str]:
        return sorted(os.listdir(path or "/")) if os.path.isdir(path or "/") else []

    def folders(self, path: str) -> list[str]:
        listing = Listing(path)
        self.walk(path, listing)
        return sorted(listing.folders)

    def walk(self, path: str, listing: Listing) -> None:
        self._visit(path, listing, above=())

    def _visit(
        self, path: str, listing: Listing, above: tuple[tuple[int, int], ...]
    ) -> None:
        try:
            info = os.stat(path)
        except FileNotFoundError:
            if os.path.islink(path):  # else it was removed a moment ago: it is not there
                listing.unreadable[path] = LEADS_NOWHERE
            return
        except OSError:  # a link to itself, a folder on the way that may not be entered
            listing.unreadable[path] = (
                LEADS_NOWHERE if os.path.islink(path) else NOT_LISTED
            )
            return
        if S_ISREG(info.st_mode):
            listing.files.append(FileInfo(path, info.st_size, local_version(info)))
        elif not S_ISDIR(info.st_mode):
            listing.unreadable[path] = NOT_A_FILE
        elif (info.st_dev, info.st_ino) in above:
            listing.loops.append(path)
        else:
            listing.folders.add(path)
            self._visit_children(path, listing, (*above, (info.st_dev, info.st_ino)))

    def _visit_children(
        self, path: str, listing: Listing, above: tuple[tuple[int, int], ...]
    ) -> None:
        try:
            names = sorted(os.listdir(path))
        except PermissionError:
            if len(above) == 1:  # what the user named himself
                raise
            listing.unreadable[path] = NOT_LISTED
            return
        for name in names:
            child = f"{path.rstrip('/')}/{name}"
            shown = child.encode(errors="backslashreplace").decode()
            if shown == child:
                self._visit(child, listing, above)
            else:  # no plan, no part and no page could hold it
                listing.unreadable[shown] = NOT_UTF8


class _Objects:
    """Keys of S3, by the slashes in them."""

    def __init__(self, uri: str) -> None:
        self.fs, self.path = storage.filesystem(uri)

    def uri(self, path: str) -> str:
        return f"s3://{path}"

    def exists(self, path: str) -> bool:
        return bool(self.fs.exists(path))

    def children(self, path: str) -> list[str]:
        try:
            found = self.fs.ls(path, detail=True)
        except FileNotFoundError:
            return []
        inside = [
            info["name"].rstrip("/") for info in found if info["name"].rstrip("/") != path
        ]
        return sorted({name.rpartition("/")[2] for name in inside})

    def folders(self, path: str) -> list[str]:
        return sorted({path, *self._folders_of(self.fs.find(path), path)})

    def _folders_of(self, keys: list[str], path: str) -> Iterator[str]:
        for key in keys:
            names = key[len(path) :].strip("/").split("/")[:-1]
            for depth in range(len(names)):
                yield "/".join([path, *names[: depth + 1]])

    def walk(self, path: str, listing: Listing) -> None:
        bucket, key, _ = self.fs.split_path(path)
        num_before = len(listing.files)
        for page in self._pages(bucket, f"{key}/" if key else ""):
            for item in page.get("Contents", []):
                if not item["Key"].endswith("/"):  # what stands for a folder
                    uri = f"s3://{bucket}/{item['Key']}"
                    version = item["ETag"].strip('"')
                    listing.files.append(FileInfo(uri, item["Size"], version))
        if key and len(listing.files) == num_before:
            with suppress(FileNotFoundError):
                listing.files.append(look_at(f"s3://{path}"))

    def _pages(self, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield what S3 says of a thousand keys at a time: `find` would hold it of all of them."""
        asked = {"Bucket": bucket, "Prefix": prefix, **self.fs.req_kw}
        while True:
            page = self.fs.call_s3("list_objects_v2", **asked)
            yield page
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]


_Tree = _Disk | _Objects
