"""Bundles that a test changes and signs again, so that only their sense can give them away."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file


def sign(folder: Path, **changes: Any) -> None:
    """Write the manifest anew, over the files as they are now, by the rule of the bundle."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name != "manifest.json":
            data = path.read_bytes()
            files[path.name] = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "size": len(data),
            }
    lines = "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(files))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    content = manifest | {"files": files, "fingerprint": digest} | changes
    (folder / "manifest.json").write_text(json.dumps(content), "utf-8")


def edit(folder: Path, name: str, **changes: Any) -> None:
    """Change keys of a JSON file; None as the whole value deletes the key `del_KEY`."""
    path = folder / name
    content = json.loads(path.read_text("utf-8"))
    for key, value in changes.items():
        if key.startswith("del_"):
            del content[key.removeprefix("del_")]
        else:
            content[key] = value
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")


def edit_arrays(
    folder: Path, name: str, change: Callable[[dict[str, np.ndarray]], None]
) -> None:
    """Change arrays of a safetensors file in place."""
    arrays = {key: array.copy() for key, array in load_file(folder / name).items()}
    change(arrays)
    save_file(arrays, folder / name)
