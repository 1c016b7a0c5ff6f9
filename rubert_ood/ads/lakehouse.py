"""Delta and Iceberg tables: their log says which files count; removed ones are never read.

The newest state is read, once, while planning; the plan then names files. What plain reading of
those files would get wrong (deletion vectors, renamed columns) is refused.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rubert_ood import storage
from rubert_ood.errors import InputError, RubertOodError, SettingsError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.storage.listing import FileInfo, Listing, list_below

if TYPE_CHECKING:
    from pyiceberg.schema import Schema

log = StepLog("data")

DELTA_LOG = re.compile(r"(.*)/_delta_log/[^/]*\.json")
ICEBERG_METADATA = re.compile(r"(.*)/metadata/v?(\d+)[^/]*\.metadata\.json(\.gz)?")
HUDI = re.compile(r"(.*)/\.hoodie/.*")
PARENTS_LOOKED_AT = 3


def drop_tables(listing: Listing) -> tuple[list[FileInfo], list[FileInfo]]:
    """Return the files of a listing that count, and those that the log of their table omits."""
    for file in listing.files:
        if match := HUDI.fullmatch(file.uri):
            raise InputError(
                f"{match[1]}: Hudi tables are not supported. Export the"
                " newest state as Parquet"
            )
    kept, dropped = listing.files, list[FileInfo]()
    for root, read in _tables_in(listing).items():
        inside = {file.uri: file for file in kept if file.uri.startswith(f"{root}/")}
        names = read(root)
        current = [inside[uri] if uri in inside else _single(root, uri) for uri in names]
        counted = set(names)
        left = [
            file
            for uri, file in inside.items()
            if uri not in counted and not _is_log(root, uri)
        ]
        log.info(
            f"{root}: reads the {count_of(len(current), 'file')} that the table's log"
            f" names, and leaves out {len(left):,}"
        )
        kept = [file for file in kept if not file.uri.startswith(f"{root}/")] + current
        dropped += left
    return kept, dropped


def refuse_parts_of_tables(listing: Listing) -> None:
    """Raise InputError when files of a table are named without its log."""
    known = _tables_in(listing)
    folder = listing.base
    for _ in range(PARENTS_LOOKED_AT + 1):
        if folder not in known and _is_table(folder):
            raise InputError(
                f"{listing.base}: this is a part of the table {folder}. Use"
                " that folder, whose log says which files count"
            )
        folder = folder.rpartition("/")[0]
        if not folder.removeprefix("s3:").strip("/"):
            return


def _is_table(folder: str) -> bool:
    with suppress(
        InputError
    ):  # a folder above may be closed to us: then it is none of ours
        if storage.exists(storage.join(folder, "_delta_log")):
            return True
        if storage.exists(storage.join(folder, "metadata")):
            below = list_below(storage.join(folder, "metadata"))
            return any(ICEBERG_METADATA.fullmatch(file.uri) for file in below.files)
    return False


def _tables_in(listing: Listing) -> dict[str, Callable[[str], list[str]]]:
    """Find the roots of tables, each with the function that lists its files."""
    found: dict[str, Callable[[str], list[str]]] = {}
    for file in listing.files:
        if match := DELTA_LOG.fullmatch(file.uri):
            found[match[1]] = _delta_files
        elif match := ICEBERG_METADATA.fullmatch(file.uri):
            found[match[1]] = _iceberg_files
    return found


def _is_log(root: str, uri: str) -> bool:
    return uri[len(root) + 1 :].startswith(("_delta_log/", "metadata/"))


def _single(root: str, uri: str) -> FileInfo:
    """Look a file up that lies outside the folder of its table."""
    found = list_below(uri, missing_ok=True).files
    if len(found) != 1:
        raise InputError(
            f"{root}: the table's log names {uri}, which is missing. Repair the table"
        )
    return found[0]


def _delta_files(root: str) -> list[str]:
    try:
        from deltalake import DeltaTable
    except ImportError:
        raise _lacking(root, "Delta", "delta") from None
    with _translated(root, "Delta"):
        table = DeltaTable(
            root, storage_options=s3_options("aws_") if storage.is_s3(root) else None
        )
        metadata = table.metadata()
        features = table.protocol().reader_features or []
        paths = _column(table.get_add_actions(flatten=True), "path")
        deleted = "deletionVectors" in features and _column(
            table.deletion_vectors(), "filepath"
        )
    if deleted:
        raise InputError(
            f"{root}: this Delta table has deletion vectors, which are not"
            " supported. Run REORG TABLE ... APPLY (PURGE) on it"
        )
    if metadata.configuration.get("delta.columnMapping.mode", "none") != "none":
        raise InputError(
            f"{root}: this Delta table uses column mapping, which is not"
            " supported. Export the table as Parquet"
        )
    if metadata.partition_columns:
        names = ", ".join(metadata.partition_columns)
        log.warning(
            "%s: does not read the partition columns, which are not in the files: %s",
            root,
            names,
        )
    return [_resolved(root, unquote(path)) for path in paths]


def _column(batch: object, name: str) -> list[Any]:
    import pyarrow as pa

    values: list[Any] = pa.table(batch)[name].to_pylist()
    return values


def _iceberg_files(root: str) -> list[str]:
    try:
        from pyiceberg.table import StaticTable
    except ImportError:
        raise _lacking(root, "Iceberg", "iceberg") from None
    with _translated(root, "Iceberg"):
        options = s3_options("s3.") if storage.is_s3(root) else {}
        table = StaticTable.from_metadata(_newest_metadata(root), options)
        _check_columns(root, table.metadata.schemas)
        tasks = list(table.scan().plan_files())
    for task in tasks:
        if task.delete_files:
            raise InputError(
                f"{root}: this Iceberg table has delete files, which are not"
                " supported. Run rewrite_data_files on it"
            )
        if task.file.file_format.name != "PARQUET":
            raise InputError(
                f"{root}: this Iceberg table has"
                f" {task.file.file_format.name} files, and only Parquet is"
                " supported. Rewrite the table"
            )
    return sorted({_resolved(root, task.file.file_path) for task in tasks})


def _check_columns(root: str, schemas: Sequence["Schema"]) -> None:
    """Refuse a table whose files have a column under another name, or another column under its
    name: files are read by name."""
    names: dict[int, set[str]] = {}
    ids: dict[str, set[int]] = {}
    for schema in schemas:
        for field in schema.fields:
            names.setdefault(field.field_id, set()).add(field.name)
            ids.setdefault(field.name, set()).add(field.field_id)
    renamed = [sorted(found) for found in names.values() if len(found) > 1]
    if renamed:
        raise InputError(
            f"{root}: a column of this Iceberg table was renamed"
            f" ({' to '.join(renamed[0])}), which is not supported. Rewrite"
            " the table"
        )
    added_again = [name for name, found in ids.items() if len(found) > 1]
    if added_again:
        raise InputError(
            f"{root}: column {added_again[0]!r} of this Iceberg table was dropped"
            " and added again, which is not supported. Rewrite the table"
        )


def _newest_metadata(root: str) -> str:
    """Return the metadata file of the highest version, also if no catalog has seen it yet."""
    versions = []
    for file in list_below(storage.join(root, "metadata")).files:
        if match := ICEBERG_METADATA.fullmatch(file.uri):
            versions.append((int(match[2]), file.uri))
    return max(versions)[1]


def _resolved(root: str, path: str) -> str:
    """Turn a path of a log into a URI as listings have it."""
    if path.startswith(("s3://", "s3a://")):
        return f"s3://{path.partition('://')[2]}"
    if path.startswith("file:"):
        return "/" + path.removeprefix("file:").lstrip("/")
    return path if path.startswith("/") else f"{root}/{path}"


def _lacking(root: str, kind: str, extra: str) -> SettingsError:
    return SettingsError(
        f"{root}: this {kind} table needs an extra package. Run pip install"
        f" 'rubert_ood[{extra}]'"
    )


@contextmanager
def _translated(root: str, kind: str) -> Iterator[None]:
    """Turn a failure of a table library into one line."""
    try:
        yield
    except RubertOodError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{root}: this {kind} table cannot be read ({reason}). Repair or"
            " export the table"
        ) from error


def s3_options(prefix: str) -> dict[str, str]:
    """Return what the AWS chain says, spelled for Delta (aws_) or Iceberg (s3.); never logged."""
    import botocore.session

    session = botocore.session.get_session()
    endpoint = session.create_client("s3").meta.endpoint_url
    found = {"region": session.get_config_variable("region") or "us-east-1"}
    credentials = session.get_credentials()
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        found |= {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
        }
        if frozen.token:
            found["session_token"] = frozen.token
    if prefix == "s3.":
        return {
            f"s3.{name.replace('_', '-')}": value for name, value in found.items()
        } | {"s3.endpoint": endpoint}
    http = {"aws_allow_http": "true"} if endpoint.startswith("http://") else {}
    return (
        {f"aws_{name}": value for name, value in found.items()}
        | {"aws_endpoint_url": endpoint}
        | http
    )
