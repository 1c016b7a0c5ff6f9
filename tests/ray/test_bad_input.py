"""Whatever the catalogue holds: each bad file and row is named with its reason, and all others are
scored."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rubert_ood.runs.part import ids_digest
from rubert_ood.settings import GateSettings, ScoreSettings
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.workflows.score import score
from tests.conftest import read_parts

WIDE_OPEN = GateSettings(
    max_error_rate=1,
    max_ood_rate=1,
    max_other_rate=1,
    max_quarantined_share=1,
    max_duplicate_rate=1,
)
ROWS = 20


@pytest.fixture(scope="module")
def ads() -> pa.Table:
    table = pa.Table.from_batches(list(generate_ads(400, seed=31)))
    return table.select(["ad_id", "title", "description"])


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none")
    return sink.getvalue().to_pybytes()


def _cast(table: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    return table.set_column(
        table.schema.get_field_index(name), name, table[name].cast(kind)
    )


def _corrupt_page(data: bytes) -> bytes:
    return data[:100] + b"\xff" * 900 + data[1000:]


def test_every_bad_file_is_named_and_every_good_row_is_scored(
    ray_local, ads, trained_bundle, tmp_path
):
    slices = iter(ads.slice(start, ROWS) for start in range(0, 400, ROWS))
    nested = pa.array([{"text": text} for text in ads["description"][:ROWS].to_pylist()])
    bad = {
        "truncated_footer": (
            _bytes(next(slices))[:-30],
            "the file cannot be read as Parquet",
        ),
        "truncated_half": (
            _bytes(next(slices))[:800],
            "the file cannot be read as Parquet",
        ),
        "corrupt_page": (
            _corrupt_page(_bytes(next(slices))),
            "the file cannot be read as Parquet",
        ),
        "no_parquet": (
            b"<html>503 Slow Down</html>" * 9,
            "the file cannot be read as Parquet",
        ),
        "no_bytes": (b"", "the file cannot be read as Parquet"),
        "no_column": (
            _bytes(next(slices).drop_columns(["description"])),
            r"no column 'description' \(setting columns",
        ),
        "wrong_type": (
            _bytes(
                next(slices).set_column(2, "description", pa.array(np.arange(ROWS) / 2))
            ),
            "column 'description' has the type double. Convert it to text",
        ),
        "nested": (
            _bytes(next(slices).set_column(2, "description", nested)),
            r"column 'description' has the type struct<",
        ),
        "list_ids": (
            _bytes(
                next(slices).set_column(0, "ad_id", pa.array([[n] for n in range(ROWS)]))
            ),
            "column 'ad_id' has the type list<",
        ),
    }
    good = {
        "plain": next(slices),
        "large_string": _cast(
            _cast(next(slices), "description", pa.large_string()),
            "ad_id",
            pa.large_string(),
        ),
        "dictionary": _cast(
            next(slices), "description", pa.dictionary(pa.int32(), pa.string())
        ),
        "string_view": _cast(next(slices), "title", pa.string_view()),
        "integer_ids": next(slices).set_column(
            0, "ad_id", pa.array(range(10**6, 10**6 + ROWS))
        ),
        "no_title": next(slices).drop_columns(["title"]),
    }
    with_nulls = next(slices)
    ids = with_nulls["ad_id"].to_pylist()
    ids[3], ids[7] = None, ""
    good["null_ids"] = with_nulls.set_column(0, "ad_id", pa.array(ids))
    folder = tmp_path / "in"
    folder.mkdir()
    for name, (data, _) in bad.items():
        (folder / f"{name}.parquet").write_bytes(data)
    for name, table in good.items():
        (folder / f"{name}.parquet").write_bytes(_bytes(table))
    (folder / "zero_rows.parquet").write_bytes(_bytes(ads.slice(0, 0)))

    settings = ScoreSettings(
        input_uri=str(folder),
        bundle_uri=trained_bundle,
        output_uri=str(tmp_path / "out"),
        on_bad_file="quarantine",
        gate=WIDE_OPEN,
    )
    manifest = score(settings)
    reasons = {
        item.uri: item.reason
        for item in [*manifest.quarantined, *manifest.quarantined_shards]
    }
    assert set(reasons) == {f"{folder}/{name}.parquet" for name in bad}
    for name, (_, reason) in bad.items():
        path = f"{folder}/{name}.parquet"
        assert re.match(rf"{re.escape(path)}: .*{reason}", reasons[path]), reasons[path]
        assert "\n" not in reasons[path]
    assert [item.uri for item in manifest.quarantined_shards] == [
        f"{folder}/corrupt_page.parquet"
    ]
    assert manifest.empty_files == [f"{folder}/zero_rows.parquet"]
    expected = [
        str(value)
        for table in good.values()
        for value in table["ad_id"].to_pylist()
        if value not in (None, "")
    ]
    assert sorted(read_parts(manifest.run_uri)["ad_id"].to_pylist()) == sorted(expected)
    errors = [
        (Path(row["file"]).name, row["row"], row["reason"])
        for path in Path(manifest.run_uri, "_errors").glob("*.rejected")
        for row in pq.read_table(path).to_pylist()
    ]
    assert errors == [
        ("null_ids.parquet", 3, "ad_id is null"),
        ("null_ids.parquet", 7, "ad_id is empty"),
    ]


SNIPPETS = [
    "",
    " ",
    "\u200b\u200d\ufeff",
    "!!! ... ??? --- ***",
    "\x00\x01\x08\x1b[31m\x7f",
    "\u202eмотевз\u202c מכירה للبيع",
    "👩‍👩‍👧‍👦🏳️‍🌈👍🏿" * 3,
    "и\u0306",
    "<b>Диван</b>&nbsp;<script>alert(1)</script>",
    "\ud83d",
    "8" * 300,
    "+7 " * 200,
    "a\u0301" * 100,
    "\r\n\t\v\f\u2028\u2029\u0085",
    "'; DROP TABLE ads; --",
    "{{ 7 * 7 }} %s %n ${HOME}",
    "\U0010ffff\ufffe\ufdd0",
    "İıſßﬁ",
    "[CLS] [SEP] [PAD] [MASK] [UNK]",
]


def _mutated(rng: np.random.Generator, text: str) -> bytes | None:
    """Spoil a text in one of the ways in which real ones are spoilt; the result need not be
    UTF-8."""
    kind = rng.integers(0, 10)
    if kind == 0:
        return None
    if kind == 1:
        return SNIPPETS[rng.integers(len(SNIPPETS))].encode("utf-8", "surrogatepass")
    at = int(rng.integers(0, len(text) + 1))
    if kind in (2, 3, 4):
        text = text[:at] + SNIPPETS[rng.integers(len(SNIPPETS))] + text[at:]
    elif kind == 5:
        text = "".join(chr(c) for c in rng.integers(1, 0x3000, int(rng.integers(1, 300))))
    elif kind == 6:
        text = text * int(rng.integers(2, 30))
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    if kind == 7 and data:
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    if kind == 8:
        data = data[: rng.integers(0, len(data) + 1)]
    return bytes(data)


def _strings(values: list[bytes | None]) -> pa.Array:
    """A pa.string() array whose values need not be UTF-8, as a careless writer leaves them."""
    raw = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())


def _is_utf8(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False


def test_ten_thousand_mutated_ads_go_through(ray_local, trained_bundle, tmp_path):
    num_ads = 10_000
    rng = np.random.default_rng(7)
    table = pa.Table.from_batches(list(generate_ads(num_ads, seed=41)))
    titles, texts = (
        [_mutated(rng, text or "") for text in table[name].to_pylist()]
        for name in ("title", "description")
    )
    texts[5000] = "Продам диван ".encode() * 45_000  # 1 MB
    texts[5001] = b"\xd0" * 2**20
    texts[5002] = "я".encode() * 2**19
    texts[5003] = b"1 " * 2**19
    assert max(len(text or b"") for text in texts) >= 2**20
    (tmp_path / "in").mkdir()
    columns = {
        "ad_id": [f"ad-{n:05d}" for n in range(num_ads)],
        "title": _strings(titles),
    }
    pq.write_table(
        pa.table({**columns, "description": _strings(texts)}),
        tmp_path / "in" / "ads.parquet",
    )
    settings = ScoreSettings(
        input_uri=str(tmp_path / "in"),
        bundle_uri=trained_bundle,
        output_uri=str(tmp_path / "out"),
        gate=WIDE_OPEN,
        executor="local",  # which writes what Ray writes (test_scoring.py)
    )
    manifest = score(settings)
    good = [n for n in range(num_ads) if _is_utf8(titles[n]) and _is_utf8(texts[n])]
    counts = manifest.counts
    assert (counts.rows_in, counts.rows_scored, counts.rows_quarantined) == (
        num_ads,
        len(good),
        0,
    )
    assert counts.rows_rejected == num_ads - len(good) > 100
    parts = read_parts(manifest.run_uri)
    assert parts["ad_id"].to_pylist() == [f"ad-{n:05d}" for n in good]
    assert manifest.ids_out == ids_digest(pa.array([f"ad-{n:05d}" for n in good]))
    scored = parts.filter(pa.compute.equal(parts["status"], "ok"))
    assert parts.num_rows - scored.num_rows == counts.rows_empty > 20
    for name in ("confidence", "ood_distance", "ood_z", "ood_p"):
        assert np.isfinite(scored[name].to_numpy()).all()
    assert set(manifest.rejected_reasons) <= {
        "title is not UTF-8",
        "description is not UTF-8",
    }
