"""A run folder, for those who read what the nightly job wrote."""

import hashlib
import io
import os
from collections.abc import Iterable, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import storage
from rubert_ood.credentials import shown
from rubert_ood.errors import InputError, SchemaError, SettingsError, VerificationError
from rubert_ood.runs.manifest import Manifest, read_manifest, report_uri


class Run:
    """A run by its folder, OUTPUT/run_date=.../run_id=...; it is read when something is asked."""

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self.uri = storage.absolute(uri)

    def __repr__(self) -> str:
        return f"Run({self.uri!r})"

    @property
    def manifest(self) -> Manifest:
        """The manifest of the run, read now. Raises InputError when it is missing."""
        return read_manifest(self.uri)

    @property
    def report_uri(self) -> str:
        """The page for people."""
        return report_uri(self.uri)

    def to_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the scored ads; some columns, or all. They come in the order of the input, but where
        `sort_by` says otherwise within each file.

        `ad_id` is `string not null`, whatever the ids were in the input. Raises InputError where no
        shard was scored, the files are not sealed yet, or one is gone, VerificationError that names
        a file which is not as it was written, and SchemaError that names a column which the files
        lack.
        """
        names = None if columns is None else _names(columns)
        manifest = self.manifest
        if not manifest.parts_sha256:
            raise InputError(f"{self.uri}: no shard of this run was scored")
        if not manifest.files:
            raise InputError(
                f"{self.uri}: this run is not complete (outcome"
                f" {manifest.outcome}). Run its `score` command again to"
                " finish it"
            )
        tables = []
        for file in manifest.files:
            uri = storage.join(self.uri, file.path)
            tables.append(_read_file(uri, file.sha256, names))
        table = pa.concat_tables(tables)
        return table if names is None else table.select(names)

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read the scored ads as `to_table` does."""
        return self.to_table(columns).to_pandas()


def _names(columns: Sequence[str]) -> list[str]:
    """Return names of columns; SettingsError when they are something else."""
    is_list = isinstance(columns, Iterable) and not isinstance(columns, str | bytes)
    names = list(columns) if is_list else []
    if not is_list or not all(isinstance(name, str) for name in names):
        raise SettingsError(
            f"columns: {shown(columns)} is not a list of names. Use a list"
        )
    return names


def _read_file(uri: str, sha256: str, names: list[str] | None) -> pa.Table:
    """Read some columns of a file, or all; of none the ids, since a table without columns that is
    put behind another loses its rows."""
    data = storage.read_bytes(uri)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise VerificationError(
            f"{uri}: the file changed after it was written (its sha256"
            " differs from the manifest). Run `rubert-ood verify` on its"
            " run"
        )
    found = pq.read_schema(io.BytesIO(data)).names
    for name in names or []:
        if name not in found:
            raise SchemaError(
                f"{uri}: the file has no column {name!r}. Use one that it has:"
                f" {', '.join(found)}"
            )
    return pq.read_table(io.BytesIO(data), columns=["ad_id"] if names == [] else names)
