import dataclasses
import os
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from rubert_ood import __version__
from rubert_ood.ads.text import text_key
from rubert_ood.errors import (
    PartialRunError,
)
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.manifest import Manifest
from rubert_ood.runs.part import ids_digest
from rubert_ood.runs.plan import save_plan
from rubert_ood.runs.receipts import Receipt, read_receipts
from rubert_ood.runs.verify import verify_run
from rubert_ood.scoring.encode import encode
from rubert_ood.scoring.item import ShardItem, ShardResult
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.planning import make_plan
from rubert_ood.scoring.scorer import Scorer
from rubert_ood.scoring.write import rejected_rows, write
from rubert_ood.settings import PredictSettings, ScoreSettings, ScoringComputeSettings
from tests.small_model import padded_classifier
from tests.unit.messy_runs import REASONS, score_plan

TIMINGS = {"seconds", "scorer_busy_s", "scorer_idle_s", "finished_at"}
"""What may differ of a receipt: when, and how long."""
EMPTY = {5, 6, 7, 8, 9, *range(70, 80)}


def _cleaned(bundle, row) -> str:
    return bundle.cleaner.clean(f"{row['title'] or ''} {row['description'] or ''}")


@pytest.fixture(scope="module")
def accepted(messy_rows) -> list[int]:
    return [n for n in range(120) if n not in REASONS]


@pytest.fixture(scope="module")
def output(full_run) -> pa.Table:
    """The parts of the run, one after the other."""
    return pa.concat_tables(
        pq.read_table(full_run.part(n)) for n in range(len(full_run.plan.shards))
    )


def test_part_has_one_row_for_every_accepted_ad_in_input_order(
    output, messy_rows, accepted
):
    assert output["ad_id"].to_pylist() == [messy_rows[n]["ad_id"] for n in accepted]


def test_part_row_equals_the_prediction_of_this_ad_alone(
    output, messy_rows, accepted, bundle, by_the_rule
):
    filled = [n for n in accepted if n not in EMPTY]
    tokenizer = AutoTokenizer.from_pretrained(bundle.folder)
    expected = dict(
        zip(
            filled,
            by_the_rule([_cleaned(bundle, messy_rows[n]) for n in filled]),
            strict=True,
        )
    )
    num_clear, labels = 0, set()
    for n, row in zip(accepted, output.to_pylist(), strict=True):
        if n in EMPTY:
            continue
        want = expected[n]
        assert row["status"] == "ok"
        assert row["confidence"] == pytest.approx(want["confidence"], abs=1e-5)
        assert row["ood_distance"] == pytest.approx(want["ood_distance"], rel=1e-4)
        assert row["ood_z"] == pytest.approx(want["ood_z"], abs=1e-3)
        np.testing.assert_allclose(row["topk_scores"], want["topk_scores"], atol=1e-5)
        np.testing.assert_allclose(
            np.array(row["embedding"], float), want["embedding"], atol=2e-3, rtol=1e-3
        )
        text = _cleaned(bundle, messy_rows[n])
        length = len(tokenizer.tokenize(text)) + 2
        assert (row["num_tokens"], row["num_chunks"], row["is_cut"]) == (
            min(length, 64),
            1,
            length > 64,
        )
        assert row["text_key"] == text_key(text)
        if not want["close_call"]:
            num_clear += 1
            labels.add(row["label"])
            for name in ("label", "is_ood", "topk_labels", "ood_p"):
                assert row[name] == want[name], (n, name)
    assert num_clear > 0.8 * len(filled)
    assert "Other" in labels
    assert len(labels) > 3
    assert {want["is_ood"] for want in expected.values()} == {True, False}


def test_an_ad_without_text_is_other_and_has_no_scores(output, accepted):
    rows = [
        row for n, row in zip(accepted, output.to_pylist(), strict=True) if n in EMPTY
    ]
    assert len(rows) == len(EMPTY)
    for row in rows:
        assert (row["status"], row["label"], row["is_ood"], row["num_tokens"]) == (
            "empty",
            "Other",
            False,
            0,
        )
        assert (row["num_chunks"], row["is_cut"]) == (0, False)
        assert row["text_key"] == text_key("")
        for name in (
            "confidence",
            "topk_labels",
            "topk_scores",
            "ood_distance",
            "ood_z",
            "ood_p",
            "embedding",
        ):
            assert row[name] is None, name


