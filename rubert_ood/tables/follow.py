"""Tables follow the pointer of the catalogue: one rule for publication, rollback and backfill.

A table is read before the pointer, and replaced only as it was read. So of two publishers the one
that saw an older pointer cannot put its run over the other's: its commit is refused, and it looks
again. What was interrupted is found by what the newest commit says of itself.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from rubert_ood import storage
from rubert_ood.errors import PartialRunError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import look
from rubert_ood.runs.manifest import Manifest, TableNote, revise_manifest
from rubert_ood.tables.delta import DeltaLog
from rubert_ood.tables.iceberg import IcebergTable
from rubert_ood.tables.published import PublishedRun, published_run
from rubert_ood.tables.reason import reason_of
from rubert_ood.tables.wanted import check_table

log = StepLog("tables")

ATTEMPTS = 10
"""Looks at a table; three do where nobody else writes: make it, fill it, see that it is so."""
RUST = "pyo3_runtime"
"""Module of PanicException, which derives from BaseException and cannot be imported."""
AGAIN = "The next score, publish or rollback tries again"


class Table(Protocol):
    """A table as its library sees it."""

    def look(self) -> tuple[Mapping[str, str], int | None]:
        """Return what the newest commit says of itself, and its version."""

    def replace(self, run: PublishedRun) -> bool:
        """Let the table hold this run alone if it is as it was seen; say whether it took place."""


def follow_pointer(output_uri: str, tables: Iterable[TableNote]) -> None:
    """Let each table hold the run that the pointer names, and note in its manifest what came of it.

    A table that fails is one line in the log. Nothing happens before the first publication.
    """
    for table in tables:
        try:
            run, version = _settle(output_uri, table)
        except BaseException as error:
            if not _is_a_failure(error):
                raise
            _note_failure(output_uri, table, error)
            continue
        if run is not None:
            changes = {"version": version, "error": ""}
            _note(run.manifest.run_uri, table.model_copy(update=changes))


def _is_a_failure(error: BaseException) -> bool:
    """Tell failures of a catalog, store or library (Rust panics included) from orders to stop."""
    return isinstance(error, Exception) or type(error).__module__ == RUST


def _settle(output_uri: str, note: TableNote) -> tuple[PublishedRun | None, int | None]:
    """Replace what a table holds until it is what the pointer names; return that, and its
    version."""
    table, run = _open(output_uri, note), None
    for _ in range(ATTEMPTS):
        marks, version = table.look()
        run = published_run(output_uri, run)  # after the table: see above
        if run is None or marks.items() >= run.marks.items():
            return run, version
        if table.replace(run):
            name = f"{note.kind} table {note.name}"
            files = count_of(len(run.files), "file")
            log.info("%s now holds %s of %s", name, files, run.path)
    raise PartialRunError(
        f"{ATTEMPTS} commits in a row were refused, because other writers"
        " keep changing the table"
    )


def _open(output_uri: str, note: TableNote) -> Table:
    check_table(output_uri, note.kind)
    if note.kind == "delta":
        return DeltaLog(output_uri)
    return IcebergTable(output_uri, note.name, note.catalog)


def _note_failure(output_uri: str, table: TableNote, error: BaseException) -> None:
    """Say why a table does not hold the run that the pointer names."""
    reason = reason_of(error)
    name = f"{table.kind} table {table.name}"
    log.warning("%s does not hold the published run. %s. Reason: %s", name, AGAIN, reason)
    pointer = look(output_uri).pointer
    if pointer is not None:
        run_uri = storage.join(output_uri, pointer.path)
        _note(run_uri, table.model_copy(update={"version": None, "error": reason}))


def _note(run_uri: str, note: TableNote) -> None:
    """Put a note into the place of the one before; a failure keeps its version."""

    def change(found: Manifest | None) -> Manifest | None:
        if found is None:
            return None
        tables = {table.key: table for table in found.tables}
        before = tables.get(note.key)
        tables[note.key] = note
        if before is not None and note.error:
            tables[note.key] = before.model_copy(update={"error": note.error})
        return found.model_copy(update={"tables": list(tables.values())})

    revise_manifest(run_uri, change)
