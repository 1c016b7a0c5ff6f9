"""People in the loop: a run is exported, answered from the truth, imported, and trained on."""

import csv
import io
import json
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from rubert_ood import storage
from rubert_ood.ads.dataset import read_labelled
from rubert_ood.ads.text import ad_text, text_key
from rubert_ood.annotating.label_studio import NOT_AN_AD
from rubert_ood.bundle import derive_bundle, load_bundle
from rubert_ood.errors import (
    InputError,
    OutputError,
    SettingsError,
    StorageUnavailableError,
)
from rubert_ood.predictor import Model
from rubert_ood.settings import (
    ColumnSettings,
    DecisionSettings,
    ExportAnnotateSettings,
    GateSettings,
    ImportAnnotateSettings,
    MixSettings,
    ScoreSettings,
)
from rubert_ood.synthetic.catalogue import generate_ads, out_of_domain_texts
from rubert_ood.workflows import export_annotate as workflow
from rubert_ood.workflows.export_annotate import export_annotate
from rubert_ood.workflows.import_annotate import import_annotate
from rubert_ood.workflows.score import score
from tests.conftest import write_parquet

WIDE_OPEN = GateSettings(
    max_error_rate=1,
    max_ood_rate=1,
    max_other_rate=1,
    max_duplicate_rate=1,
    max_class_shift=1,
)
NUM_OOD = 60


@pytest.fixture(scope="module")
def catalogue(labelled_ads, tmp_path_factory) -> pa.Table:
    """1,000 other ads of the ten classes, near-duplicates among them, and texts that are no ads."""
    table = pa.Table.from_batches(list(generate_ads(5_000, seed=8, balanced=True)))
    classes = set(labelled_ads["category"].to_pylist())
    mask = [name in classes for name in table["category"].to_pylist()]
    table = table.filter(pa.array(mask)).select(
        ["ad_id", "title", "description", "category", "city"]
    )
    texts = [
        text for of_kind in out_of_domain_texts(20, seed=1).values() for text in of_kind
    ][:NUM_OOD]
    others = {
        "ad_id": [f"ood-{number}" for number in range(len(texts))],
        "title": [""] * len(texts),
        "description": texts,
        "category": [NOT_AN_AD] * len(texts),
        "city": [None] * len(texts),
    }
    return pa.concat_tables([table, pa.table(others, schema=table.schema)])


@pytest.fixture(scope="module")
def loose_bundle(trained_bundle, tmp_path_factory) -> str:
    """The trained bundle with an OOD rule that flags some."""
    made = load_bundle(trained_bundle)
    rule = DecisionSettings(rule="conformal", conformal_alpha=0.05, ood_conf_gate=1.01)
    fitted = replace(made.fitted, decision=rule)
    uri = str(tmp_path_factory.mktemp("loose") / "bundle")
    return derive_bundle(made, uri, fitted=fitted).uri


@pytest.fixture(scope="module")
def run_uri(catalogue, loose_bundle, tmp_path_factory) -> str:
    return _scored(catalogue, loose_bundle, tmp_path_factory.mktemp("annotate"))


def _scored(ads: pa.Table, bundle_uri: str, folder: Path) -> str:
    """Score ads without their labels; return the URI of the run."""
    write_parquet(folder / "ads.parquet", ads.drop_columns("category"))
    scored = score(
        ScoreSettings(
            bundle_uri=bundle_uri,
            input_uri=str(folder / "ads.parquet"),
            output_uri=str(folder / "scored"),
            run_date=date(2026, 11, 24),
            executor="local",
            gate=WIDE_OPEN,
            report_changes=False,
        )
    )
    return scored.run_uri


def _export(run_uri: str, folder: Path, **changes):
    values = {"run_uri": run_uri, "output_uri": str(folder), "num": 100} | changes
    return export_annotate(ExportAnnotateSettings(**values))


def _truth(catalogue: pa.Table) -> dict[str, str]:
    pairs = zip(
        catalogue["ad_id"].to_pylist(), catalogue["category"].to_pylist(), strict=True
    )
    return dict(pairs)