def test_part_has_nulls_for_empty_ads_only(output):
    for name in output.schema.names:
        if name not in ("price", "tags"):
            nulls = output["status"].filter(pc.is_null(output[name]))
            assert set(nulls.to_pylist()) <= {"empty"}, name


def test_part_has_the_carried_columns_of_the_ad(output, messy_rows, accepted):
    for name in ("price", "city", "tags"):
        assert output[name].to_pylist() == [messy_rows[n][name] for n in accepted]
    assert output.schema.field("tags").type == pa.list_(pa.string())


def test_rejected_rows_name_file_row_and_reason(full_run, messy_rows):
    rows = []
    for path in sorted((full_run.folder / "_errors").iterdir()):
        rows += pq.read_table(path).to_pylist()
    folder = Path(full_run.plan.input_uri)
    expected = []
    for n, reason in REASONS.items():
        ad_id = messy_rows[n]["ad_id"]
        file, row = ("a.parquet", n) if n < 80 else ("b.parquet", n - 80)
        text_id = ad_id if isinstance(ad_id, str) else None
        expected.append(
            {"file": str(folder / file), "row": row, "ad_id": text_id, "reason": reason}
        )
    assert rows == expected


def test_a_shard_without_rejected_rows_has_no_error_file(full_run):
    with_errors = {path.name for path in (full_run.folder / "_errors").iterdir()}
    for shard, receipt in zip(full_run.plan.shards, full_run.receipts, strict=True):
        assert (shard.rejected_name.rpartition("/")[2] in with_errors) == (
            receipt.rows_rejected > 0
        )


def test_the_schema_of_a_part_is_the_same_for_every_shard(full_run):
    expected = pa.schema(
        [
            pa.field("ad_id", pa.string(), nullable=False),
            ("label", pa.string()),
            ("confidence", pa.float32()),
            ("topk_labels", pa.list_(pa.string())),
            ("topk_scores", pa.list_(pa.float32())),
            ("is_ood", pa.bool_()),
            ("ood_distance", pa.float64()),
            ("ood_z", pa.float64()),
            ("ood_p", pa.float64()),
            ("status", pa.string()),
            ("num_tokens", pa.int32()),
            ("num_chunks", pa.int32()),
            ("is_cut", pa.bool_()),
            ("text_key", pa.string()),
            ("scored_in", pa.string()),
            ("embedding", pa.list_(pa.float16(), 32)),
            ("price", pa.int64()),
            ("city", pa.string()),
            ("tags", pa.list_(pa.string())),
        ]
    )
    for number in range(len(full_run.plan.shards)):
        parquet = pq.ParquetFile(full_run.part(number))
        assert parquet.schema_arrow.remove_metadata().equals(expected), number
        metadata = parquet.schema_arrow.metadata
        assert metadata[b"rubert_ood.bundle"].decode() == full_run.plan.bundle.fingerprint
        assert metadata[b"rubert_ood.run_id"].decode() == full_run.plan.run_id
        assert metadata[b"rubert_ood.code_version"].decode() == __version__
        if parquet.metadata.num_row_groups:
            assert parquet.metadata.row_group(0).column(0).compression == "ZSTD"


def test_part_without_embedding_and_carried_columns_lacks_them(make_run, output):
    run = make_run()
    plain = pa.concat_tables(
        pq.read_table(run.part(n)) for n in range(len(run.plan.shards))
    )
    names = [
        name
        for name in output.schema.names
        if name not in ("embedding", "price", "city", "tags")
    ]
    assert plain.schema.names == names
    assert set(plain["scored_in"].to_pylist()) == {run.plan.run_id}
    names.remove("scored_in")
    assert plain.select(names).equals(output.select(names))


