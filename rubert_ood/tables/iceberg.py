"""A table of Iceberg, in whatever catalog pyiceberg is configured for."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from rubert_ood import storage
from rubert_ood.ads.lakehouse import s3_options
from rubert_ood.errors import SchemaError, SettingsError
from rubert_ood.tables.columns import check_names
from rubert_ood.tables.published import PublishedRun

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table, Transaction

OWN_PROPERTIES = {"gc.enabled": "false", "commit.retry.num-retries": "0"}
"""The files belong to their runs: no clean-up of the table may delete them. And a commit that
another has outrun is decided on again, by the pointer, instead of being put on top."""


class IcebergTable:
    """One table; what `look` saw is what `replace` replaces."""

    def __init__(self, output_uri: str, name: str, catalog: str) -> None:
        """Name a table of a catalog that pyiceberg's own configuration describes.

        SettingsError says what that lacks.
        """
        from pyiceberg.catalog import load_catalog
        from pyiceberg.utils.config import Config

        given = Config().get_catalog_config(catalog) or {}
        options = s3_options("s3.") if storage.is_s3(output_uri) else {}
        self._name = name
        try:
            self._catalog: Catalog = load_catalog(catalog, **{**options, **given})
        except (
            ValueError,
            ImportError,
        ) as error:  # of the configuration: no file was read
            raise SettingsError(
                f"the configuration of catalog {catalog!r} is wrong: {error}"
            ) from error
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
        _check_unpartitioned(table)
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

    def _create(self, schema: pa.Schema) -> None:
        namespace = self._name.rpartition(".")[0]
        self._catalog.create_namespace_if_not_exists(namespace)
        self._catalog.create_table_if_not_exists(
            self._name, schema=schema, properties=OWN_PROPERTIES
        )

    def _widen(self, change: "Transaction", schema: pa.Schema) -> None:
        """Add the columns that the table lacks, and widen numbers; none is dropped."""
        from pyiceberg.exceptions import ValidationError

        with change.update_schema() as update:
            for field in schema:
                try:
                    update.union_by_name(pa.schema([field]))
                except (ValidationError, ValueError) as error:  # of types alone
                    raise SchemaError(
                        f"{error}. Drop column {field.name!r} from the"
                        " table, or choose another table"
                    ) from error
        _check_fits(change.table_metadata.schema(), schema)

    def _fill(self, change: "Transaction", run: PublishedRun) -> None:
        from pyiceberg.expressions import AlwaysTrue

        uris = [storage.join(run.manifest.run_uri, file.path) for file in run.files]
        if self._table is not None and self._table.current_snapshot() is not None:
            with (
                warnings.catch_warnings()
            ):  # of a run without rows there is nothing to delete
                warnings.simplefilter("ignore", UserWarning)
                change.delete(AlwaysTrue(), snapshot_properties=run.marks)
        change.add_files(
            [_location(uri) for uri in uris],
            snapshot_properties=run.marks,
            check_duplicate_files=False,
        )


def _check_unpartitioned(table: "Table") -> None:
    """Raise SchemaError for a table with partitions, which the values of files would have to be
    alike in."""
    names = ", ".join(field.name for field in table.spec().fields)
    if names:
        raise SchemaError(
            f"it is partitioned by {names}, but the files of a run are not."
            " Use another table"
        )


def _check_fits(there: "Schema", run: pa.Schema) -> None:
    """Raise SchemaError for columns of a widened table that are twins of others, or required and
    lacking in the run."""
    from pyiceberg.io.pyarrow import pyarrow_to_schema
    from pyiceberg.schema import index_by_id, index_by_name

    check_names(there.column_names)
    here = index_by_name(pyarrow_to_schema(run, name_mapping=there.name_mapping))
    for field_id, field in index_by_id(there).items():
        name = there.find_column_name(field_id) or field.name
        above = name.rpartition(".")[0]
        if field.required and name not in here and (not above or above in here):
            raise SchemaError(
                f"its column {name!r} is required, but the run lacks it."
                " Make it optional, or choose another table"
            )


def _location(uri: str) -> str:
    """Return a URI as every engine understands it."""
    if storage.is_s3(uri):
        return f"s3://{uri.partition('://')[2]}"
    return f"file://{uri}"