def _annotation(answer: str | None, who: object = 1, **others) -> dict:
    choices = [] if answer is None else [answer]
    result = {
        "from_name": "category",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": choices},
    }
    return {"completed_by": who, "result": [result] if choices else [], **others}


def _answered(export, answers: dict[str, list[dict]], folder: Path) -> str:
    """Write what Label Studio exports: data and annotations of each task."""
    tasks = json.loads((folder / export.name / "tasks.json").read_text("utf-8"))
    for number, task in enumerate(tasks):
        task["id"] = 1000 + number
        task["annotations"] = answers.get(task["data"]["ad_id"], [])
    (folder / "answers.json").write_text(json.dumps(tasks), "utf-8")
    return str(folder / "answers.json")


def test_export_picks_of_each_kind_by_its_rank(run_uri, catalogue, tmp_path):
    export = _export(run_uri, tmp_path, max_similarity=1.0)
    scored = pq.read_table(next(Path(run_uri).glob("data-*.parquet"))).to_pandas()
    scored = scored.set_index("ad_id")
    by_kind: dict[str, list] = {}
    for task in export.tasks:
        by_kind.setdefault(task.kind, []).append(task)
        row = scored.loc[task.ad_id]
        assert (task.label, task.best) == (row["label"], row["topk_labels"][0])
        assert task.confidence == pytest.approx(row["confidence"])
    assert sum(export.taken.values()) == 100
    assert "sub_unsure" not in by_kind
    assert all(scored.loc[task.ad_id, "is_ood"] for task in by_kind["far"])
    unsure = scored[~scored["is_ood"].astype(bool)].nsmallest(230, "confidence")
    assert {task.ad_id for task in by_kind["least_sure"]} <= set(unsure.index)
    texts = dict(
        zip(
            catalogue["ad_id"].to_pylist(),
            catalogue["description"].to_pylist(),
            strict=True,
        )
    )
    assert all(task.description == texts[task.ad_id] for task in export.tasks)


def test_export_writes_tasks_that_label_studio_imports(run_uri, trained_bundle, tmp_path):
    export = _export(run_uri, tmp_path, num=40)
    folder = tmp_path / export.name
    tasks = json.loads((folder / "tasks.json").read_text("utf-8"))
    view = ET.fromstring((folder / "label_config.xml").read_text("utf-8"))
    choices = view.find("Choices[@name='category']")
    labels = [choice.get("value") for choice in choices]
    classes = load_bundle(trained_bundle).fitted.labels
    assert labels[:-2] == classes
    by_key = {task.key: task for task in export.tasks}
    for task in tasks:
        taken = by_key[task["data"]["key"]]
        if taken.kind == "random":
            assert "predictions" not in task
            continue
        prediction = task["predictions"][0]
        assert set(prediction) == {"model_version", "score", "result"}
        assert 0 <= prediction["score"] <= 1
        result = prediction["result"][0]
        assert view.find(f".//*[@name='{result['to_name']}']").get("value") == (
            "$description"
        )
        assert result["value"]["choices"] == [taken.best]
        assert result["from_name"] == "category"
    rows = list(
        csv.DictReader(io.StringIO((folder / "tasks.csv").read_text("utf-8-sig")))
    )
    assert [row["key"] for row in rows] == [f"ad-{task.key}" for task in export.tasks]


def test_exports_one_after_the_other_never_take_an_ad_or_text_twice(
    run_uri, trained_bundle, tmp_path
):
    cleaner = load_bundle(trained_bundle).cleaner
    ids, texts = Counter(), Counter()
    for _ in range(3):
        export = _export(run_uri, tmp_path, num=60)
        for task in export.tasks:
            ids[task.ad_id] += 1
            text = cleaner.clean(ad_text(task.title, task.description))
            texts[text_key(text)] += 1
    assert len(ids) > 150
    assert set(ids.values()) == {1}
    assert set(texts.values()) == {1}
    assert export.skipped["seen_before"] >= 120
    register = "".join(
        path.read_text() for path in (tmp_path / "_register").glob("*.json")
    )
    assert not any(ad_id in register for ad_id in ids)


