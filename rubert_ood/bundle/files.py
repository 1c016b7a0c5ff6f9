"""The files of a bundle: written, described in its manifest, put whole, fetched, checked.

What they mean: bundle.py.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.numpy import save_file

from rubert_ood import __version__, storage
from rubert_ood.clock import utc_now
from rubert_ood.errors import BundleError, InputError
from rubert_ood.plain import printable
from rubert_ood.storage import folders

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FORMAT, STACKED, DETECTING = 3, 4, 5
"""With a stack, or another detector than Mahalanobis, it is another one: a version that knows none
would decide otherwise."""
STACK, DETECTOR = "stack.json", "detector.safetensors"
MANIFEST = "manifest.json"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
KINDS = (".json", ".safetensors", ".txt", ".model", ".md", ".html")
"""What a bundle is made of: data and pages, no code and no pickle, whatever its manifest says."""
REDIRECTIONS = ("adapter_config.json", "model.safetensors.index.json")
"""Names that make transformers read another model than model.safetensors."""


class Document(BaseModel):
    """A JSON file of a bundle, read strictly: exact types, no unknown key, every number finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )


class FileEntry(Document):
    """Digest and bytes of one file."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Origin(Document):
    """The bundle that another one was made from."""

    version: str
    fingerprint: str


class Manifest(Document):
    """manifest.json: what files there are, and a fingerprint over all of them."""

    format: int
    version: str = Field(min_length=1, max_length=255)
    created_at: str
    code_version: str
    derived_from: Origin | None = None
    fingerprint: str
    files: dict[str, FileEntry]


D = TypeVar("D", bound=BaseModel)


def put_files(
    folder: str,
    uri: str,
    *,
    derived_from: Origin | None = None,
) -> None:
    """Describe every file in the manifest, and put the folder."""
    files = {}
    for name in sorted(os.listdir(folder)):
        files[name] = _describe(os.path.join(folder, name))
    manifest = Manifest(
        format=_format_for(files),
        version=uri.rstrip("/").rpartition("/")[2],
        created_at=utc_now(),
        code_version=__version__,
        derived_from=derived_from,
        fingerprint=_fingerprint(files),
        files=files,
    )
    write_text(folder, MANIFEST, manifest.model_dump_json(indent=1, exclude_none=True))
    folders.put_folder(folder, uri, last=MANIFEST)


def _format_for(files: Collection[str]) -> int:
    if DETECTOR in files:
        return DETECTING
    return STACKED if STACK in files else FORMAT


def fetch(uri: str, manifest: Manifest) -> str:
    """Copy a bundle from S3 or the hub to this node, once; checked before it takes its place."""
    return folders.fetch_folder(
        uri,
        "bundles",
        manifest.fingerprint,
        list(manifest.files),
        lambda folder: check_files(uri, folder, manifest),
    )


def read_manifest(uri: str) -> Manifest:
    """Read and check the manifest; BundleError unless this version can read it."""
    try:
        data = storage.read_bytes(storage.join(uri, MANIFEST))
    except InputError as error:
        if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise BundleError(str(error)) from error
        raise BundleError(
            f"{uri}: no bundle is here ({error}). Use the folder of a bundle"
        ) from error
    kind = _format_of(data)
    if kind not in (FORMAT, STACKED, DETECTING):
        raise BundleError(
            f"{uri}: the bundle has format {kind!r:.40}, and this version"
            f" reads formats {FORMAT} to {DETECTING}. Use the version that wrote it, or"
            " train again"
        )
    manifest = parse(uri, MANIFEST, data, Manifest)
    for name in manifest.files:
        _check_name(uri, name)
    if _fingerprint(manifest.files) != manifest.fingerprint:
        raise BundleError(
            f"{uri}: {MANIFEST} does not match its own fingerprint. Restore"
            " it, or train again"
        )
    if manifest.version != printable(manifest.version):
        raise BundleError(
            f"{uri}: {MANIFEST}: version holds control characters. Restore"
            " it, or train again"
        )
    return manifest


def _format_of(data: bytes) -> object:
    """Return the format that a manifest names.

    For a damaged one return our own: the parser then says what is wrong.
    """
    try:
        return json.loads(data)["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return FORMAT


def _check_name(uri: str, name: str) -> None:
    if not PLAIN_NAME.fullmatch(name):
        raise BundleError(
            f"{uri}: {MANIFEST} names {name!r}, which is not a plain file"
            " name. Restore the bundle from its source"
        )
    if not name.endswith(KINDS) or name in REDIRECTIONS:
        raise BundleError(
            f"{uri}: {MANIFEST} names {name}, which no bundle may hold."
            " Restore the bundle from its source"
        )


def check_files(uri: str, folder: str, manifest: Manifest) -> None:
    """Raise BundleError unless the folder holds the files of the manifest, byte for byte, alone."""
    unlisted = sorted(set(os.listdir(folder)) - {*manifest.files, MANIFEST})
    if unlisted:
        # transformers would read some names, adapter_config.json for one, without being asked
        raise BundleError(
            f"{uri}: {printable(unlisted[0])} is not in the manifest. Remove this file"
        )
    for name, expected in manifest.files.items():
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            raise BundleError(f"{uri}: {name} is missing. Restore it, or train again")
        if os.path.getsize(path) != expected.size or _describe(path) != expected:
            raise BundleError(
                f"{uri}: {name} differs from the manifest. Restore it, or train again"
            )


def _describe(path: str) -> FileEntry:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(sha256=digest, size=os.path.getsize(path))


def _fingerprint(files: Mapping[str, FileEntry]) -> str:
    lines = "".join(f"{name} {files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def parse(
    uri: str, name: str, data: bytes, model: type[D], *, code_version: str = __version__
) -> D:
    """Read a JSON document of a bundle that `code_version` wrote.

    Raises BundleError: one line, names file and key.
    """
    try:
        json.loads(data, object_pairs_hook=_once)
        return model.model_validate_json(data, strict=True)
    except ValidationError as error:
        problems = [_in_words(problem) for problem in error.errors()]
        reason = ", ".join(problems[:3]) + (
            f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        )
    except (ValueError, RecursionError) as error:
        reason = f"it does not hold JSON ({' '.join(str(error).split())[:200]})"
    raise refusal(uri, name, reason, code_version=code_version)


def refusal(
    uri: str, name: str, reason: str, *, code_version: str = __version__
) -> BundleError:
    """Say what is wrong with a file of a bundle, and whether another version wrote it."""
    if code_version != __version__:
        writer = f"rubert_ood {printable(code_version)}"
        older = f"{writer} wrote it in a form that this version does not read"
        return BundleError(f"{uri}: {name}: {older} ({reason}). Train again")
    return BundleError(f"{uri}: {name}: {reason}. Restore it, or train again")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a key that stands in an object twice: which one counts depends on the reader."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in content if names.count(name) > 1)
        raise ValueError(f"it has the key {duplicate!r} twice")
    return content


def _in_words(problem: "ErrorDetails") -> str:
    place = printable(".".join(str(part) for part in problem["loc"]))
    if problem["type"] == "missing":
        return f"it lacks {place!r}"
    if problem["type"] == "extra_forbidden":
        return f"it has an unknown key {place!r}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message.removeprefix("Input should be ").removeprefix("Invalid JSON: ")
    if problem["type"] == "json_invalid":
        return f"it does not hold JSON ({message})"
    wanted = message if problem["type"] == "value_error" else f"expected {message}"
    got = problem["input"]
    shown = f", got {got!r:.40}" if isinstance(got, str | int | float | None) else ""
    return f"{place}: {printable(wanted + shown)}" if place else wanted


def write_arrays(folder: str, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write row by row.

    safetensors would store the bytes of another memory layout as if they were rows.
    """
    rows = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    save_file(rows, os.path.join(folder, name))


def write_json(folder: str, name: str, content: object) -> None:
    """Write UTF-8, readable; ValueError for NaN and infinities, which JSON lacks."""
    write_text(folder, name, storage.to_json(content).decode())


def write_text(folder: str, name: str, text: str) -> None:
    """Write UTF-8."""
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)
