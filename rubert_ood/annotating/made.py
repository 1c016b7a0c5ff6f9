"""An export put together: its record, from what was chosen and what was passed over."""

import hashlib
import math
from uuid import uuid4

from rubert_ood import __version__
from rubert_ood.annotating.choose import Candidate, Choice, Chosen
from rubert_ood.annotating.document import Export, Task
from rubert_ood.annotating.pools import Pools
from rubert_ood.bundle import Bundle
from rubert_ood.clock import utc_now
from rubert_ood.runs.manifest import Manifest

KEY_BYTES = 8


def new_name() -> str:
    """Return a name for an export that no other one has: UTC time and a random number."""
    moment = utc_now().partition("+")[0].replace(":", "")
    return f"{moment}-{uuid4().hex[:6]}"


def make_export(
    name: str,
    manifest: Manifest,
    bundle: Bundle,
    pools: Pools,
    choice: Choice,
    num_no_text: int,
) -> Export:
    """Return the record of an export; the tasks come mixed, so that their order tells no kind."""
    ordered = sorted(choice.ads, key=lambda chosen: _mixed(chosen, name))
    tasks = [_task(number, chosen) for number, chosen in enumerate(ordered, start=1)]
    finer = bundle.subheads.heads if bundle.subheads else {}
    return Export(
        name=name,
        created_at=utc_now("milliseconds"),
        code_version=__version__,
        run_uri=manifest.run_uri,
        run_id=manifest.run_id,
        run_date=manifest.run_date,
        bundle=manifest.bundle.model_copy(update={"uri": bundle.uri}),
        labels=bundle.fitted.labels,
        sub_labels={label: head.names for label, head in finer.items()},
        num_rows=pools.num_rows,
        num_eligible=pools.num_eligible,
        num_drawn=choice.num_drawn,
        taken=dict(choice.taken),
        skipped={
            "without_text": pools.num_empty,
            "seen_before": pools.num_seen + choice.num_seen,
            "near_duplicates": choice.num_similar,
            "text_not_found": num_no_text,
        },
        tasks=tasks,
    )


def _mixed(chosen: Chosen, name: str) -> bytes:
    key = f"{name} {chosen.candidate.keys.ad}"
    return hashlib.sha256(key.encode()).digest()


def _task(number: int, chosen: Chosen) -> Task:
    candidate = chosen.candidate
    row, ad = candidate.row, candidate.ad
    return Task(
        task=number,
        key=_key(candidate),
        ad_id=candidate.ad_id,
        title=ad.title,
        description=ad.description,
        city=ad.city,
        kind=chosen.kind,
        copies=chosen.copies,
        weight=chosen.weight,
        label=_text(row["label"]),
        best=_text(row["best"]),
        confidence=_number(row["confidence"]),
        is_ood=bool(row["is_ood"]),
        ood_distance=_number(row["ood_distance"]),
        ood_p=_number(row["ood_p"]),
        sub_label=_text(row.get("sub_label")),
        sub_confidence=_number(row.get("sub_confidence")),
    )


def _key(candidate: Candidate) -> str:
    """Return what tells a task from others: the random control may draw two ads of one id."""
    words = f"{candidate.keys.ad} {candidate.keys.plain}"
    return hashlib.blake2b(words.encode(), digest_size=KEY_BYTES).hexdigest()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    if isinstance(value, float) and math.isfinite(value):
        return value
    return None
