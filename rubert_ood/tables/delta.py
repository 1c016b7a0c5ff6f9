"""A table of Delta: its log lies in OUTPUT, beside the pointer, and names the files of runs.

The library names files by their path below the table, so the table is the whole output.
"""

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from rubert_ood import storage
from rubert_ood.ads.lakehouse import s3_options
from rubert_ood.errors import SchemaError
from rubert_ood.tables.columns import has_naive_times
from rubert_ood.tables.published import PublishedRun

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction, RemoveAction

OWN_PROPERTIES = {"delta.deletedFileRetentionDuration": "interval 520 weeks"}
"""VACUUM deletes below the folder of the table what it does not name: for ten years nothing, since
that is other runs, which `rollback` may go back to."""
NAIVE_TIMES = "timestampNtz"
APPEND_ONLY = "delta.appendOnly"
COLUMN_MAPPING = "delta.columnMapping.mode"
FOREIGN = frozenset(("deletionVectors", "columnMapping"))
"""Features that somebody else has switched on."""


class DeltaLog:
    """The table of one output; what `look` saw is what `replace` replaces."""

    def __init__(self, output_uri: str) -> None:
        """Name the output."""
        self._uri = output_uri
        self._options = s3_options("aws_") if storage.is_s3(output_uri) else None
        self._table: DeltaTable | None = None

    def look(self) -> tuple[Mapping[str, str], int | None]:
        """Read the newest state; return what its commit says of itself, and its version."""
        from deltalake import DeltaTable

        self._table = None
        if not DeltaTable.is_deltatable(self._uri, storage_options=self._options):
            return {}, None
        self._table = DeltaTable(self._uri, storage_options=self._options)
        commits = self._table.history(
            1
        )  # its version, which may be newer than the table's
        newest = commits[0] if commits else {"version": self._table.version()}
        return newest, newest["version"]

    def replace(self, run: PublishedRun) -> bool:
        """Let the table hold this run and nothing else, in one commit; say whether it took place.

        It does not when the table is not as it was seen. Then, and after the table was prepared
        for the run, the caller looks again.
        """
        from deltalake import CommitProperties
        from deltalake.exceptions import CommitFailedError

        table = self._table
        if table is None:
            self._create(run.schema)
            return False
        _check_fits(table)
        if _prepare(table, run.schema):
            return False
        present = {unquote(path) for path in _column(table, "path")}
        adds = _adds(run)
        common = present.intersection(add.path for add in adds)
        actions: list[AddAction | RemoveAction] = [*adds]
        if common:  # one commit names no file twice
            actions = [add for add in adds if add.path not in common]
            actions += _removes(present - {add.path for add in adds})
        try:
            table.create_write_transaction(
                actions,
                "append" if common else "overwrite",
                run.schema,
                commit_properties=CommitProperties(
                    custom_metadata={**run.marks}, max_commit_retries=0
                ),
            )
        except CommitFailedError:
            if self._newest_version() == table.version():  # nobody else wrote
                raise
            return False
        return True

    def _newest_version(self) -> int:
        from deltalake import DeltaTable

        return DeltaTable(self._uri, storage_options=self._options).version()

    def _create(self, schema: pa.Schema) -> None:
        from deltalake import DeltaTable, Schema

        DeltaTable.create(
            self._uri,
            Schema.from_arrow(schema),
            mode="ignore",
            configuration=OWN_PROPERTIES,
            storage_options=self._options,
        )


def _check_fits(table: "DeltaTable") -> None:
    """Raise SchemaError when files of a run cannot be in a table that somebody has made."""
    found = table.metadata()
    if (
        found.partition_columns
    ):  # readers take such a column from the log, where it is null
        names = ", ".join(found.partition_columns)
        raise SchemaError(
            f"it is partitioned by {names}, but the files of a run are not."
            " Move _delta_log away"
        )
    if found.configuration.get(APPEND_ONLY, "").lower() == "true":
        raise SchemaError(
            f"its property {APPEND_ONLY} is true, but each run replaces the"
            " one before. Unset it, or move _delta_log away"
        )
    mode = found.configuration.get(COLUMN_MAPPING, "none")
    features = {*(table.protocol().reader_features or [])}
    features |= {"columnMapping"} if mode != "none" else set()
    for name in sorted(FOREIGN & features):
        raise SchemaError(
            f"it has the feature {name}, which is not supported. Drop the"
            " feature, or move _delta_log away"
        )


def _prepare(table: "DeltaTable", schema: pa.Schema) -> bool:
    """Give the table the properties and the features that it needs; say whether it lacked some."""
    from deltalake import TableFeatures

    if not OWN_PROPERTIES.items() <= table.metadata().configuration.items():
        table.alter.set_table_properties(OWN_PROPERTIES)
        return True
    features = table.protocol().reader_features or []
    if has_naive_times(schema) and NAIVE_TIMES not in features:
        table.alter.add_feature(
            [TableFeatures.TimestampWithoutTimezone],
            allow_protocol_versions_increase=True,
        )  # a schema that names them without the feature can never be read again
        return True
    return False


def _adds(run: PublishedRun) -> list["AddAction"]:
    from deltalake.transaction import AddAction

    now_ms = int(time.time() * 1000)
    return [
        AddAction(
            path=f"{run.path}/{file.path}",
            size=file.bytes,
            partition_values={},
            modification_time=now_ms,
            data_change=True,
            stats=json.dumps({"numRecords": file.rows}),
        )
        for file in run.files
    ]


def _removes(paths: set[str]) -> list["RemoveAction"]:
    from deltalake.transaction import RemoveAction

    now_ms = int(time.time() * 1000)
    return [RemoveAction(path, True, now_ms) for path in sorted(paths)]


def _column(table: "DeltaTable", name: str) -> list[str]:
    values: list[str] = pa.table(table.get_add_actions(flatten=True))[name].to_pylist()
    return values
