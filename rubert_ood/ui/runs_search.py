"""The ads of a run: one by its id, some by what was decided, and one ad over many runs.

DuckDB reads the Parquet files of the run row group by row group and stops when a page is full, so
memory does not grow with the run; nothing is fetched from the network but the files.
"""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import duckdb
from pydantic import BaseModel, ConfigDict, Field

from rubert_ood import storage
from rubert_ood.errors import InputError, RubertOodError
from rubert_ood.publishing.pointer import read_pointer
from rubert_ood.runs.manifest import Manifest, find_manifest, read_manifest
from rubert_ood.storage.listing import list_folders

PAGE_ROWS = 25
MAX_RUNS = 30
"""Runs that the history of an ad looks at, newest first."""
MEMORY = "512MB"
LISTED = ("ad_id", "label", "confidence", "is_ood", "ood_distance")
OPTIONS = {
    "memory_limit": MEMORY,
    "threads": 2,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
FILES = "read_parquet(?, hive_partitioning = false)"
"""Of a run; the names of its folders are no columns."""
PUBLISHED = ("published", "rolled_back")


class Wanted(BaseModel):
    """Which ads of a run are looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ad_id: str = Field("", max_length=1_000)
    label: str = Field("", max_length=1_000)
    only: Literal["all", "ood", "in_domain"] = "all"
    below: float | None = Field(None, ge=0, le=1)
    """Confidence below which an ad is listed."""
    page: int = Field(0, ge=0, le=100_000)


@dataclass(frozen=True)
class Ad:
    """A row of the list."""

    ad_id: str
    label: str
    confidence: float | None
    is_ood: bool
    ood_distance: float | None


@dataclass(frozen=True)
class Page:
    """Some of the ads that were looked for."""

    ads: list[Ad]
    number: int
    has_more: bool


@dataclass(frozen=True)
class Past:
    """What a run said of an ad."""

    run_date: str
    run_id: str
    bundle: str
    outcome: str
    is_current: bool
    """Whether readers see this run."""
    is_this: bool
    """Whether it is the run of the page."""
    row: dict[str, object] | None
    """None: the ad is not in it."""


class RunSearch:
    """One run that was scored to its end."""

    def __init__(self, run_uri: str) -> None:
        self.manifest = _sealed(read_manifest(run_uri))

    @property
    def num_rows(self) -> int:
        """Ads of the run."""
        return sum(file.rows for file in self.manifest.files)

    @property
    def labels(self) -> list[str]:
        """The labels that occur, sorted."""
        return sorted(self.manifest.classes)

    @cached_property
    def pointed(self) -> str:
        """The path of the run that readers see, below the root; "" if there is none."""
        pointer = read_pointer(self.manifest.output_uri)
        return pointer.path if pointer else ""

    def page(self, wanted: Wanted) -> Page:
        """Return a page of the ads that are wanted, in the order of the run."""
        conditions, values = _conditions(wanted)
        rows = _query(
            self.manifest,
            f"SELECT {', '.join(LISTED)} FROM {FILES}"
            f" WHERE {conditions} LIMIT ? OFFSET ?",
            [*values, PAGE_ROWS + 1, wanted.page * PAGE_ROWS],
        )
        ads = [Ad(**row) for row in rows[:PAGE_ROWS]]  # type: ignore[arg-type]
        return Page(ads, wanted.page, len(rows) > PAGE_ROWS)

    def find(self, ad_id: str) -> dict[str, object] | None:
        """Return the row of an ad, without its embedding; None if it is not in the run."""
        return _find(self.manifest, ad_id)

    def history(self, ad_id: str) -> list[Past]:
        """Return what the newest MAX_RUNS runs of the catalogue said of an ad, newest first.

        They are those that were published, and the one of the page.
        """
        found = []
        for manifest in self._siblings():
            path = manifest.run_uri[len(manifest.output_uri) :].strip("/")
            found.append(
                Past(
                    run_date=manifest.run_date,
                    run_id=manifest.run_id,
                    bundle=manifest.bundle.version,
                    outcome=manifest.outcome,
                    is_current=path == self.pointed,
                    is_this=manifest.run_uri == self.manifest.run_uri,
                    row=_find(manifest, ad_id),
                )
            )
        return found

    def _siblings(self) -> Iterator[Manifest]:
        days = list_folders(self.manifest.output_uri)
        num_left = MAX_RUNS
        for day in sorted(days, reverse=True):
            if not day.rpartition("/")[2].startswith("run_date="):
                continue
            runs = [manifest for uri in list_folders(day) if (manifest := _manifest(uri))]
            runs.sort(key=lambda manifest: manifest.finished_at, reverse=True)
            for manifest in runs:
                is_this = manifest.run_uri == self.manifest.run_uri
                if num_left and (is_this or manifest.outcome in PUBLISHED):
                    num_left -= 1
                    yield manifest


def _manifest(run_uri: str) -> Manifest | None:
    """Return the manifest of a run whose files can be read; None for every other folder."""
    try:
        found = find_manifest(run_uri)
        return _sealed(found) if found else None
    except RubertOodError:  # damaged, or not scored to its end
        return None


def _sealed(manifest: Manifest) -> Manifest:
    if not manifest.is_whole or not manifest.files:
        raise InputError(
            f"{manifest.run_uri}: run_uri: this run has no files for readers yet (outcome"
            f" {manifest.outcome}). Finish it first"
        )
    return manifest


def _conditions(wanted: Wanted) -> tuple[str, list[object]]:
    conditions, values = ["true"], list[object]()
    if wanted.label:
        conditions.append("label = ?")
        values.append(wanted.label)
    if wanted.only != "all":
        conditions.append("is_ood" if wanted.only == "ood" else "NOT is_ood")
    if wanted.below is not None:
        conditions.append("confidence < ?")
        values.append(wanted.below)
    return " AND ".join(conditions), values


def _find(manifest: Manifest, ad_id: str) -> dict[str, object] | None:
    rows = _query(
        manifest,
        f"SELECT COLUMNS(lambda c: c <> 'embedding') FROM {FILES}"
        " WHERE ad_id = ? LIMIT 1",
        [ad_id],
    )
    return rows[0] if rows else None


def _query(manifest: Manifest, sql: str, values: list[object]) -> list[dict[str, object]]:
    uris = []
    for (
        file
    ) in manifest.files:  # DuckDB takes a path for a pattern: `x [2]` would be `x 2`
        uris.append(glob.escape(storage.join(manifest.run_uri, file.path)))
    with _connected(manifest.run_uri) as database:
        try:
            result = database.execute(sql, [uris, *values])
            names = [column[0] for column in result.description or []]
            rows = result.fetchall()
        except (duckdb.Error, OSError) as error:
            kind = type(error).__name__
            raise InputError(
                f"{manifest.run_uri}: its files cannot be read ({kind}). See"
                " `rubert-ood verify`"
            ) from error
    return [dict(zip(names, row, strict=True)) for row in rows]


@contextmanager
def _connected(uri: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config=OPTIONS) as database:  # type: ignore[arg-type]
        if storage.is_s3(uri):
            database.register_filesystem(storage.filesystem(uri)[0])
        yield database
