"""The index of a run, built from the files that readers take before it is published, and mended
where it is damaged: its parts may be gone by then.

It lies in `_run/reuse/`, which no reader of ads looks into. Each file is created once, by a name
that tells its content; index.json comes last.
"""

import io
import math
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from rubert_ood import storage
from rubert_ood.errors import InputError, OutputError, PartialRunError, RubertOodError
from rubert_ood.progress import Progress, StepLog
from rubert_ood.reuse.buckets import Buckets
from rubert_ood.reuse.document import (
    FORMAT,
    IndexDocument,
    IndexFile,
    document_uri,
    index_uri,
    name_of,
    parse_document,
    read_document,
    result_identity,
    sha256_of,
)
from rubert_ood.reuse.layout import RecordWriter, scored_texts
from rubert_ood.reuse.segment import write_segment
from rubert_ood.runs.ahead import map_ahead
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.part import LENGTH_FIELDS, SCORE_FIELDS, SUBHEAD_FIELDS
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.reuse import IndexName
from rubert_ood.runs.seals import DataFile
from rubert_ood.storage import folders, leftovers

log = StepLog("reuse")
FILE_BYTES = 64 * 2**20
"""Of the records in one file, about: what is in memory at a time, a few times over."""
FILES_AT_ONCE = 2
COLUMNS = [field.name for field in (*SCORE_FIELDS, *LENGTH_FIELDS, *SUBHEAD_FIELDS)]
COLUMNS += ["status", "text_key", "scored_in", "embedding"]
"""What of a file goes into an index, as far as it is there; never a column that was carried."""
PLAIN = (RubertOodError, OSError, sqlite3.Error)
"""Errors whose words say what to do; those of others may quote a value."""
Ask = Callable[[], object]
"""Raises where this process may not write any more."""


def with_index(plan: Plan, manifest: Manifest, claim: Ask = lambda: None) -> Manifest:
    """Return the manifest of a verified run with the name of its index.

    The index is built if it is missing, damaged or of other parts. Without one the next run scores
    every text: what fails here is said, and spoils nothing. Raises PartialRunError where another
    start has claimed the run, or storage does not answer.
    """
    counts, parts = manifest.counts, manifest.parts_sha256
    if counts.rows_scored == counts.rows_empty:
        log.info("leaves no index for the next run, because no text was scored")
        return manifest.model_copy(update={"index": None})
    try:
        name = _whole_index(plan, manifest)
        if name is None:
            tables = read_files(plan, manifest.files)
            name = build_index(plan, tables, counts.unique_texts, parts, claim)
    except PartialRunError:
        raise
    except Exception as error:  # whatever it is, the run itself is whole
        name, reason = None, str(error)
        if not isinstance(error, PLAIN):
            reason = f"{plan.run_uri}: {type(error).__name__}"
        log.warning(
            "this run is complete, but leaves no index. Run `publish` on it to"
            " build one, or the next run scores every text. Reason: %s",
            reason,
        )
    return manifest.model_copy(update={"index": name})


def _whole_index(plan: Plan, manifest: Manifest) -> IndexName | None:
    """Return the index that is there; None if it is not the one that the manifest names, or if a
    file of it is not as index.json says."""
    data = storage.read_optional(document_uri(plan.run_uri))
    if data is None:
        return None
    try:
        document = parse_document(plan.run_uri, data)
        if document.parts != manifest.parts_sha256:
            return None
        found = name_of(document, data)
        if manifest.index:
            _check_named(plan.run_uri, found.sha256, manifest.index)
        check_files(plan.run_uri, document)
    except InputError as error:
        log.warning("builds the index again, because %s", error)
        return None
    return found


def check_files(run_uri: str, document: IndexDocument) -> None:
    """Raise InputError that names a file of an index which is gone or damaged."""
    for file in document.files:
        uri = storage.join(index_uri(run_uri), file.name)
        if sha256_of(storage.read_bytes(uri)) != file.sha256:
            raise InputError(f"{uri}: it is damaged (its sha256 differs from index.json)")


