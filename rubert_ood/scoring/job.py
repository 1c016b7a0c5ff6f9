"""What travels through the pipeline: the job, and one shard as one row.

A shard is one row of its description and two tables as Arrow IPC bytes. So it can neither be split
nor merged on the way, and one without a scorable row still arrives. A shard that fails travels on
with its reason in `failure`, and does not stop the others; `fault` says what the driver shall make
of it:

    shard    its rows cannot be read: set it aside (or end the run, by on_bad_file)
    changed  its file is not the one that was planned: stop (or quarantine it, by on_bad_file)
    run      storage is gone: the other shards would fail as well, stop
    setup    the bundle or a setting is wrong: every start would fail as well, stop
    unknown  any other exception: try it once more, then set it aside

    encode   rows: ad_id, carried columns, status, text_index
             texts, each different one once: text_key, windows, num_tokens, is_cut
             cities: what CityCounter found, as JSON; "" if it had nothing to look at
             with report_texts, `excerpt` of each text travels to the last stage, for top_ood
    score    rows unchanged
             texts: SCORE_FIELDS, LENGTH_FIELDS, text_key, SUBHEAD_FIELDS and embedding if any
             busy_s, idle_s: what the actor spent on the shard, and how long it had waited for it
             padded_tokens: what it computed beside the tokens of the texts
    write    one Parquet part, the rejected rows, one receipt
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.errors import (
    BundleError,
    InputChangedError,
    InputError,
    RubertOodError,
    SchemaError,
    SettingsError,
)
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.settings import Precision

log = logging.getLogger(__name__)

FAULT_SHARD, FAULT_CHANGED, FAULT_UNKNOWN = "shard", "changed", "unknown"
FAULT_RUN, FAULT_SETUP = "run", "setup"


@dataclass(frozen=True)
class ScoringJob:
    """What every stage of a run needs to know; small, so that it can travel with each task."""

    run_uri: str
    run_id: str
    run_fingerprint: str
    bundle_uri: str
    bundle_fingerprint: str
    carry_columns: list[str]
    carry_schema: str
    """Of the carried columns, as `pack_schema` writes it; "" takes the types of each file."""
    embedding: bool
    use_gpu: bool
    precision: Precision
    token_budget: int
    report_texts: bool
    actors_per_node: int
    """Scoring actors that share the cores of a node."""
    runner: str
    """Token of the start that must hold the run when a part is written; "" asks for none."""

    @classmethod
    def of(
        cls, plan: Plan, *, token_budget: int, actors_per_node: int, runner: str = ""
    ) -> "ScoringJob":
        return cls(
            run_uri=plan.run_uri,
            run_id=plan.run_id,
            run_fingerprint=plan.fingerprint,
            bundle_uri=plan.bundle.uri,
            bundle_fingerprint=plan.bundle.fingerprint,
            carry_columns=plan.carry_columns,
            carry_schema=plan.carry_schema,
            embedding=plan.embedding,
            use_gpu=plan.use_gpu,
            precision=plan.precision,
            token_budget=token_budget,
            report_texts=plan.report_texts,
            actors_per_node=actors_per_node,
            runner=runner,
        )


def shard_item(shard: Shard) -> dict[str, Any]:
    """Describe a shard as the one row that enters the first stage."""
    return {
        "shard_id": shard.shard_id,
        "shard": json.dumps(asdict(shard), ensure_ascii=False),
        "started": 0.0,
        "busy_s": 0.0,
        "idle_s": 0.0,
        "padded_tokens": 0,
        "cities": "",
        "rows": b"",
        "texts": b"",
        "failure": "",
        "fault": "",
    }


def attempt(
    stage: Callable[[dict[str, Any]], dict[str, Any]], item: dict[str, Any]
) -> dict[str, Any]:
    """Run a stage on a shard that has not failed yet; a failure becomes data: through Ray it would
    lose its class."""
    if item["failure"]:
        return item
    try:
        return item | stage(item)
    except (InputError, SchemaError) as error:
        return item | {"failure": str(error), "fault": FAULT_SHARD}
    except InputChangedError as error:
        return item | {"failure": str(error), "fault": FAULT_CHANGED}
    except (BundleError, SettingsError) as error:
        return item | {"failure": str(error), "fault": FAULT_SETUP}
    except RubertOodError as error:
        return item | {"failure": str(error), "fault": FAULT_RUN}
    except Exception as error:  # the boundary of this process: the driver decides
        log.exception("shard failed")  # Ray keeps this in the log of the worker
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        return item | {"failure": reason, "fault": FAULT_UNKNOWN}


def to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


@lru_cache(maxsize=1)
def job_bundle(uri: str, fingerprint: str) -> Bundle:
    """Load the bundle of a job once per process; the driver has checked its files."""
    return load_bundle(uri, fingerprint=fingerprint)