def test_exports_at_once_take_different_ads(run_uri, tmp_path):
    with ThreadPoolExecutor(3) as pool:
        exports = list(pool.map(lambda _: _export(run_uri, tmp_path, num=50), range(3)))
    for name in ("key", "ad_id"):
        found = [getattr(task, name) for export in exports for task in export.tasks]
        assert len(found) == len(set(found))
    assert sorted(path.name for path in (tmp_path / "_register").glob("*.json")) == [
        f"{number:08d}.json" for number in (1, 2, 3)
    ]
    for export in exports:
        tasks = json.loads((tmp_path / export.name / "tasks.json").read_text("utf-8"))
        written = [task["data"]["key"] for task in tasks]
        assert written == [task.key for task in export.tasks]


def test_answers_of_ads_that_share_an_id_stay_apart(catalogue, loose_bundle, tmp_path):
    """Ads of one id are all scored, and only the random control may draw two of them."""
    ids = pa.array([str(number // 50) for number in range(catalogue.num_rows)])
    shared = catalogue.set_column(0, "ad_id", ids)
    export = _export(_scored(shared, loose_bundle, tmp_path), tmp_path)
    assert len({task.key for task in export.tasks}) == len(export.tasks)
    picked = [task.ad_id for task in export.tasks if task.kind != "random"]
    drawn = [task.ad_id for task in export.tasks if task.kind == "random"]
    assert len(picked) == len(set(picked)) > 0
    assert not set(picked) & set(drawn)
    assert len(drawn) > len(set(drawn))
    titles = zip(
        shared["title"].to_pylist(), shared["description"].to_pylist(), strict=True
    )
    truth = dict(zip(titles, shared["category"].to_pylist(), strict=True))
    tasks = json.loads((tmp_path / export.name / "tasks.json").read_text("utf-8"))
    for task in tasks:
        words = task["data"]["title"], task["data"]["description"]
        task["annotations"] = [_annotation(truth[words])]
    (tmp_path / "answers.json").write_text(json.dumps(tasks), "utf-8")
    found = import_annotate(
        ImportAnnotateSettings(
            export_uri=str(tmp_path / export.name),
            answers_uri=str(tmp_path / "answers.json"),
            output_uri=str(tmp_path / "labelled.parquet"),
        )
    )
    assert len(found.rows) + len(found.not_ads) == len(export.tasks)
    for row in found.rows:
        assert row["category"] == truth[row["title"], row["description"]]


def test_export_of_near_duplicates_takes_one(run_uri, tmp_path):
    loose = _export(run_uri, tmp_path / "a", max_similarity=1.0)
    strict = _export(run_uri, tmp_path / "b", max_similarity=0.3)
    assert strict.skipped["near_duplicates"] > loose.skipped["near_duplicates"]
    words = [
        set(f"{task.title} {task.description}".lower().split())
        for task in strict.tasks
        if task.kind != "random"
    ]
    shared = [
        len(one & other) / len(one | other)
        for number, one in enumerate(words)
        for other in words[:number]
    ]
    assert max(shared) < 0.5


def test_export_under_a_name_that_is_taken_is_refused(run_uri, tmp_path):
    _export(run_uri, tmp_path, num=5, name="one")
    with pytest.raises(OutputError, match="exists already"):
        _export(run_uri, tmp_path, num=5, name="one")


@pytest.mark.parametrize("step", ["read_texts", "choose", "_write"])
@pytest.mark.parametrize(
    "error", [StorageUnavailableError("run the same command again"), KeyboardInterrupt()]
)
def test_export_that_was_stopped_runs_again_under_its_name(
    step, error, run_uri, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(workflow, step, Mock(side_effect=error))
        with pytest.raises(type(error)):
            _export(run_uri, tmp_path, num=5, name="one")
    assert _export(run_uri, tmp_path, num=5, name="one").name == "one"


def test_export_that_failed_once_it_was_noted_keeps_its_name(
    run_uri, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(workflow, "_say", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _export(run_uri, tmp_path, num=5, name="one")
    with pytest.raises(OutputError, match="exists already"):
        _export(run_uri, tmp_path, num=5, name="one")


def test_export_of_a_run_whose_ads_are_all_taken_is_refused(run_uri, tmp_path):
    mix = MixSettings(least_sure=0, near_limit=0, far=1, sub_unsure=0, random=0)
    changes = {"num": 400, "mix": mix, "max_similarity": 1.0}
    for _ in range(4):
        with suppress(InputError):
            _export(run_uri, tmp_path, **changes)
    with pytest.raises(InputError, match="Use another run"):
        _export(run_uri, tmp_path, **changes)


def test_export_of_what_is_not_a_whole_run_is_one_line(run_uri, tmp_path):
    above = Path(run_uri).parent
    with pytest.raises(InputError, match="not the folder of a run") as refused:
        _export(str(above), tmp_path)
    assert "run_id=ID" in str(refused.value)
    planned = tmp_path / "planned" / "run_date=2026-11-24" / "run_id=x"
    (planned / "_run").mkdir(parents=True)
    plan = Path(run_uri) / "_run" / "plan.json"
    (planned / "_run" / "plan.json").write_bytes(plan.read_bytes())
    with pytest.raises(InputError, match=r"not complete \(outcome planned\)"):
        _export(str(planned), tmp_path)


def test_export_with_another_bundle_is_refused(run_uri, trained_bundle, tmp_path):
    with pytest.raises(SettingsError, match="not the bundle of this run"):
        _export(run_uri, tmp_path, bundle_uri=trained_bundle)


def test_import_of_the_truth_measures_the_run_and_teaches_hard_classes(
    run_uri, catalogue, labelled_ads, trained_bundle, tmp_path
):
    """The head of a starved training gains where it knew least: a linear head on CLS, as cheap as
    a training can be."""
    export = _export(run_uri, tmp_path, num=300)
    truth = _truth(catalogue)
    answers = {task.ad_id: [_annotation(truth[task.ad_id])] for task in export.tasks}
    found = import_annotate(
        ImportAnnotateSettings(
            export_uri=str(tmp_path / export.name),
            answers_uri=_answered(export, answers, tmp_path),
            output_uri=str(tmp_path / "labelled.parquet"),
            not_ads_uri=str(tmp_path / "not_ads.parquet"),
        )
    )
    assert len(found.rows) + len(found.not_ads) == len(export.tasks)
    scored = pq.read_table(next(Path(run_uri).glob("data-*.parquet")))
    labels = dict(
        zip(scored["ad_id"].to_pylist(), scored["label"].to_pylist(), strict=True)
    )
    right = [
        labels[ad_id] == (truth[ad_id] if truth[ad_id] != NOT_AN_AD else "Other")
        for ad_id in labels
    ]
    low, high = found.control.interval
    assert found.control.num == export.num_drawn == 60
    assert low <= np.mean(right) <= high

    added = read_labelled(str(tmp_path / "labelled.parquet"), ColumnSettings())
    model = Model(load_bundle(trained_bundle))
    classes = model.labels
    known = labelled_ads.slice(0, 1_000)
    held_out = labelled_ads.slice(1_000)
    hard = classes[:3]
    starved = [
        row
        for row, name in enumerate(known["category"].to_pylist())
        if name not in hard or row < 60
    ]
    before = _learn(model, [known.take(starved)])
    after = _learn(model, [known.take(starved), added])
    gains = _f1(after, model, held_out, hard) - _f1(before, model, held_out, hard)
    assert gains > 0.02


def _learn(model: Model, tables: list[pa.Table]) -> LogisticRegression:
    names = [name for table in tables for name in table["category"].to_pylist()]
    cls_NH = np.concatenate([model.embed(_plain(table)) for table in tables])
    read_N = np.isfinite(cls_NH).all(axis=1)
    names_N = np.array(names, object)[read_N]
    return LogisticRegression(max_iter=300).fit(cls_NH[read_N], names_N)


def _f1(head, model: Model, table: pa.Table, classes: list[str]) -> float:
    said = head.predict(np.nan_to_num(model.embed(_plain(table))))
    return f1_score(table["category"].to_pylist(), said, labels=classes, average="macro")


def _plain(table: pa.Table) -> pa.Table:
    return table.select(["title", "description"])


def test_import_of_several_annotators_decides_by_majority_and_counts_the_rest(
    run_uri, tmp_path, caplog
):
    export = _export(run_uri, tmp_path, num=20)
    ads = [task.ad_id for task in export.tasks]
    a, b, c = export.labels[:3]
    answers = {ad_id: [_annotation(a)] for ad_id in ads}
    answers[ads[0]] = [_annotation(a, 1), _annotation(a, {"id": 2}), _annotation(b, 3)]
    answers[ads[1]] = [_annotation(a, 1), _annotation(b, 2)]
    answers[ads[2]] = [_annotation(b, 1, was_cancelled=True)]
    answers[ads[3]] = [_annotation(None)]
    answers[ads[4]] = [_annotation("телефон +79123456789")]
    answers[ads[5]] = [_annotation(NOT_AN_AD)]
    answers[ads[6]] = [_annotation("Other")]
    answers[ads[7]] = [
        _annotation(c, 1, updated_at="2026-11-25T10:00:00Z"),
        _annotation(b, 1, updated_at="2026-11-24T10:00:00Z"),
    ]
    answers[ads[8]] = [
        {
            "completed_by": 1,
            "result": [{"from_name": "category", "value": {"choices": [a, b]}}],
        }
    ]
    answers[ads[9]] = []
    uri = _answered(export, answers, tmp_path)
    with caplog.at_level("INFO"):
        found = import_annotate(
            ImportAnnotateSettings(
                export_uri=str(tmp_path / export.name),
                answers_uri=uri,
                output_uri=str(tmp_path / "labelled.csv"),
            )
        )
    number = {task.ad_id: task.task for task in export.tasks}
    rows = {row["ad_id"]: row for row in found.rows}
    assert len(rows) == 20 - 8 + 0
    assert (rows[ads[0]]["category"], rows[ads[0]]["num_agreeing"]) == (a, 2)
    assert rows[ads[7]]["category"] == c
    assert found.disagreed == [number[ads[1]]]
    assert sorted(found.missing) == sorted(number[ads[n]] for n in (2, 3, 4, 8, 9))
    assert (len(found.not_ads), found.num_no_class) == (1, 1)
    assert found.num_shared == 2
    written = read_labelled(str(tmp_path / "labelled.csv"), ColumnSettings())
    assert written["category"].to_pylist() == [row["category"] for row in found.rows]
    said = caplog.text
    for line in (
        "left out 1 answer: cancelled",
        "left out 1 answer: of several classes",
        "left out 1 answer: replaced by a later one",
        f"left out 1 task without a majority: number {number[ads[1]]}",
        "left out 5 tasks without a valid answer",
    ):
        assert line in said
    assert "79123456789" not in said
    long = [task.description for task in export.tasks if len(task.description) > 20]
    assert not any(text in said for text in long)


def test_import_of_the_sheet_filled_in_keeps_texts_and_weights(run_uri, tmp_path):
    export = _export(run_uri, tmp_path, num=20)
    path = tmp_path / export.name / "tasks.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
    for row in rows:
        row["answer"] = export.labels[0]
        row["description"] = "cut by the spreadsheet"
    with (tmp_path / "filled.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    import_annotate(
        ImportAnnotateSettings(
            export_uri=str(tmp_path / export.name),
            answers_uri=str(tmp_path / "filled.csv"),
            output_uri=str(tmp_path / "labelled.parquet"),
        )
    )
    table = pq.read_table(tmp_path / "labelled.parquet")
    assert table["description"].to_pylist() == [t.description for t in export.tasks]
    assert table["weight"].to_pylist() == [task.weight for task in export.tasks]
    random = [task.weight for task in export.tasks if task.kind == "random"]
    assert sum(random) == pytest.approx(export.num_eligible)


def test_import_of_another_file_is_one_line(run_uri, tmp_path):
    export = _export(run_uri, tmp_path, num=5)
    storage.put_bytes(str(tmp_path / "answers.json"), b'[{"text": "a"}]')
    with pytest.raises(InputError, match="item 1 has no data or no annotations"):
        import_annotate(
            ImportAnnotateSettings(
                export_uri=str(tmp_path / export.name),
                answers_uri=str(tmp_path / "answers.json"),
                output_uri=str(tmp_path / "labelled.parquet"),
            )
        )
