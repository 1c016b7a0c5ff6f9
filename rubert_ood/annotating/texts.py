"""The texts of chosen ads, from the input of their run: a run itself holds no texts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from rubert_ood.ads.ad_key import known_ad
from rubert_ood.ads.csv_table import is_csv
from rubert_ood.ads.schema import as_text, decoded
from rubert_ood.ads.tables import read_rows
from rubert_ood.ads.text import TextCleaner, ad_text
from rubert_ood.errors import InputChangedError, InputError
from rubert_ood.progress import Progress
from rubert_ood.runs.plan import Plan, Shard

ROLES = ("title", "description", "city")


@dataclass(frozen=True)
class AdText:
    """An ad as it is written."""

    title: str
    description: str
    city: str

    @property
    def text(self) -> str:
        """What the model reads, before it is cleaned."""
        return ad_text(self.title, self.description)


def read_texts(
    plan: Plan, wanted: Mapping[tuple[str, str], object], cleaner: TextCleaner
) -> dict[tuple[str, str], AdText]:
    """Find the texts of ads by id and text_key, shard by shard; those that are not found are left
    out.

    `cleaner` is that of the bundle: by its text_key a text is known to be the one that was scored.
    Raises InputError for a file that is gone or was changed since.
    """
    ids = pa.array(sorted({ad_id for ad_id, _ in wanted}), pa.string())
    found = dict[tuple[str, str], AdText]()
    progress = Progress("texts", plan.num_rows, "ads")
    for shard in _spans(plan):
        for ad_id, ad in _read(shard, ids):
            key = ad_id, known_ad(ad.text, cleaner).key
            if key in wanted:
                found.setdefault(key, ad)
        if len(found) == len(wanted):
            break
        progress.add(shard.num_rows)
    return found


def _spans(plan: Plan) -> Iterator[Shard]:
    """Yield the shards; those of a CSV file as one, since it is read through each time."""
    last: Shard | None = None
    for shard in plan.shards:
        joins = last is not None and last.uri == shard.uri and is_csv(shard.uri)
        if last is not None and joins:
            last = replace(last, stop=max(last.stop, shard.stop))
            continue
        if last is not None:
            yield last
        last = shard
    if last is not None:
        yield last


def _read(shard: Shard, ids: pa.Array) -> Iterator[tuple[str, AdText]]:
    """Yield the ads of a shard whose ids are among those."""
    id_column = shard.columns["ad_id"]
    ids_n = as_text(_columns(shard, [id_column])[id_column])
    rows = pc.indices_nonzero(pc.is_in(ids_n, value_set=ids))
    if not len(rows):
        return
    columns = {role: shard.columns[role] for role in ROLES if role in shard.columns}
    table = _columns(shard, list(dict.fromkeys(columns.values()))).take(rows)
    texts = {}
    for role in ROLES:
        absent = [None] * len(rows)
        values = decoded(as_text(table[columns[role]])) if role in columns else absent
        texts[role] = [value if isinstance(value, str) else "" for value in values]
    chosen = ids_n.take(rows).to_pylist()
    for ad_id, *ad in zip(chosen, *texts.values(), strict=True):
        yield ad_id, AdText(*ad)


def _columns(shard: Shard, names: list[str]) -> pa.Table:
    try:
        return read_rows(
            shard.uri,
            names,
            start=shard.start,
            stop=shard.stop,
            version=shard.version,
            delimiter=shard.delimiter,
        )
    except InputChangedError as error:
        raise InputError(
            f"{shard.uri}: this file changed after the run was scored, so its"
            " texts are not those of the run. Use a newer run"
        ) from error