def test_the_model_sees_nothing_when_no_row_can_be_scored(full_run):
    rejected = full_run.receipts[-1]
    assert (rejected.rows_in, rejected.rows_scored, rejected.rows_rejected) == (10, 0, 10)
    assert rejected.rejected_reasons == {"ad_id is null": 10}
    assert pq.read_table(full_run.part(len(full_run.receipts) - 1)).num_rows == 0
    empty = full_run.receipts[7]
    assert (empty.rows_in, empty.rows_scored, empty.rows_empty, empty.tokens) == (
        10,
        10,
        10,
        0,
    )
    assert empty.confidence_histogram == [0] * 20


def test_each_receipt_names_its_shard_and_the_ids_it_read(full_run, messy_rows):
    for shard, receipt in zip(full_run.plan.shards, full_run.receipts, strict=True):
        path = full_run.folder / "_run" / "receipts" / f"{shard.shard_id}.json"
        assert Receipt.model_validate_json(path.read_bytes()) == receipt
        assert receipt.fingerprint == full_run.plan.fingerprint
        assert (receipt.uri, receipt.start, receipt.stop) == (
            shard.uri,
            shard.start,
            shard.stop,
        )
        offset = 0 if shard.uri.endswith("a.parquet") else 80
        ids = [
            messy_rows[n]["ad_id"]
            for n in range(offset + shard.start, offset + shard.stop)
        ]
        assert receipt.ids_in == ids_digest(
            pa.array([value for value in ids if isinstance(value, str)])
        )


def test_a_shard_scored_twice_is_the_same_object(make_run):
    run = make_run(embedding=True)
    job = ScoringJob.of(run.plan)
    scorer = Scorer(job)
    for number in (2, 7, len(run.receipts) - 1):
        before, names = run.part(number).read_bytes(), sorted(run.folder.rglob("*"))
        shard = run.plan.shards[number]
        write(scorer(encode(ShardItem(shard), job)), job)
        receipt = read_receipts(run.plan.run_uri, run.plan.fingerprint)[shard.shard_id]
        assert run.part(number).read_bytes() == before
        assert sorted(run.folder.rglob("*")) == names
        for name in set(Receipt.model_fields) - set(TIMINGS):
            assert getattr(receipt, name) == getattr(run.receipts[number], name), name


def test_an_actor_that_waits_for_its_next_shard_is_idle(make_run):
    run = make_run(pa.concat_tables([pa.table(_plain_ads())] * 2))
    for path in (run.folder / "_run" / "receipts").iterdir():
        path.unlink()
    job = ScoringJob.of(run.plan)
    scorer = Scorer(job)
    items = [encode(ShardItem(shard), job) for shard in run.plan.shards]
    assert len(items) > 1
    started = time.perf_counter()
    results = []
    for item in items:
        results.append(scorer(item))
        time.sleep(0.2)
        write(results[-1], job)
    total = time.perf_counter() - started
    assert results[0].timing.idle_s == 0
    assert all(0.2 <= result.timing.idle_s < 1 for result in results[1:])
    busy, idle = (
        sum(getattr(result.timing, name) for result in results)
        for name in ("busy_s", "idle_s")
    )
    assert 0 < busy < total - 0.2 * len(items)
    receipts = read_receipts(run.plan.run_uri, run.plan.fingerprint)
    manifest = Manifest.of(
        run.plan, receipts, outcome="complete", started_at="2026-01-01T00:00:00+00:00"
    )
    assert manifest.scorer_idle_share == pytest.approx(idle / (idle + busy), abs=0.02)


def test_padding_of_the_scorer_goes_into_the_manifest(full_run, tmp_path):
    plan = dataclasses.replace(full_run.plan, run_uri=str(tmp_path))
    job = ScoringJob.of(plan)
    scorer = Scorer(job)
    model, shapes = scorer.model(), []
    model._classifier = padded_classifier(model.bundle.folder)
    model.classifier.network.bert.embeddings.register_forward_hook(
        lambda _, __, out: shapes.append(out.shape[:2])
    )
    for shard in plan.shards:
        assert not write(scorer(encode(ShardItem(shard), job)), job).failure
    manifest = Manifest.of(
        plan,
        read_receipts(plan.run_uri, plan.fingerprint),
        outcome="complete",
        started_at="2026-01-01T00:00:00+00:00",
    )
    computed = sum(rows * length for rows, length in shapes)
    assert manifest.padding_share == pytest.approx(
        1 - manifest.counts.unique_tokens / computed
    )
    assert 0.01 < manifest.padding_share < 0.9


