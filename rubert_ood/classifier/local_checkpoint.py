"""Where the files of a checkpoint lie on this node; neither torch nor transformers is needed."""

import hashlib
import os

from rubert_ood import storage
from rubert_ood.errors import BundleError
from rubert_ood.storage import folders
from rubert_ood.storage.listing import list_below

CONFIG, WEIGHTS, ADAPTER = "config.json", "model.safetensors", "adapter_config.json"
TRAINING_STATE = (".pt", "state.json")
"""Files of a training checkpoint that only training reads."""


def local_checkpoint(uri: str) -> str:
    """Return what transformers can load; an s3:// checkpoint is copied to this node once."""
    if not storage.is_s3(uri):
        if uri.startswith(("/", ".", "~")) and not os.path.exists(uri):
            raise BundleError(
                f"{uri}: this folder does not exist. Use a hub name, a"
                " folder or an s3:// URI"
            )
        return uri
    listing = list_below(uri)
    files = []
    for file in listing.files:
        name = listing.inner(file.uri)
        if (
            "/" not in name
            and not name.startswith(("_", "."))
            and not name.endswith(TRAINING_STATE)
        ):
            files.append(file)
    if not files:
        raise BundleError(
            f"{uri}: no checkpoint is here. Use a hub name, a folder or an s3:// URI"
        )
    state = hashlib.sha256(
        "".join(f"{f.uri}{f.size}{f.version}" for f in files).encode()
    ).hexdigest()[:16]
    return folders.fetch_folder(
        uri, "checkpoints", state, [file.uri.rpartition("/")[2] for file in files]
    )
