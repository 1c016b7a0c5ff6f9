"""Whoever scores a run copies its receipts into batches as it goes on (receipt_batches.py)."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rubert_ood import storage
from rubert_ood.errors import InputError
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.runs.receipt_batches import FEWEST, Copy, batch_uri, to_batch
from rubert_ood.runs.receipts import STORAGE_THREADS, is_receipt_of, receipt_uri
from rubert_ood.storage.listing import look_at
from rubert_ood.storage.retry import explained, retried

BATCH_SHARDS = 1_000
"""Neighbours in the plan whose receipts are copied into one object."""


class ReceiptLog:
    """Writes a batch when all of its shards are done."""

    def __init__(self, plan: Plan, check: Callable[[], object]) -> None:
        """`check` raises where this process may not write any more."""
        self._plan, self._check = plan, check
        self._names = dict[str, list[str]]()
        for start in range(0, len(plan.shards), BATCH_SHARDS):
            uri = batch_uri(plan.run_uri, start // BATCH_SHARDS)
            shards = plan.shards[start : start + BATCH_SHARDS]
            if len(shards) >= FEWEST:
                self._names[uri] = [shard.shard_id for shard in shards]
        self._batch_of = dict[str, str]()
        self._awaited = defaultdict[str, set[str]](set)
        self._behind = set[str]()
        """Batches that lack what was done since."""

    def fill(self, versions: Mapping[str, str], batch_of: Mapping[str, str]) -> bool:
        """Write the batches that lack receipts, though all their shards have one; say if any.

        versions: of each receipt. batch_of: the batch of each that was copied.
        """
        has_written = False
        for uri, names in self._names.items():
            lacks = any(name not in batch_of for name in names)
            if lacks and all(name in versions for name in names):
                has_written = self._write(uri) or has_written
        return has_written

    def wait_for(self, todo: Iterable[Shard]) -> None:
        """Take note of the shards that this process has before it."""
        awaited = {shard.shard_id for shard in todo}
        for uri, names in self._names.items():
            for name in awaited.intersection(names):
                self._batch_of[name] = uri
                self._awaited[uri].add(name)

    def add(self, shard_id: str) -> None:
        """Take note of a shard that has a receipt now."""
        uri = self._batch_of.get(shard_id)
        if uri is None:  # one of a few
            return
        self._behind.add(uri)
        self._awaited[uri].discard(shard_id)
        if not self._awaited[uri]:
            self._write(uri)

    def end(self) -> None:
        """Write what waits for shards that will not come."""
        for uri in sorted(self._behind):
            self._write(uri)

    def _write(self, uri: str) -> bool:
        """Copy the receipts of a batch; say whether they are enough for one."""
        self._behind.discard(uri)
        copy = partial(_copy_receipt, self._plan)
        with ThreadPoolExecutor(STORAGE_THREADS) as pool:
            found = zip(self._names[uri], pool.map(copy, self._names[uri]), strict=True)
            copies = {name: copy for name, copy in found if copy is not None}
        if len(copies) < FEWEST:
            return False
        self._put(uri, to_batch(copies, self._plan.fingerprint))
        return True

    def _put(self, uri: str, data: bytes) -> None:
        """Create a batch, or replace one that is there; one that another process wrote just now
        stays."""
        self._check()
        if storage.create_bytes(uri, data):
            return
        found, version = storage.read_versioned(uri)
        self._check()  # after the look: what a newer start writes is another version
        if found != data:
            storage.swap_bytes(uri, data, version)


def _copy_receipt(plan: Plan, shard_id: str) -> Copy | None:
    """Read a receipt of this run; None where there is none, or one that is damaged."""
    uri = receipt_uri(plan.run_uri, shard_id)
    version = _version(uri)  # before the content: a change in between is seen
    data = storage.read_optional(uri) if version else None
    if data is None:
        return None
    try:
        return Copy(version, data) if is_receipt_of(uri, data, plan.fingerprint) else None
    except InputError:  # whoever needs it will say so
        return None


@retried
def _version(uri: str) -> str:
    """Return the version of an object as a listing has it; "" where there is none."""
    with explained(uri):
        try:
            return look_at(uri).version
        except FileNotFoundError:
            return ""
