"""Storage: objects on disk or on S3, by URI (listing.py: lists, folders.py: whole folders)."""

from rubert_ood.storage.locks import lock_path, locked
from rubert_ood.storage.objects import (
    absolute,
    arrow_filesystem,
    create_bytes,
    exists,
    filesystem,
    ignores_conditions,
    is_s3,
    join,
    put_bytes,
    put_json,
    read_bytes,
    read_json,
    read_optional,
    read_versioned,
    swap_bytes,
    to_json,
    upload,
)

__all__ = [
    "absolute",
    "arrow_filesystem",
    "create_bytes",
    "exists",
    "filesystem",
    "ignores_conditions",
    "is_s3",
    "join",
    "lock_path",
    "locked",
    "put_bytes",
    "put_json",
    "read_bytes",
    "read_json",
    "read_optional",
    "read_versioned",
    "swap_bytes",
    "to_json",
    "upload",
]
