import dataclasses
import itertools
import json
import os
from datetime import date

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rubert_ood import storage
from rubert_ood.ads.text import TextCleaner
from rubert_ood.errors import InputError, SchemaError, SettingsError
from rubert_ood.runs.plan import Shard, by_file, load_plan, save_plan
from rubert_ood.scoring.planning import make_plan
from rubert_ood.settings import ScoreSettings, ScoringComputeSettings
from tests.conftest import patch_storage


def _ads(num_rows: int, *, first: int = 0, **columns) -> pa.Table:
    numbers = range(first, first + num_rows)
    return pa.table(
        {
            "ad_id": pa.array([f"id{n}" for n in numbers], pa.string()),
            "description": pa.array([f"диван {n}" for n in numbers], pa.string()),
            **columns,
        }
    )


def _write(path, groups: list[int], table=_ads) -> None:
    """Write a file with row groups of exactly these sizes, empty ones included."""
    path.parent.mkdir(exist_ok=True, parents=True)
    first = 0
    with pq.ParquetWriter(path, table(0).schema) as writer:
        for rows in groups:
            writer.write_table(table(rows, first=first), row_group_size=max(rows, 1))
            first += rows


def _settings(folder, **options) -> ScoreSettings:
    defaults = {
        "output_uri": str(folder.parent / "out"),
        "run_date": date(2026, 11, 24),
        "bundle_uri": "-",
    }
    return ScoreSettings(**{"input_uri": str(folder), **defaults, **options})


@pytest.fixture
def catalogue(tmp_path):
    """Three files: 10 + 5 rows, no rows, 12 rows."""
    folder = tmp_path / "in"
    _write(folder / "a.parquet", [10, 5])
    _write(folder / "b.parquet", [])
    _write(folder / "c.parquet", [4, 4, 4])
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.integers(0, 40), max_size=8), min_size=1, max_size=3).filter(
        lambda f: sum(map(sum, f)) > 0
    ),
    st.integers(1, 30),
)
def test_shards_hold_every_row_of_every_file_once(
    bundle, tmp_path_factory, files, shard_rows
):
    folder = tmp_path_factory.mktemp("case") / "in"
    for number, groups in enumerate(files):
        _write(folder / f"{number}.parquet", groups)
    plan = make_plan(_settings(folder, shard_rows=shard_rows), bundle)
    covered = [
        (shard.uri, row)
        for shard in plan.shards
        for row in range(shard.start, shard.stop)
    ]
    expected = [
        (str(folder / f"{n}.parquet"), row)
        for n, groups in enumerate(files)
        for row in range(sum(groups))
    ]
    assert covered == expected
    assert plan.num_rows == len(expected)
    assert len({shard.part_name for shard in plan.shards}) == len(plan.shards)
    for shard in plan.shards:
        assert 0 < shard.num_rows < 2 * shard_rows
        assert shard.columns == {"ad_id": "ad_id", "description": "description"}


def test_plan_of_the_same_input_is_the_same(bundle, catalogue):
    first, second = (
        make_plan(_settings(catalogue, shard_rows=5), bundle) for _ in range(2)
    )
    assert first == second
    assert first.run_id == first.fingerprint[:12]
    run = os.path.join(
        catalogue.parent, "out", "run_date=2026-11-24", f"run_id={first.run_id}"
    )
    assert first.run_uri == run
    assert [shard.shard_id[:6] for shard in first.shards] == [
        f"{n:05d}-" for n in range(len(first.shards))
    ]
    assert first.bundle.model_dump() == {
        "uri": bundle.uri,
        "version": "v1",
        "fingerprint": bundle.fingerprint,
        "alias": "",
        "registered": "",
        "promises": [],
    }


def test_the_place_of_the_output_and_the_gate_are_no_part_of_the_work(bundle, catalogue):
    base = make_plan(_settings(catalogue), bundle)
    same = make_plan(
        _settings(
            catalogue,
            output_uri="elsewhere",
            run_id="mine",
            publish=False,
            compute=ScoringComputeSettings(num_workers=3, token_budget=99),
        ),
        bundle,
    )
    assert same.fingerprint == base.fingerprint
    assert same.run_id == "mine"
    assert same.run_uri == os.path.join(
        os.getcwd(), "elsewhere", "run_date=2026-11-24", "run_id=mine"
    )


def _touch(folder):
    path = folder / "a.parquet"
    info = path.stat()
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns + 1_000_000))


def _grow(folder):
    _write(folder / "c.parquet", [4, 4, 5])


def _add(folder):
    _write(folder / "d.parquet", [1])