def test_a_start_that_was_taken_over_writes_no_part_any_more(make_run):
    run = make_run(pa.table(_plain_ads()))
    older = Claim(run.plan.run_uri)
    job = ScoringJob.of(run.plan, older.token)
    item = Scorer(job)(encode(ShardItem(run.plan.shards[0]), job))
    newer = Claim(run.plan.run_uri)
    before = {
        path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()
    }
    result = write(item, job)
    assert (result.fault, "process" in result.failure) == ("run", True)
    newer.release()  # and none after the newer one has ended
    assert "another process (which has ended) has claimed" in write(item, job).failure
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if before[path] != after[path]} == {
        "runner.json"
    }


def test_the_token_budget_does_not_change_the_answers(make_run, output):
    run = make_run(
        compute=ScoringComputeSettings(token_budget=64),
        carry_columns=("price", "city", "tags"),
        embedding=True,
    )
    other = pa.concat_tables(
        pq.read_table(run.part(n)) for n in range(len(run.plan.shards))
    )
    for name in ("ad_id", "status", "text_key", "num_tokens", "num_chunks", "is_cut"):
        assert other[name].equals(output[name])
    for name in ("confidence", "ood_distance"):
        np.testing.assert_allclose(
            other[name].to_pandas(), output[name].to_pandas(), rtol=1e-4
        )


def _plain_ads() -> dict[str, list]:
    texts = [f"Диван номер {n}" for n in range(12)]
    return {
        "ad_id": [str(n) for n in range(12)],
        "title": texts,
        "description": ["угловой"] * 12,
    }


def _scores(path: Path) -> pa.Table:
    """Read a part without the id of its run."""
    return pq.read_table(path).drop_columns("scored_in")


KINDS = {
    "large_string": pa.large_string(),
    "string_view": pa.string_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "dictionary of large_string": pa.dictionary(pa.int32(), pa.large_string()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_text_of_every_arrow_type_gives_the_same_part(make_run, kind):
    """As id, title, description and city, and carried, also inside a list."""
    ads = _plain_ads() | {"city": ["Тверь", None, "Москва"] * 4, "note": ["х", None] * 6}
    lists = pa.array([["а", None], None, []] * 4, pa.list_(pa.string()))
    options = {"carry_columns": ("note", "city", "tags", "title")}
    expected = make_run(pa.table(ads).append_column("tags", lists), **options)
    table = pa.table(
        {name: pa.array(values).cast(KINDS[kind]) for name, values in ads.items()}
    )
    inside = KINDS[kind] if kind == "string_view" else pa.large_string()
    got = make_run(
        table.append_column("tags", lists.cast(pa.large_list(inside))), **options
    )
    for number, receipt in enumerate(expected.receipts):
        part = _scores(got.part(number))
        assert part.equals(_scores(expected.part(number)))
        assert part.schema.field("note").type == pa.string()
        assert got.receipts[number].profile.cities == receipt.profile.cities
    assert sum(receipt.profile.cities.rows for receipt in got.receipts) == 8


def test_part_of_integer_ids_has_them_as_text(make_run):
    ads = _plain_ads()
    expected = make_run(pa.table(ads))
    got = make_run(pa.table(ads).set_column(0, "ad_id", pa.array(range(12), pa.int32())))
    assert _scores(got.part(0)).equals(_scores(expected.part(0)))


def test_an_id_that_is_too_long_is_rejected_and_kept_short(make_run):
    ads = _plain_ads()
    longest, long, huge = "ж" * 500, "ж" * 500 + "1", "x" * 5_000_000
    ads["ad_id"][2:6] = [longest, long, huge, f"{huge}y"]
    run = make_run(pa.table(ads))
    scored = pa.concat_tables(
        pq.read_table(run.part(n)) for n in range(len(run.receipts))
    )
    assert scored["ad_id"].to_pylist() == ["0", "1", longest, *map(str, range(6, 12))]
    errors = pq.read_table(next((run.folder / "_errors").iterdir())).to_pylist()
    assert [(error["row"], error["reason"]) for error in errors] == [
        (row, "ad_id is longer than 1,000 bytes") for row in (3, 4, 5)
    ]
    assert [error["ad_id"] for error in errors] == [
        f"{long[:100]}...",
        f"{huge[:100]}...",
        f"{huge[:100]}...",
    ]
    assert run.receipts[0].rejected_reasons == {"ad_id is longer than 1,000 bytes": 3}
    verify_run(run.plan)


def _text(values: list[bytes | None]) -> pa.Array:
    """Make a column of text of any bytes, as a careless writer does."""
    plain = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(plain), plain.buffers())


@pytest.mark.parametrize("kind", ["text", "dictionary", "list"])
def test_an_ad_whose_carried_text_is_not_utf8_is_rejected(make_run, kind):
    """One such value, and DuckDB and polars refuse the whole file."""
    ads = _plain_ads()
    note = _text([b"x", b"\xff", None, "ж".encode()] * 3)
    if kind == "dictionary":
        indices = pa.array([0, 1, None, 2] * 3, pa.int32())
        values = _text([b"x", b"\xff", "ж".encode()])
        note = pa.DictionaryArray.from_arrays(indices, values)
    if kind == "list":
        note = pa.ListArray.from_arrays(list(range(13)), note)
    run = make_run(pa.table(ads | {"note": note}), carry_columns=("title", "note"))
    parts = [run.part(n).as_posix() for n in range(len(run.receipts))]
    found = duckdb.sql(f"select ad_id, note from read_parquet({parts}) order by all")
    texts = ["x", None, "ж"] * 3
    expected = [
        (str(number), [text] if kind == "list" else text)
        for number, text in zip([n for n in range(12) if n % 4 != 1], texts, strict=True)
    ]
    assert found.fetchall() == sorted(expected)
    errors = [pq.read_table(path) for path in (run.folder / "_errors").iterdir()]
    rejected = pa.concat_tables(errors).sort_by("row")
    assert rejected["row"].to_pylist() == [1, 5, 9]
    assert set(rejected["reason"].to_pylist()) == {"note is not UTF-8"}
    verify_run(run.plan)


def test_predict_says_why_an_ad_is_empty(bundle, capsys):
    from rubert_ood.workflows.predict import predict

    predict(PredictSettings(bundle_uri=bundle.uri, texts=["ѣѣѣ", "Продам"]))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.startswith("Other")] == [
        "Other: the model knows no character of this text",
        "Other: no text is left after cleaning",
    ]


