"""Which tables follow an output, and whether they can, before hours of work."""

import re
from importlib.util import find_spec

import pyarrow as pa

from rubert_ood import storage
from rubert_ood.errors import InputError, SchemaError, SettingsError
from rubert_ood.progress import StepLog
from rubert_ood.publishing.pointer import look
from rubert_ood.runs.manifest import TableNote, find_manifest
from rubert_ood.runs.part import part_schema
from rubert_ood.runs.plan import Plan, unpack_schema
from rubert_ood.settings import TablesSettings
from rubert_ood.tables.columns import check_columns

log = StepLog("tables")

LIBRARIES = {"delta": "deltalake", "iceberg": "pyiceberg"}
"""Extra of this package, which is named as the kind of table -> what it installs."""

OF_A_URL = re.compile(r"[%?#]")


def wanted_tables(output_uri: str, settings: TablesSettings) -> list[TableNote]:
    """Return the tables that settings name."""
    wanted = []
    if settings.delta:
        wanted.append(TableNote(kind="delta", name=output_uri))
    if settings.iceberg:
        name, catalog = settings.iceberg, settings.catalog
        wanted.append(TableNote(kind="iceberg", name=name, catalog=catalog))
    return wanted


def known_tables(output_uri: str, settings: TablesSettings) -> list[TableNote]:
    """Return the tables that settings name; if they name none, those that have followed the pointer
    to the run that it names, or to the one that it left."""
    wanted = wanted_tables(output_uri, settings)
    pointer = look(output_uri).pointer
    if wanted or pointer is None:
        return wanted
    others = pointer.taken_back if pointer.rolled_back else pointer.history
    found: dict[tuple[str, str, str], TableNote] = {}
    for path in (pointer.path, *others[:1]):
        for note in _noted(storage.join(output_uri, path)):
            if note.kind == "delta":  # wherever the output was moved
                note = note.model_copy(update={"name": output_uri})
            found[note.key] = note
    return list(found.values())


def _noted(run_uri: str) -> list[TableNote]:
    try:
        manifest = find_manifest(run_uri)
    except InputError as error:
        log.warning("does not know which tables follow that run: %s", error)
        return []
    return manifest.tables if manifest else []


def check_tables(
    plan: Plan,
    settings: TablesSettings,
    *,
    subheads: bool = False,
) -> None:
    """Raise SettingsError when what a run writes cannot stand in the tables that settings name."""
    for table in wanted_tables(plan.output_uri, settings):
        check_table(plan.output_uri, table.kind)
        carried = list(unpack_schema(plan.carry_schema))
        fields = list(part_schema(carried, None, {}, subheads=subheads))
        if plan.embedding:
            fields.append(pa.field("embedding", pa.list_(pa.float16())))
        try:
            check_columns(fields)
        except SchemaError as error:
            raise SettingsError(f"tables.{table.kind}: {error}") from error


def check_table(output_uri: str, kind: str) -> None:
    """Raise SettingsError when a kind of table cannot be had over an output."""
    library = LIBRARIES[kind]
    if find_spec(library) is None:
        raise SettingsError(
            f"tables.{kind}: the package {library} is missing. Run pip"
            f" install 'rubert_ood[{kind}]'"
        )
    if OF_A_URL.search(output_uri):
        raise SettingsError(
            f"output_uri: {output_uri} holds %, ? or #, which table"
            " libraries do not read as text. Use another output_uri"
        )
