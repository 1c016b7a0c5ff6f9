"""A table of Iceberg, in whatever catalog pyiceberg is configured for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rubert_ood import storage
from rubert_ood.ads.lakehouse import s3_options
from rubert_ood.errors import SchemaError
from rubert_ood.tables.published import PublishedRun

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table, Transaction

OWN_PROPERTIES = {"gc.enabled": "false", "commit.retry.num-retries": "0"}
"""The files belong to their runs: no clean-up of the table may delete them. And a commit that
another has outrun is decided on again, by the pointer, instead of being put on top."""


class IcebergTable:
    """One table; what `look` saw is what `replace` replaces."""

    def __init__(self, output_uri: str, name: str, catalog: str) -> None:
        """Name a table of a catalog that pyiceberg's own configuration describes."""
        from pyiceberg.catalog import load_catalog
        from pyiceberg.utils.config import Config

        given = Config().get_catalog_config(catalog) or {}
        options = s3_options("s3.") if storage.is_s3(output_uri) else {}
        self._name = name
        self._catalog: Catalog = load_catalog(catalog, **{**options, **given})
        self._table: Table | None = None

    def look(self) -> tuple[Mapping[str, str], int | None]:
        """Read the newest state; return what its commit says of itself, and the snapshot's id."""
        is_there = self._catalog.table_exists(self._name)
        self._table = self._catalog.load_table(self._name) if is_there else None
        snapshot = self._table.current_snapshot() if self._table else None
        if snapshot is None or snapshot.summary is None:
            return {}, None
        return snapshot.summary.additional_properties, snapshot.snapshot_id

    def replace(self, run: PublishedRun) -> bool:
        """Let the table hold this run and nothing else, in one commit; say whether it took place.

        It does not when the table is not as it was seen. Then, and after a table was made for the
        run, the caller looks again.
        """
        from pyiceberg.exceptions import CommitFailedException

        table = self._table
        if table is None:
            self._create(run.schema)
            return False
        try:
            with table.transaction() as change:
                if not OWN_PROPERTIES.items() <= table.properties.items():
                    change.set_properties(OWN_PROPERTIES)
                    return False
                self._widen(change, run.schema)
                self._fill(change, run)
        except CommitFailedException:
            return False
        return True

    def _create(self, schema: "pa.Schema") -> None:
        namespace = self._name.rpartition(".")[0]
        self._catalog.create_namespace_if_not_exists(namespace)
        self._catalog.create_table_if_not_exists(
            self._name, schema=schema, properties=OWN_PROPERTIES
        )

    def _widen(self, change: "Transaction", schema: "pa.Schema") -> None:
        """Add the columns that the table lacks, and widen numbers; none is dropped."""
        from pyiceberg.exceptions import ValidationError

        try:
            with change.update_schema() as update:
                update.union_by_name(schema)
        except ValidationError as error:
            raise SchemaError(
                f"{error}; drop that column from the table, or name another table"
            ) from error

    def _fill(self, change: "Transaction", run: PublishedRun) -> None:
        from pyiceberg.expressions import AlwaysTrue

        uris = [storage.join(run.manifest.run_uri, file.path) for file in run.files]
        if self._table is not None and self._table.current_snapshot() is not None:
            change.delete(AlwaysTrue(), snapshot_properties=run.marks)
        change.add_files(
            [_location(uri) for uri in uris],
            snapshot_properties=run.marks,
            check_duplicate_files=False,
        )


def _location(uri: str) -> str:
    """Return a URI as every engine understands it."""
    if storage.is_s3(uri):
        return f"s3://{uri.partition('://')[2]}"
    return f"file://{uri}"