UNREADABLE = ["\u200b", "\ufeff", "\0", "\xad", "\ufffd", "ѣѣѣ 😀", "\u200b" * 100_000]


def test_an_ad_that_is_nothing_to_the_model_is_empty(make_run, bundle):
    """As one without text: in its columns, in the counts of the receipt, in `predict`."""
    from rubert_ood.workflows.predict import predict_texts

    ads = _plain_ads()
    ads["title"], ads["description"] = (
        [None] * 12,
        [*UNREADABLE, "", "Диван \u200b", "кошка", "кошка", None],
    )
    run = make_run(pa.table(ads), embedding=True)
    rows = []
    for number in range(len(run.receipts)):
        rows += pq.read_table(run.part(number)).to_pylist()
    assert [row["status"] for row in rows] == ["empty"] * 8 + ["ok"] * 3 + ["empty"]
    unlike = {"ad_id"}
    empty = rows[7]
    assert (
        empty["label"],
        empty["is_ood"],
        empty["num_tokens"],
        empty["num_chunks"],
    ) == (
        "Other",
        False,
        0,
        0,
    )
    for row in (*rows[:7], rows[11]):
        assert {name: row[name] for name in row.keys() - unlike} == {
            name: empty[name] for name in row.keys() - unlike
        }
    assert [receipt.rows_empty for receipt in run.receipts] == [8, 1]
    assert [receipt.unique_texts for receipt in run.receipts] == [
        3,
        2,
    ]  # "", диван, кошка; кошка, ""
    verify_run(run.plan)
    alone = predict_texts(bundle, ["", *UNREADABLE, "Диван"])
    assert [result["status"] for result in alone] == ["empty"] * 8 + ["ok"]
    assert {result["label"] for result in alone[:8]} == {"Other"}
    assert alone[8]["topk_labels"] == rows[8]["topk_labels"]
    assert set(alone[1]) == {"text", "cleaned", "label", "status"}


