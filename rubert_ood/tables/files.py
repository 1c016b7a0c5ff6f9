"""The data files of a run, as tables name them. The one place that knows what these are."""

from dataclasses import dataclass, replace

from rubert_ood.errors import InputError
from rubert_ood.runs.manifest import Manifest
from rubert_ood.storage.listing import list_below


@dataclass(frozen=True)
class DataFile:
    """A file that readers of a run read."""

    path: str
    """Below the run folder."""
    num_rows: int
    sha256: str
    size: int = 0
    """Bytes; 0 where the manifest does not say: see `with_sizes`."""


def data_files(manifest: Manifest) -> list[DataFile]:
    """Return the files that hold the scored rows of a run, in the order of its input."""
    return [
        DataFile(f"part-{shard.shard_id}.parquet", shard.rows_scored, shard.part_sha256)
        for shard in manifest.shards
    ]


def with_sizes(run_uri: str, files: list[DataFile]) -> list[DataFile]:
    """Look up the sizes that the manifest does not say. InputError names a file that is gone."""
    if all(file.size for file in files):
        return files
    listing = list_below(run_uri)
    sizes = {listing.inner(file.uri): file.size for file in listing.files}
    for file in files:
        if file.path not in sizes:
            raise InputError(f"{run_uri}/{file.path}: no such file")
    return [replace(file, size=sizes[file.path]) for file in files]
