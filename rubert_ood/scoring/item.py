"""A shard on its way through the stages, and what becomes of it.

    encode   rows: ad_id, reason, text_index and the carried columns (`carry.NAME`), one row per ad
             texts: what `Model.reader` makes of them, each different one once; `excerpt` only with
             report_texts
             reused: the results of texts that are taken over from an earlier run; text_index counts
             them behind the texts. checks: those of texts that are scored again all the same
    score    rows, reused unchanged; texts: what `Model.score` makes of them; checks are compared
    write    one Parquet part, the rejected rows, one receipt

A shard that fails travels on with its reason, and does not stop the others; `fault` says what the
driver shall make of it:

    shard    its rows cannot be read: quarantine it (or end the run, by on_bad_file)
    changed  its file is not the one that was planned: stop (or quarantine it, by on_bad_file)
    run      storage is gone: the other shards would fail as well, stop
    setup    the bundle or a setting is wrong: every start would fail as well, stop
    stale    it has taken results over, and reuse is stopped: score it again
    unknown  any other exception: try it once more, then quarantine it
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pyarrow as pa

from rubert_ood.errors import (
    BundleError,
    InputChangedError,
    InputError,
    RubertOodError,
    SchemaError,
    SettingsError,
)
from rubert_ood.runs.plan import Shard
from rubert_ood.runs.profile import ShardProfile
from rubert_ood.runs.receipts import Timing
from rubert_ood.runs.reuse import ReuseCounts
from rubert_ood.scoring.shard_counts import NO_COUNTS, ShardCounts
from rubert_ood.traces import last_lines, said

log = logging.getLogger(__name__)

FAULT_SHARD, FAULT_CHANGED, FAULT_UNKNOWN = "shard", "changed", "unknown"
FAULT_RUN, FAULT_SETUP, FAULT_STALE = "run", "setup", "stale"
NO_TIME = Timing(started=0, busy_s=0, idle_s=0)


def _nothing() -> pa.Table:
    return pa.table({})


@dataclass(frozen=True, eq=False)
class ShardItem:
    """A shard between two stages."""

    shard: Shard
    rows: pa.Table = field(default_factory=_nothing)
    """Each column in one piece; without columns before encode, and if it failed there."""
    texts: pa.Table = field(default_factory=_nothing)
    reused: pa.Table = field(default_factory=_nothing)
    checks: pa.Table = field(default_factory=_nothing)
    """Both without columns where the run reuses nothing."""
    reuse: ReuseCounts = field(default_factory=ReuseCounts)
    mismatch: str = ""
    """In what results of the index are not those of the model."""
    timing: Timing = NO_TIME
    profile: ShardProfile = field(default_factory=ShardProfile)
    """What is known of it so far."""
    counts: ShardCounts = NO_COUNTS
    """Known when its receipt is."""
    failure: str = ""
    fault: str = ""
    trace: str = ""
    """Where an exception came from: the last lines of its stack trace, without data."""


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard."""

    shard_id: str
    failure: str = ""
    """Why it has no part; "" if it has one, and its receipt."""
    fault: str = ""
    trace: str = ""
    """The last lines of a stack trace, without data, where an exception of no kind of ours came."""
    counts: ShardCounts = field(default=NO_COUNTS, compare=False)


def attempt(stage: Callable[[ShardItem], ShardItem], item: ShardItem) -> ShardItem:
    """Run a stage on a shard that has not failed yet; a failure becomes data: through Ray it would
    lose its class."""
    if item.failure:
        return item
    try:
        return stage(item)
    except (InputError, SchemaError) as error:
        return _failed(item, error, FAULT_SHARD)
    except InputChangedError as error:
        return _failed(item, error, FAULT_CHANGED)
    except (BundleError, SettingsError) as error:
        return _failed(item, error, FAULT_SETUP)
    except RubertOodError as error:
        return _failed(item, error, FAULT_RUN)
    except Exception as error:  # the boundary of this process: the driver decides
        trace = "\n".join(last_lines(error))
        # Ray keeps this in the log of the worker; what the error itself says may quote an ad
        log.error("a shard failed\n%s", trace, extra={"shard": item.shard.shard_id})
        return replace(item, failure=said(error), fault=FAULT_UNKNOWN, trace=trace)


def _failed(item: ShardItem, error: RubertOodError, fault: str) -> ShardItem:
    return replace(item, failure=str(error), fault=fault)
