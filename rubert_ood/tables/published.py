"""The run that readers see, as a table registers it."""

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.publishing.pointer import look
from rubert_ood.runs.manifest import Manifest, read_manifest
from rubert_ood.runs.plan import digest
from rubert_ood.runs.seals import DataFile
from rubert_ood.tables.columns import check_columns
from rubert_ood.tables.files import with_sizes

MARK = "rubert_ood."
"""What the properties begin with that a commit of ours carries."""


@dataclass(frozen=True)
class PublishedRun:
    """The run that the pointer of a catalogue names."""

    path: str
    """Below OUTPUT, as the pointer has it."""
    manifest: Manifest

    @cached_property
    def marks(self) -> dict[str, str]:
        """What the commit says that registers this run; another content has other marks."""
        files = self.manifest.files
        marks = {
            "run": self.path,
            "run_id": self.manifest.run_id,
            "bundle": self.manifest.bundle.fingerprint,
            "code_version": self.manifest.code_version,
            "files": digest([(file.path, file.sha256) for file in files]),
        }
        return {f"{MARK}{name}": value for name, value in marks.items()}

    @cached_property
    def files(self) -> list[DataFile]:
        """Those that have rows, with their sizes."""
        files = [file for file in self.manifest.files if file.rows]
        return with_sizes(self.manifest.run_uri, files)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of its files, each of which may be null in a table: an older run may lack it.

        Raises SchemaError that names a column which tables cannot have.
        """
        names = [file.path for file in self.manifest.files]
        if not names:
            raise InputError(f"{self.manifest.run_uri}: no shard of this run was scored")
        uri = storage.join(self.manifest.run_uri, names[0])
        filesystem, path = storage.arrow_filesystem(uri)
        found = pq.read_schema(path, filesystem=filesystem)
        check_columns(found)
        return pa.schema([pa.field(field.name, field.type) for field in found])


def published_run(
    output_uri: str, known: PublishedRun | None = None
) -> PublishedRun | None:
    """Return the run that readers see now; None before the first publication.

    `known` is returned if it still is that one. Raises InputError when that run is gone.
    """
    pointer = look(output_uri).pointer
    if pointer is None:
        return None
    if known is not None and known.path == pointer.path:
        return known
    run_uri = storage.join(output_uri, pointer.path)
    return PublishedRun(pointer.path, read_manifest(run_uri))