@pytest.mark.parametrize(
    ("options", "change", "named"),
    [
        ({"carry_columns": ("description",)}, None, {"columns"}),
        ({"run_date": date(2026, 11, 25)}, None, {"run_date"}),
        ({"embedding": True}, None, {"embedding"}),
        ({"report_texts": False}, None, {"report_texts"}),
        ({"compute": ScoringComputeSettings(use_gpu=True)}, None, {"precision"}),
        ({"shard_rows": 5}, None, {"shards"}),
        ({}, _touch, {"input files"}),
        ({}, _grow, {"input files", "shards"}),
        ({}, _add, {"input files", "shards"}),
    ],
)
def test_plan_fingerprint_changes_with_what_changes_the_result(
    bundle, catalogue, options, change, named
):
    base = make_plan(_settings(catalogue), bundle)
    if change:
        change(catalogue)
    other = make_plan(_settings(catalogue, **options), bundle)
    assert other.fingerprint != base.fingerprint
    assert {
        name for name in base.identity if base.identity[name] != other.identity[name]
    } == named


def test_plan_fingerprint_changes_with_the_bundle(bundle, catalogue):
    other = dataclasses.replace(bundle, fingerprint="f" * 64)
    assert (
        make_plan(_settings(catalogue), other).fingerprint
        != make_plan(_settings(catalogue), bundle).fingerprint
    )


@pytest.mark.parametrize(
    ("city", "columns", "expected"),
    [
        (["Омск"], {}, {"city": "city"}),
        (["Омск"], {"city": None}, {}),
        ([7], {}, {}),
        ([7], {"city": "city"}, {}),
        (["Омск"], {"city": "town"}, {}),
    ],
)
def test_the_city_column_is_used_if_there_is_one_of_text_and_never_a_fault(
    bundle, tmp_path, city, columns, expected
):
    (tmp_path / "in").mkdir()
    pq.write_table(_ads(1, city=city), tmp_path / "in" / "a.parquet")
    plan = make_plan(_settings(tmp_path / "in", columns=columns), bundle)
    always = {"ad_id": "ad_id", "description": "description"}
    assert plan.shards[0].columns == always | expected
    cityless = dataclasses.replace(bundle, cleaner=TextCleaner())
    assert (
        make_plan(_settings(tmp_path / "in", columns=columns), cityless).shards[0].columns
        == always
    )


def test_a_plan_of_an_earlier_version_says_nothing_of_texts(bundle, catalogue):
    plan = make_plan(_settings(catalogue, run_id="r"), bundle)
    save_plan(plan)
    path = os.path.join(plan.run_uri, "_run", "plan.json")
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    del content["report_texts"]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
    assert load_plan(plan.run_uri) == plan


def test_plan_that_was_saved_comes_back(bundle, catalogue):
    plan = make_plan(_settings(catalogue, shard_rows=5, run_id="r"), bundle)
    save_plan(plan)
    assert load_plan(plan.run_uri) == plan
    save_plan(plan)  # the same work may go on
    with open(os.path.join(plan.run_uri, "_run", "plan.json"), encoding="utf-8") as file:
        files = json.load(file)["shards"]
    assert [file["uri"] for file in files] == sorted({s.uri for s in plan.shards})
    ranges = [tuple(shard) for file in files for shard in file["shards"]]
    assert ranges == [(s.shard_id, s.start, s.stop) for s in plan.shards]


def test_a_plan_of_an_earlier_version_lists_shard_after_shard(bundle, catalogue):
    plan = make_plan(_settings(catalogue, shard_rows=5, run_id="r"), bundle)
    save_plan(plan)
    path = os.path.join(plan.run_uri, "_run", "plan.json")
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    content["shards"] = [dataclasses.asdict(shard) for shard in plan.shards]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
    assert load_plan(plan.run_uri) == plan
    for shard in content["shards"]:  # as 0.2.0 writes it
        del shard["version"], shard["delimiter"]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
    found = load_plan(plan.run_uri).shards
    assert found == [dataclasses.replace(shard, version="") for shard in plan.shards]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("vw")), max_size=9))
def test_by_file_keeps_every_shard_as_it_is_and_its_place(drawn):
    shards = [
        Shard(f"{number}", uri, {"ad_id": version}, number, number + 1, version, uri)
        for number, (uri, version) in enumerate(drawn)
    ]
    again = [
        Shard(shard_id, file.uri, file.columns, start, stop, file.version, file.delimiter)
        for file in by_file(shards)
        for shard_id, start, stop in file.shards
    ]
    assert again == shards
    changes = sum(left != right for left, right in itertools.pairwise(drawn))
    assert len(by_file(shards)) == (changes + 1 if drawn else 0)


