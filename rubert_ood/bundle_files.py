"""The files of a bundle: written, described in its manifest, put whole, fetched, checked. What they mean: bundle.py."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from rubert_ood import __version__, folders, storage
from rubert_ood.errors import BundleError, InputError

FORMAT = 3
MANIFEST = "manifest.json"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def put_files(folder: str, uri: str, **origin: Any) -> None:
    """Describe every file in the manifest, and put the folder; `origin` are further fields of the manifest."""
    files = {name: _describe(os.path.join(folder, name)) for name in sorted(os.listdir(folder))}
    manifest = {
        "format": FORMAT,
        "version": uri.rstrip("/").rpartition("/")[2],
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_version": __version__,
        **origin,
        "fingerprint": _fingerprint(files),
        "files": files,
    }
    write_text(folder, MANIFEST, json.dumps(manifest, indent=1))
    folders.put_folder(folder, uri, last=MANIFEST)


def fetch(uri: str, manifest: dict[str, Any]) -> str:
    """Copy a bundle from S3 to this node, once; it is checked before it takes its place."""
    files = manifest["files"]
    return folders.fetch_folder(
        uri, "bundles", manifest["fingerprint"], list(files), lambda folder: check_files(uri, folder, files)
    )


def read_manifest(uri: str) -> dict[str, Any]:
    """Read and check the manifest. Raises BundleError when there is none, or none that this version reads."""
    try:
        manifest = json.loads(storage.read_bytes(storage.join(uri, MANIFEST)))
    except InputError as error:
        raise BundleError(f"{uri}: no bundle here ({error})") from error
    except ValueError as error:
        raise BundleError(f"{uri}: {MANIFEST} is no JSON; restore it or train again") from error
    try:
        files, kind = manifest["files"], manifest["format"]
        fingerprint = _fingerprint(files)
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{uri}: {MANIFEST} is no manifest of a bundle") from error
    if kind != FORMAT:
        raise BundleError(f"{uri}: bundle format {kind}, this version of rubert_ood reads {FORMAT}")
    for name in files:
        if not PLAIN_NAME.fullmatch(name):
            raise BundleError(f"{uri}: {MANIFEST} names {name!r}, which is no plain file name; refused")
    if fingerprint != manifest.get("fingerprint"):
        raise BundleError(f"{uri}: {MANIFEST} does not match its own fingerprint; restore it or train again")
    return manifest


def check_files(uri: str, folder: str, files: dict[str, Any]) -> None:
    """Raise BundleError unless the folder holds the files of the manifest, byte for byte, and no others."""
    unlisted = sorted(set(os.listdir(folder)) - {*files, MANIFEST})
    if unlisted:  # transformers would read some names, adapter_config.json for one, without being asked
        raise BundleError(f"{uri}: {unlisted[0]} is not in the manifest; remove it")
    for name, expected in files.items():
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            raise BundleError(f"{uri}: {name} is missing; restore it or train again")
        if _describe(path) != expected:
            raise BundleError(f"{uri}: {name} differs from the manifest; restore it or train again")


def _describe(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "size": os.path.getsize(path)}


def _fingerprint(files: Mapping[str, Mapping[str, Any]]) -> str:
    lines = "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_json(folder: str, name: str) -> Any:
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return json.load(file)


def write_arrays(folder: str, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write row by row: safetensors would store the bytes of another memory layout as if they were rows."""
    rows = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    save_file(rows, os.path.join(folder, name))


def write_json(folder: str, name: str, content: Any) -> None:
    write_text(folder, name, json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False))


def write_text(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)
