"""What travels through the pipeline: the job, and one shard as one row.

A shard is one row of its description and two tables as Arrow IPC bytes. So it can neither be split nor merged on the
way, and one without a scorable row still arrives. A shard that fails for a reason that the user can mend (a damaged
file, say) travels on with that reason in `failure`: it does not stop the others.

    encode   rows: ad_id, carried columns, status, text_index    texts: text_key, ids   (each different text once)
    score    rows unchanged                                      texts: SCORE_FIELDS, num_tokens, text_key
    write    one Parquet part, the rejected rows, one receipt
"""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.scoring.plan import Plan, Shard


@dataclass(frozen=True)
class ScoringJob:
    """What every stage of a run needs to know; small, so that it can travel with each task."""

    run_uri: str
    run_id: str
    run_fingerprint: str
    bundle_uri: str
    bundle_fingerprint: str
    carry_columns: list[str]
    embedding: bool
    use_gpu: bool
    token_budget: int
    actors_per_node: int
    """Scoring actors that share the cores of a node."""

    @classmethod
    def of(cls, plan: Plan, *, token_budget: int, actors_per_node: int) -> "ScoringJob":
        return cls(
            run_uri=plan.run_uri,
            run_id=plan.run_id,
            run_fingerprint=plan.fingerprint,
            bundle_uri=plan.bundle["uri"],
            bundle_fingerprint=plan.bundle["fingerprint"],
            carry_columns=plan.carry_columns,
            embedding=plan.embedding,
            use_gpu=plan.use_gpu,
            token_budget=token_budget,
            actors_per_node=actors_per_node,
        )


def shard_item(shard: Shard) -> dict[str, Any]:
    """Describe a shard as the one row that enters the first stage."""
    return {"shard": json.dumps(asdict(shard), ensure_ascii=False)}


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