def test_a_run_folder_of_other_work_is_refused_and_the_difference_named(
    bundle, catalogue
):
    plan = make_plan(_settings(catalogue, run_id="r"), bundle)
    save_plan(plan)
    other = make_plan(
        _settings(catalogue, run_id="r", embedding=True),
        dataclasses.replace(bundle, fingerprint="0"),
    )
    with pytest.raises(
        SettingsError, match=r"that differs in bundle, embedding. Choose another run_id"
    ):
        save_plan(other)
    assert load_plan(plan.run_uri) == plan


@pytest.mark.parametrize("honest", [True, False])
def test_save_plan_of_two_starts_at_once_lets_one_win_and_names_the_difference(
    bundle, catalogue, monkeypatch, honest
):
    """Both have seen that there is none. A server that is not honest ignores `If-None-Match`."""
    ours = make_plan(_settings(catalogue, run_id="r"), bundle)
    theirs = make_plan(_settings(catalogue, run_id="r", embedding=True), bundle)
    create = storage.create_bytes

    def late(uri, data):
        patch_storage(monkeypatch, "create_bytes", create)
        save_plan(theirs)
        if honest:
            return create(uri, data)
        storage.put_bytes(uri, data)
        return True

    patch_storage(monkeypatch, "create_bytes", late)
    if honest:
        with pytest.raises(
            SettingsError,
            match=r"holds a run that differs in embedding. Choose another run_id",
        ):
            save_plan(ours)
        assert load_plan(ours.run_uri) == theirs
    else:  # the later one wins, and the other would see it at its next start
        save_plan(ours)
        with pytest.raises(SettingsError, match="holds a run that differs in embedding"):
            save_plan(theirs)


def test_load_plan_of_a_folder_without_one_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="not the folder of a run"):
        load_plan(str(tmp_path))


def _bad_footer(path):
    data = bytearray(path.read_bytes())
    data[-60:-12] = b"\xff" * 48
    path.write_bytes(data)


def _no_bytes(path):
    path.write_bytes(b"")


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:-20])


def _no_parquet(path):
    path.write_bytes(b"hello, world, this is no table")


def _no_description(path):
    pq.write_table(pa.table({"ad_id": ["1"], "text": ["a"]}), path)


def _wrong_type(path):
    pq.write_table(pa.table({"ad_id": ["1"], "description": [1.5]}), path)


@pytest.mark.parametrize(
    ("spoil", "error", "reason"),
    [
        (_bad_footer, InputError, "not readable|thrift|Parquet"),
        (_no_bytes, InputError, "the file cannot be read as Parquet"),
        (_cut_short, InputError, "the file cannot be read as Parquet"),
        (_no_parquet, InputError, "the file cannot be read as Parquet"),
        (
            _no_description,
            SchemaError,
            r"no column 'description' \(setting columns\.description\)",
        ),
        (_wrong_type, SchemaError, "column 'description' has the type double"),
    ],
)
def test_plan_with_a_bad_file_ends_the_job_or_quarantines_it(
    bundle, catalogue, spoil, error, reason
):
    bad = str(catalogue / "b.parquet")
    _write(catalogue / "b.parquet", [6])
    spoil(catalogue / "b.parquet")
    with pytest.raises(error, match=reason) as raised:
        make_plan(_settings(catalogue), bundle)
    assert str(raised.value).startswith(f"{bad}: ")
    assert "\n" not in str(raised.value)

    plan = make_plan(_settings(catalogue, on_bad_file="quarantine"), bundle)
    assert [file.uri for file in plan.quarantined] == [bad]
    assert plan.quarantined[0].reason == str(raised.value)
    assert {shard.uri for shard in plan.shards} == {
        str(catalogue / name) for name in ("a.parquet", "c.parquet")
    }
    assert plan.num_rows == 15 + 12


@pytest.mark.parametrize(
    ("fitted_in", "options", "reason"),
    [
        (
            "fp32",
            {"compute": ScoringComputeSettings(precision="int8")},
            r"bundle v1 was fitted in fp32 .* or train with compute.precision int8",
        ),
        (
            "int8",
            {"compute": ScoringComputeSettings(precision="fp32")},
            r"bundle v1 was fitted in int8 .* or train with compute.precision fp32",
        ),
        (
            "int8",
            {"compute": ScoringComputeSettings(use_gpu=True)},
            (
                "compute.use_gpu: the bundle v1 was fitted in int8, which runs on CPU"
                " only. Leave the setting out"
            ),
        ),
    ],
)
def test_a_precision_that_the_bundle_was_not_fitted_in_is_refused(
    bundle, catalogue, fitted_in, options, reason
):
    bundle = dataclasses.replace(bundle, precision=fitted_in)
    with pytest.raises(SettingsError, match=reason):
        make_plan(_settings(catalogue, **options), bundle)


