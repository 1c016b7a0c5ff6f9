"""Sealed files: what readers take. Consecutive parts are sealed into one file of readable size.

Which shards a file holds is fixed before the first one is written, in a layout that is created
once: so every start gives the same rows to the same name, and a put that arrives late adds no file.
A file is done when its seal is there; the seal is put after the file, and says what it was sealed
from.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

from pydantic import Field, TypeAdapter

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.runs.plan import Plan, Shard, digest
from rubert_ood.runs.receipts import STORAGE_THREADS, Receipt
from rubert_ood.runs.record import RESTORE, Count, Record, RelativePath, parse

FORMAT = 1
SEALS, LAYOUT_FILE = "seals", "layout.json"


class DataFile(Record):
    """A file that readers take."""

    path: RelativePath
    """Below the run folder."""
    sha256: str
    rows: Count
    bytes: Count = 0


class Seal(DataFile):
    """What a sealed file is, and what it was sealed from."""

    format: int = FORMAT
    fingerprint: str
    """Of the run."""
    start: Count
    stop: Count
    """Shards [start, stop) of the plan; those without a receipt are not in it."""
    ids_out: Count
    """Digest of its ad ids, the sum of those of its parts."""
    parts: str
    """Digest of the ids and sha256 of its parts."""

    @property
    def data_file(self) -> DataFile:
        """What the manifest repeats of it."""
        return DataFile(
            path=self.path, sha256=self.sha256, rows=self.rows, bytes=self.bytes
        )


class Layout(Record):
    """Which shards go into which file."""

    format: int = FORMAT
    fingerprint: str
    starts: list[Count] = Field(min_length=1)
    """Of each file its first shard in the plan, ascending from 0."""


LAYOUT, SEAL = TypeAdapter(Layout), TypeAdapter(Seal)


@dataclass(frozen=True)
class Group:
    """The parts of one sealed file, in the order of the plan."""

    path: str
    """Of the file, below the run folder."""
    start: int
    stop: int
    """Shards [start, stop) of the plan."""
    places: list[int]
    """In the plan, of the shards that have a receipt."""
    shards: list[Shard]
    """One for each place."""
    num_rows: int
    """Of all parts."""
    parts: str
    """Digest of the parts, as the seal has it."""
    by_id: Mapping[str, Receipt]
    """Receipts of these shards, and maybe of others: see `loaded`."""

    @property
    def receipts(self) -> list[Receipt]:
        """Those of the shards."""
        return [self.by_id[shard.shard_id] for shard in self.shards]

    def loaded(self) -> Self:
        """Return it with its own receipts in memory, and no others: for a thread or a task."""
        own = {receipt.shard_id: receipt for receipt in self.receipts}
        return replace(self, by_id=own)


def layout_uri(run_uri: str) -> str:
    """Return where the layout of a run lies."""
    return storage.join(run_uri, "_run", LAYOUT_FILE)


def seal_uri(run_uri: str, path: str) -> str:
    """Return where the seal of a file lies."""
    name = path.removesuffix(".parquet")
    return storage.join(run_uri, "_run", SEALS, f"{name}.json")


def find_layout(plan: Plan) -> Layout | None:
    """Return the layout of a run, or None while it has none of this fingerprint; InputError when it
    is damaged."""
    uri = layout_uri(plan.run_uri)
    data = storage.read_optional(uri)
    found = None if data is None else parse(uri, data, LAYOUT)
    if found is None or found.fingerprint != plan.fingerprint:
        return None
    starts = found.starts
    if starts[0] or starts != sorted(set(starts)) or starts[-1] >= len(plan.shards):
        raise InputError(
            f"{uri}: the file is damaged (starts must be shards of the plan,"
            f" ascending from 0). {RESTORE}"
        )
    return found


def find_seal(plan: Plan, path: str) -> Seal | None:
    """Return the seal of a file, or None while it has none of this fingerprint."""
    uri = seal_uri(plan.run_uri, path)
    data = storage.read_optional(uri)
    found = None if data is None else parse(uri, data, SEAL)
    return found if found and found.fingerprint == plan.fingerprint else None


def group_parts(
    plan: Plan, receipts: Mapping[str, Receipt], layout: Layout
) -> list[Group]:
    """Return the parts of each file, without files whose shards are all quarantined. No receipt is
    kept: half a million do not fit into memory."""
    num_files = len(layout.starts)
    stops = [*layout.starts[1:], len(plan.shards)]
    groups = []
    for number in range(num_files):
        path = f"data-{number:05d}-of-{num_files:05d}.parquet"
        start, stop = layout.starts[number], stops[number]
        places = [n for n in range(start, stop) if plan.shards[n].shard_id in receipts]
        if places:
            shards = [plan.shards[place] for place in places]
            own = [receipts[shard.shard_id] for shard in shards]
            num_rows = sum(receipt.rows_scored for receipt in own)
            parts = digest([[one.shard_id, one.part_sha256] for one in own])
            group = Group(path, start, stop, places, shards, num_rows, parts, receipts)
            groups.append(group)
    return groups


def read_seals(plan: Plan, groups: list[Group]) -> dict[str, Seal]:
    """Return the seals that are there by the path of their file, if they are of these parts."""

    def find(group: Group) -> Seal | None:
        return find_seal(plan, group.path)

    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        found = list(pool.map(find, groups))
    seals = {}
    for group, seal in zip(groups, found, strict=True):
        if seal and (seal.path, seal.parts) == (group.path, group.parts):
            seals[group.path] = seal
    return seals
