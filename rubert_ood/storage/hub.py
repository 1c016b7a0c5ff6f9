"""Repositories of models on the Hugging Face hub: hf://OWNER/NAME@REVISION, only read here.

Where the hub is, and as whom to ask, is up to huggingface_hub: HF_ENDPOINT, HF_TOKEN or its own
login. `sharing/` writes what is read here.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rubert_ood.credentials import without_credentials
from rubert_ood.errors import InputError, RubertOodError, StorageUnavailableError
from rubert_ood.storage.retry import retried

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
MAIN = "main"
RENAMED = {"README.md": "README.bundle.md"}
"""README.md of a repository is its page, which people edit. That of a bundle, which has a sha256,
lies beside it."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PLACE = re.compile(
    rf"{SCHEME}(?!datasets/|spaces/|buckets/)({_NAME}/{_NAME})(?:@([^/@]+))?(?:/([^/]+))?"
)
_ANSWERS = {
    401: (
        "the hub does not know this token, or hides the repository. Set HF_TOKEN, or"
        " log in by `hf auth login`, and check the name"
    ),
    403: "the token has no right to this. Use a token with that right",
    404: (
        "the hub has no such repository, revision or file, or hides it. Check the"
        " name, and set HF_TOKEN if it is private"
    ),
    409: "the hub refuses it while something else changes. Run the same command again",
    412: "somebody changed the repository meanwhile. Run the same command again",
}
_PASSING = (408, 425, 429)
_SAID_ITSELF = (OSError, ValueError, RuntimeError)
"""Kinds of what huggingface_hub and hf_xet raise without an answer of the hub."""


@dataclass(frozen=True)
class HubPlace:
    """What a URI names; without a revision it is the branch main."""

    repo_id: str
    revision: str
    file: str


def is_hub(uri: str) -> bool:
    """Say whether a URI leads to the hub."""
    return uri.startswith(SCHEME)


def place_of(uri: str) -> HubPlace:
    """Return what a URI names; a revision may write its slashes as %2F. Raises InputError."""
    found = _PLACE.fullmatch(uri)
    if found is None:
        raise InputError(
            f"{uri}: this is not a repository of the hub. Use"
            " hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
        )
    repo_id, revision, file = found.groups()
    return HubPlace(repo_id, unquote(revision or MAIN), file or "")


def plain(uri: str) -> str:
    """Return the URI of a repository without a slash at its end; InputError for any other."""
    bare = uri.rstrip("/")
    if place_of(bare).file:
        raise InputError(f"{uri}: this is a file. Use hf://OWNER/NAME@REVISION")
    return bare


def client() -> "HfApi":
    """Return what asks the hub, without bars of progress."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


@retried
def at_commit(uri: str) -> str:
    """Return the URI of the commit that a revision names now, which stays what it is."""
    place = place_of(uri)
    with explained(uri):
        info = client().repo_info(place.repo_id, revision=place.revision)
    return f"{SCHEME}{place.repo_id}@{info.sha}"


def read_bytes(uri: str) -> bytes:
    """Return a file; InputError when there is none."""
    with tempfile.TemporaryDirectory() as folder:
        return Path(_fetched(uri, folder)).read_bytes()


def download(uri: str, local_path: str) -> None:
    """Copy a file of a repository to this disk."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(local_path)) as folder:
        os.replace(_fetched(uri, folder), local_path)


def _fetched(uri: str, folder: str) -> str:
    place = place_of(uri)
    name = RENAMED.get(place.file, place.file)
    with explained(uri):
        return client().hf_hub_download(
            place.repo_id, name, revision=place.revision, local_dir=folder
        )


@contextmanager
def explained(place: str, kind: type[RubertOodError] = InputError) -> Iterator[None]:
    """Turn what the hub or the way to it says into one line: StorageUnavailableError if it may
    pass, else `kind`."""
    try:
        yield
    except RubertOodError:
        raise
    except Exception as error:
        causes = _causes(error)
        status = _status(causes)
        is_broken = any(map(_is_connection, causes))
        if (
            status is None
            and not is_broken
            and not isinstance(error, OSError | ValueError)
        ):
            raise
        reason = without_credentials(" ".join(str(error).split()))[:300]
        if is_broken or (status is not None and (status >= 500 or status in _PASSING)):
            raise StorageUnavailableError(
                f"{place}: the hub does not answer ({_shortest(causes)})"
            ) from error
        raise kind(f"{place}: {_ANSWERS.get(status or 0, reason)}") from error


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and those it comes from."""
    found = [error]
    while (below := found[-1].__cause__ or found[-1].__context__) is not None:
        if below in found:
            break
        found.append(below)
    return found


def _status(causes: list[BaseException]) -> int | None:
    """Return the HTTP status of the first error that has an answer; None without any."""
    for error in causes:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _is_connection(error: BaseException) -> bool:
    """Say whether there was no answer at all: no network, a timeout, offline by choice."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return "TransportError" in kinds


def _shortest(causes: list[BaseException]) -> str:
    """Return what the deepest error that says something says, in at most 120 characters."""
    said = [" ".join(str(error).split()) for error in causes]
    last = [text for text in said if text][-1:]
    return without_credentials(*last)[:120] if last else type(causes[-1]).__name__
