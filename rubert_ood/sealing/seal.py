"""Seal one file from its parts: read and check each part, put the file, and last its seal.

Both are created once, as parts and receipts are: a task that comes late, of a start whose claim has
ended, changes nothing that a newer start has published.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from rubert_ood import storage
from rubert_ood.errors import RubertOodError, VerificationError
from rubert_ood.runs.ahead import map_ahead
from rubert_ood.runs.check_part import check_part
from rubert_ood.runs.claim import check_claim
from rubert_ood.runs.part_counts import add_counts
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.seals import Group, Seal, find_seal, seal_uri
from rubert_ood.runs.settle import settle
from rubert_ood.sealing.rows import to_file
from rubert_ood.traces import last_lines, said

log = logging.getLogger(__name__)

PARTS_AT_ONCE = 8
"""They are small, and on S3 each takes the time of a request."""


@dataclass(frozen=True)
class SealJob:
    """What every task needs to know."""

    plan: Plan
    """Without its shards and files."""
    claim: str = ""
    """Token of the start that must have claimed the run when something is put; "" asks for
    none."""

    def check_claim(self) -> None:
        """Raise PartialRunError when another start has claimed the run."""
        if self.claim:
            check_claim(self.plan.run_uri, self.claim)


@dataclass(frozen=True)
class SealResult:
    """What became of a file."""

    path: str
    failure: str = ""
    """Why it has no seal; "" if it has one, or if parts are bad."""
    bad_parts: dict[str, str] = field(default_factory=dict)
    """Shards whose part is missing or not what its receipt says, and what is wrong."""


def seal_file(group: Group, job: SealJob) -> SealResult:
    """Seal a file; a failure becomes data: through Ray it would lose its class."""
    try:
        return SealResult(group.path, bad_parts=_seal(group, job))
    except RubertOodError as error:
        return SealResult(group.path, str(error))
    except Exception as error:  # the boundary of this process: the driver decides
        # Ray keeps this in the log of the worker; what the error itself says may quote an ad
        log.error("a file was not sealed\n%s", "\n".join(last_lines(error)))
        return SealResult(group.path, said(error))


def _seal(group: Group, job: SealJob) -> dict[str, str]:
    """Put file and seal; where parts are bad put nothing, and return what is wrong with them."""
    plan, bad = job.plan, dict[str, str]()
    own = to_file(_good_parts(group, plan, bad), plan.sort_by)
    if bad:
        return bad
    uri = storage.join(plan.run_uri, group.path)
    is_good = partial(_is_sealed, group=group, plan=plan)
    data = settle(uri, own, job.check_claim, is_good)
    seal = Seal(
        path=group.path,
        sha256=hashlib.sha256(data).hexdigest(),
        rows=group.num_rows,
        bytes=len(data),
        fingerprint=plan.fingerprint,
        start=group.start,
        stop=group.stop,
        ids_out=add_counts(group.receipts).ids_out,
        parts=group.parts,
    )
    record = storage.to_json(seal)
    settle(seal_uri(plan.run_uri, group.path), record, job.check_claim, _is_other)
    return {}


def _good_parts(group: Group, plan: Plan, bad: dict[str, str]) -> Iterator[pa.Table]:
    """Yield part after part, none any more behind a bad one; collect what is wrong in `bad`."""
    shards = group.shards

    def read(number: int) -> pa.Table | str:
        try:
            return check_part(plan, shards[number], group.by_id[shards[number].shard_id])
        except VerificationError as error:
            return str(error)

    numbers = range(len(shards))
    parts = map_ahead(read, numbers, at_once=PARTS_AT_ONCE)
    for number, part in zip(numbers, parts, strict=True):
        if isinstance(part, str):
            bad[shards[number].shard_id] = part
        elif not bad:
            yield part


def _is_sealed(data: bytes, group: Group, plan: Plan) -> bool:
    """Say whether this file has a seal, of these parts."""
    seal = find_seal(plan, group.path)
    found = (hashlib.sha256(data).hexdigest(), group.parts)
    return seal is not None and (seal.sha256, seal.parts) == found


def _is_other(_: bytes) -> bool:
    """Say of a seal that is not the same to the byte that it is of another file, or other parts."""
    return False
