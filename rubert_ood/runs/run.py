"""A run folder, for those who read what the nightly job wrote."""

import io
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.runs.manifest import Manifest, read_manifest
from rubert_ood.runs.plan import load_plan


class Run:
    """A run by its folder, OUTPUT/run_date=.../run_id=...; it is read when something is asked."""

    def __init__(self, uri: str) -> None:
        self.uri = storage.absolute(uri.rstrip("/"))

    def __repr__(self) -> str:
        return f"Run({self.uri!r})"

    @property
    def manifest(self) -> Manifest:
        """What became of it, as it stands there now. Raises InputError where there is none."""
        return read_manifest(self.uri)

    @property
    def report_uri(self) -> str:
        """The page for people."""
        return storage.join(self.uri, "_run", "report.html")

    def to_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read its parts: the scored ads, in the order of the input; some columns, or all.

        Raises InputError where no shard was scored, or a part is gone.
        """
        scored = {shard.shard_id for shard in self.manifest.shards}
        tables = []
        for shard in load_plan(self.uri).shards:
            if shard.shard_id in scored:
                data = storage.read_bytes(storage.join(self.uri, shard.part_name))
                names = None if columns is None else list(columns)
                tables.append(pq.read_table(io.BytesIO(data), columns=names))
        if not tables:
            raise InputError(f"{self.uri}: none of its shards was scored")
        return pa.concat_tables(tables)

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read its parts as `to_table` does."""
        return self.to_table(columns).to_pandas()
