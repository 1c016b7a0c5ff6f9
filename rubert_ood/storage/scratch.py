"""A folder on the local disk, for what does not fit into memory."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from rubert_ood.errors import OutputError


@contextmanager
def scratch_folder(prefix: str, *failures: type[Exception]) -> Iterator[str]:
    """Yield a new folder, which is removed in the end.

    Raises OutputError, one line with advice, where the disk fails. `failures` are what else than
    OSError says so; their words must not quote what is written.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *failures)
    try:
        with tempfile.TemporaryDirectory(prefix=prefix) as folder:
            yield folder
    except kinds as error:
        place = os.environ.get("TMPDIR") or "/tmp"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OutputError(
            f"{place}: this folder for temporary files cannot be used ({reason}). Make"
            " room there, or set TMPDIR to another folder"
        ) from error
