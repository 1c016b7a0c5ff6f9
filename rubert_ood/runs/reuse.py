"""What the records of a run say of reuse: the run that is reused, what came of it, its end, and the
index that a run leaves for later ones."""

from pydantic import Field, TypeAdapter

from rubert_ood import storage
from rubert_ood.runs.record import Count, PlainName, Record, parse

STOP_FILE = "reuse_stopped.json"


class ReusedRun(Record):
    """The run whose results a plan takes over."""

    run_uri: str
    run_id: PlainName
    index_sha256: str
    """Of its index.json: another index is not read."""
    check_fraction: float = Field(gt=0, le=1)
    """Share of the texts found there that are scored again and compared."""


class IndexName(Record):
    """The index of a run, as its manifest names it."""

    sha256: str
    """Of its index.json, which has those of the other files."""
    texts: Count
    size: Count
    """Bytes of all its files."""


class ReuseCounts(Record):
    """Different texts of a shard by where their results come from; older receipts do not say."""

    texts_scored: Count = 0
    texts_reused: Count = 0
    texts_checked: Count = 0
    """Found in the index, scored again and compared; they are among those scored."""
    texts_mismatched: Count = 0
    """Of those; a shard that has some is scored again as a whole."""
    without_index: bool = False
    """Whether an index was planned and could not be read."""


class ReuseStop(Record):
    """Why nothing is taken over any more: a result was not what the model says now."""

    shard_id: PlainName
    reused_uri: str
    texts_checked: Count
    texts_mismatched: Count
    reason: str


STOP = TypeAdapter(ReuseStop)


def stop_reuse(run_uri: str, stop: ReuseStop) -> None:
    """End reuse for a run, once: a record that is there stays."""
    storage.create_bytes(_uri(run_uri), storage.to_json(stop))


def find_stop(run_uri: str) -> ReuseStop | None:
    """Return why reuse has ended for a run, or None while it has not."""
    data = storage.read_optional(_uri(run_uri))
    return None if data is None else parse(_uri(run_uri), data, STOP)


def _uri(run_uri: str) -> str:
    return storage.join(run_uri, "_run", STOP_FILE)