def test_the_precision_of_the_bundle_is_the_plan_s(bundle, catalogue):
    plain = make_plan(_settings(catalogue), bundle)
    quantised = make_plan(
        _settings(catalogue, compute=ScoringComputeSettings(precision="int8")),
        dataclasses.replace(bundle, precision="int8"),
    )
    assert (plain.precision, quantised.precision) == ("fp32", "int8")
    assert plain.fingerprint != quantised.fingerprint


def test_a_carried_column_has_one_type_in_all_files(bundle, tmp_path):
    folder = tmp_path / "in"
    for name, kind in (("a", pa.int64()), ("b", pa.string()), ("c", pa.int64())):
        table = _ads(1).append_column("price", pa.array([None], kind))
        _write(
            folder / f"{name}.parquet",
            [1],
            lambda rows, first=0, table=table: table.slice(0, rows),
        )
    with pytest.raises(
        SchemaError,
        match=r"b\.parquet: column 'price' has the type string, but int64 in .*a\.parquet\.",
    ):
        make_plan(_settings(folder, carry_columns=("price",)), bundle)
    plan = make_plan(
        _settings(folder, carry_columns=("price",), on_bad_file="quarantine"), bundle
    )
    assert [os.path.basename(shard.uri) for shard in plan.shards] == [
        "a.parquet",
        "c.parquet",
    ]
    assert (
        len(make_plan(_settings(folder), bundle).shards) == 3
    )  # not carried, the type does not matter


def test_a_carried_column_that_is_missing_is_named(bundle, catalogue):
    with pytest.raises(
        SchemaError,
        match=r"a\.parquet: the table has no column 'price' \(setting carry_columns\)",
    ):
        make_plan(_settings(catalogue, carry_columns=("price",)), bundle)


@pytest.mark.parametrize(
    "names", [("label",), ("ad_id",), ("embedding",), ("description", "description")]
)
def test_a_carried_column_cannot_have_the_name_of_another_output_column(
    bundle, catalogue, names
):
    for name in ("a", "b", "c"):
        pq.write_table(
            _ads(1, label=["x"], embedding=["x"]), catalogue / f"{name}.parquet"
        )
    with pytest.raises(SettingsError, match=f"carry_columns: {names[0]!r}"):
        make_plan(_settings(catalogue, carry_columns=names), bundle)


def test_plan_of_nothing_to_score_is_an_input_error(bundle, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(InputError, match="no Parquet or CSV file is here"):
        make_plan(_settings(folder), bundle)
    _write(folder / "a.parquet", [])
    _write(folder / "b.parquet", [0, 0])
    with pytest.raises(InputError, match="no row can be scored in 2 files"):
        make_plan(_settings(folder), bundle)
    (folder / "c.parquet").write_bytes(b"")
    with pytest.raises(
        InputError,
        match=r"no row can be scored in 3 files .*c\.parquet: the file cannot be read",
    ) as error:
        make_plan(_settings(folder, on_bad_file="quarantine"), bundle)
    assert error.value.exit_code == 3
    with pytest.raises(InputError, match="no such file"):
        make_plan(_settings(tmp_path / "nothing"), bundle)


def test_files_that_a_writer_has_not_finished_are_left_alone(bundle, catalogue):
    before = make_plan(_settings(catalogue), bundle)
    (catalogue / "_temporary").mkdir()
    for name in (
        "_temporary/x.parquet",
        ".hidden.parquet",
        "_SUCCESS",
        "_committed_1",
        "._a.csv",
        "a.parquet.crc",
    ):
        (catalogue / name).write_bytes(b"unfinished")
    assert make_plan(_settings(catalogue), bundle) == before


def test_plan_of_csv_input_has_shards_of_its_rows(bundle, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    lines = [f'00{n},"диван, новый\nугловой {n}",{n}' for n in range(25)]
    (folder / "ads.csv").write_text(
        "\n".join(["ad_id,description,price", *lines]) + "\n", "utf-8"
    )
    plan = make_plan(_settings(folder, shard_rows=10, carry_columns=("price",)), bundle)
    assert [(shard.start, shard.stop) for shard in plan.shards] == [(0, 10), (10, 25)]
    assert plan.shards[0].columns == {"ad_id": "ad_id", "description": "description"}
    (folder / "empty.csv").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.csv: the file cannot be read as CSV"):
        make_plan(_settings(folder), bundle)


def test_plan_with_columns_of_other_names_keeps_them(bundle, tmp_path):
    path = tmp_path / "in" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(
        pa.table({"id": [1, 2], "заголовок": ["a", "b"], "text": ["c", "d"]}), path
    )
    columns = {"ad_id": "id", "title": "заголовок", "description": "text"}
    plan = make_plan(_settings(path.parent, columns=columns), bundle)
    assert plan.shards[0].columns == columns
