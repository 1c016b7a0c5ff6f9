"""Input and output must lie apart: a run may not read what a run has written."""

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase

from rubert_ood import storage
from rubert_ood.errors import SettingsError
from rubert_ood.storage.listing import list_below, literal_head


def check_apart(input_uri: str, output_uri: str) -> None:
    """Raise SettingsError when a run would read what a run has written, or write among what it
    reads."""
    source, target = _names(input_uri), _names(output_uri)
    is_literal = storage.exists(input_uri)
    if "**" in source and not is_literal:
        source = source[: source.index("**")]
    part = [*target, "run_date=2026-01-01", "run_id=x", "part.parquet"]
    if _leads_to(source, part, is_literal):
        raise SettingsError(
            f"output_uri: {output_uri} lies inside the input {input_uri}."
            " Use a folder outside of it"
        )
    base = source if is_literal else _names(literal_head(input_uri))
    is_below = len(base) > len(target) and base[: len(target)] == target
    if is_below and not (is_literal and _is_one_file(input_uri)):
        raise SettingsError(
            f"input_uri: {input_uri} lies inside the output {output_uri}."
            " Use an output outside of it"
        )


def check_links_apart(folders: Iterable[str], output_uri: str) -> None:
    """Raise SettingsError when a link below the input leads to the output, or above it.

    folders: those that are read, as they were reached.
    """
    target = _names(output_uri)
    for folder in folders:
        real = _names(folder)
        if real == folder.strip("/").split("/"):
            continue
        shorter = min(len(real), len(target))
        if real[:shorter] == target[:shorter]:
            raise SettingsError(
                f"input_uri: {folder} leads by a link to the output {output_uri}."
                " Remove the link, or use an output elsewhere"
            )


def _leads_to(source: list[str], part: list[str], is_literal: bool) -> bool:
    """Say whether a file lies in a folder, or in one that a pattern takes."""
    if len(source) > len(part):
        return False
    for name, pattern in zip(part, source, strict=False):
        is_taken = name == pattern if is_literal else fnmatchcase(name, pattern)
        if name != pattern and not is_taken:
            return False
    return True


def _is_one_file(uri: str) -> bool:
    listing = list_below(uri)
    return [file.uri for file in listing.files] == [listing.base]


def _names(uri: str) -> list[str]:
    path = uri.split("://", 1)[1] if storage.is_s3(uri) else os.path.realpath(uri)
    inner = path.strip("/")
    return inner.split("/") if inner else []