def test_a_csv_shard_keeps_its_ids_as_they_are_written(bundle, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    lines = ['007,"Диван, угловой",5', "1e3,Кошка,", ",Кошка,7", '010,"",8', "12,Кошка,9"]
    (folder / "ads.csv").write_text(
        "\n".join(["ad_id,description,price", *lines]), "utf-8"
    )
    settings = ScoreSettings(
        input_uri=str(folder),
        bundle_uri=bundle.uri,
        output_uri=str(tmp_path / "out"),
        carry_columns=("price",),
    )
    plan = make_plan(settings, bundle)
    score_plan(plan)
    part = pq.read_table(Path(plan.run_uri) / plan.shards[0].part_name)
    got = list(
        zip(
            *(part[name].to_pylist() for name in ("ad_id", "status", "price")),
            strict=True,
        )
    )
    assert got == [
        ("007", "ok", "5"),
        ("1e3", "ok", ""),
        ("010", "empty", "8"),
        ("12", "ok", "9"),
    ]
    errors = pq.read_table(Path(plan.run_uri) / plan.shards[0].rejected_name).to_pylist()
    assert [(error["row"], error["reason"]) for error in errors] == [
        (2, "ad_id is empty")
    ]


def test_rejected_rows_count_from_the_start_of_the_file(full_run):
    job = ScoringJob.of(full_run.plan)
    shard = full_run.plan.shards[4]
    rows = encode(ShardItem(shard), job).rows
    assert shard.start == 40
    assert rejected_rows(shard, rows)["row"].to_pylist() == [40, 41]


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[4:end] = b"\xff" * (end - 4)  # the footer stays whole
    path.write_bytes(data)


def _replace(path: Path) -> None:
    """Put another file of the same size and time in its place, as `cp -p` would."""
    before = path.stat()
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("spoil", [_damage, Path.unlink, _replace])
def test_a_file_that_is_damaged_or_changes_after_planning_fails_its_own_shards_only(
    bundle, tmp_path, spoil
):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b", "c"):
        pq.write_table(pa.table(_plain_ads()), folder / f"{name}.parquet")
    settings = ScoreSettings(
        input_uri=str(folder), bundle_uri=bundle.uri, output_uri=str(tmp_path / "out")
    )
    if spoil is _damage:
        spoil(folder / "b.parquet")
    plan = make_plan(settings, bundle)
    save_plan(plan)
    job = ScoringJob.of(plan)
    scorer = Scorer(job)
    if spoil is not _damage:
        spoil(folder / "b.parquet")
    results = [write(scorer(encode(ShardItem(shard), job)), job) for shard in plan.shards]
    assert [result.fault for result in results] == [
        "",
        "shard" if spoil is _damage else "changed",
        "",
    ]
    assert f"{folder}/b.parquet" in results[1].failure
    written = {f"_parts/{path.name}" for path in Path(plan.run_uri, "_parts").iterdir()}
    assert written == {plan.shards[0].part_name, plan.shards[2].part_name}
    assert set(read_receipts(plan.run_uri, plan.fingerprint)) == {
        plan.shards[n].shard_id for n in (0, 2)
    }
    with pytest.raises(PartialRunError, match="1 of 3 shards are not scored"):
        verify_run(plan)


def test_a_part_that_cannot_be_written_leaves_no_receipt(make_run, monkeypatch):
    run = make_run(pa.table(_plain_ads()))
    shard = run.plan.shards[0]
    job = ScoringJob.of(run.plan)
    item = Scorer(job)(encode(ShardItem(shard), job))
    receipt = run.folder / "_run" / "receipts" / f"{shard.shard_id}.json"
    receipt.unlink()
    run.part(0).unlink()

    def no_space(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("rubert_ood.storage.objects.os.link", no_space)
        result = write(item, job)
    assert result.fault == "run"
    assert "no space left" in result.failure
    assert not receipt.exists()
    assert not run.part(0).exists()
    assert not list(run.folder.rglob("*.tmp"))
    assert write(item, job) == ShardResult(shard.shard_id)
    assert receipt.exists()
