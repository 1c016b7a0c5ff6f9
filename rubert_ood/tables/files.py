"""The files of a run, with their sizes, which tables want to know."""

from rubert_ood.errors import InputError
from rubert_ood.runs.seals import DataFile
from rubert_ood.storage.listing import list_below


def with_sizes(run_uri: str, files: list[DataFile]) -> list[DataFile]:
    """Look up the sizes that the manifest does not say. InputError names a file that is gone."""
    if all(file.bytes for file in files):
        return files
    listing = list_below(run_uri)
    sizes = {listing.inner(file.uri): file.size for file in listing.files}
    for file in files:
        if file.path not in sizes:
            raise InputError(f"{run_uri}/{file.path}: no such file")
    return [file.model_copy(update={"bytes": sizes[file.path]}) for file in files]