def check_index(run_uri: str, name: IndexName) -> None:
    """Raise InputError unless the index of a run is the one that its manifest names."""
    document, sha256 = read_document(run_uri)
    _check_named(run_uri, sha256, name)
    check_files(run_uri, document)


def _check_named(run_uri: str, sha256: str, name: IndexName) -> None:
    if sha256 != name.sha256:
        uri = document_uri(run_uri)
        raise InputError(f"{uri}: it is damaged (its sha256 differs from the manifest)")


def read_files(plan: Plan, files: Sequence[DataFile]) -> Iterator[pa.Table]:
    """Yield COLUMNS of the files of a run, row group by row group; few files are in memory.

    A column of that name which the input had, and the run only carries, is not the model's.
    """
    columns = [name for name in COLUMNS if name not in plan.carry_columns]
    progress = Progress("index", sum(file.rows for file in files), "ads")

    def read(file: DataFile) -> bytes:
        return storage.read_bytes(storage.join(plan.run_uri, file.path))

    for data in map_ahead(read, files, at_once=FILES_AT_ONCE):
        parquet = pq.ParquetFile(io.BytesIO(data))
        for number in range(parquet.num_row_groups):
            rows = parquet.read_row_group(number, columns, use_threads=False)
            yield rows
            progress.add(rows.num_rows)


def build_index(
    plan: Plan, tables: Iterable[pa.Table], num_texts: int, parts: str, claim: Ask
) -> IndexName:
    """Write the index of the texts that were scored in some rows; num_texts of them, about.

    Its files are sorted on the local disk. Raises OutputError, InputError and OSError.
    """
    with _own_folder() as folder:
        writer: RecordWriter | None = None
        buckets: Buckets | None = None
        for rows in tables:
            texts = scored_texts(rows, plan.run_id)
            if not texts.num_rows:
                continue
            if writer is None or buckets is None:
                writer = RecordWriter(texts)
                num_bytes = num_texts * writer.dtype.itemsize
                count = max(1, math.ceil(num_bytes / FILE_BYTES))
                buckets = Buckets(folder, writer.dtype, count)
            buckets.add(*writer.records(texts))
        if writer is None or buckets is None:
            raise InputError(
                f"{plan.run_uri}: no text was scored, so there is nothing to index"
            )
        files, num_written = [], 0
        for number, (ids_T, records_T) in enumerate(buckets.sorted()):
            path = os.path.join(folder, "segment")
            write_segment(path, ids_T, records_T)
            num_written += len(ids_T)
            files.append(_put_file(plan.run_uri, number, path, claim))
    document = IndexDocument(
        format=FORMAT,
        run_id=plan.run_id,
        identity=result_identity(plan),
        parts=parts,
        layout=writer.layout(),
        texts=num_written,
        files=files,
    )
    data = storage.to_json(document)
    _settle(document_uri(plan.run_uri), data, claim)
    log.info(f"leaves an index of {num_written:,} texts for the next run")
    return name_of(document, data)


@contextmanager
def _own_folder() -> Iterator[str]:
    """Make a folder on the local disk; that of a killed process is removed by the next one."""
    parent = os.path.join(folders.private_cache(), "building")
    os.makedirs(parent, exist_ok=True)
    leftovers.remove_leftovers(parent)
    folder = os.path.join(parent, leftovers.staged_folder_name())
    os.mkdir(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_file(run_uri: str, number: int, path: str, claim: Ask) -> IndexFile:
    with open(path, "rb") as file:
        data = file.read()
    os.unlink(path)
    sha256 = sha256_of(data)
    name = f"texts-{number:04d}-{sha256[:16]}.sqlite"
    _settle(storage.join(index_uri(run_uri), name), data, claim)
    return IndexFile(name=name, sha256=sha256, size=len(data))


def _settle(uri: str, data: bytes, claim: Ask) -> None:
    """Create or replace an object, and check the claim before each put."""
    claim()
    if storage.create_bytes(uri, data):
        return
    found, version = storage.read_versioned(uri)
    if found == data:
        return
    claim()
    if not storage.swap_bytes(uri, data, version) and storage.read_optional(uri) != data:
        raise OutputError(f"{uri}: another process writes this file too. Start again")
