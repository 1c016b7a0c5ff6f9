import pyarrow.parquet as pq
import pytest

from rubert_ood import storage
from rubert_ood.annotating.document import Export, Task
from rubert_ood.errors import InputError
from rubert_ood.runs.plan import BundleName
from rubert_ood.settings import ImportAnnotateSettings
from rubert_ood.workflows.import_annotate import import_annotate


def _task(number: int) -> Task:
    return Task(
        task=number,
        key=f"{number:016x}",
        ad_id=f"{number}",
        title="новости",
        description=f"дня {number}",
        kind="far",
        label="Other",
        best="мебель",
    )


@pytest.fixture
def export_uri(tmp_path) -> str:
    tasks = [_task(1), _task(2), _task(3)]
    export = Export(
        name="e",
        created_at="2026-11-24T00:00:00+00:00",
        code_version="0",
        run_uri="r",
        run_id="r",
        run_date="2026-11-24",
        bundle=BundleName(uri="b", version="v", fingerprint="f"),
        labels=["мебель", "шины"],
        num_rows=3,
        num_eligible=3,
        num_drawn=0,
        taken={"far": 3},
        skipped={},
        tasks=tasks,
    )
    storage.put_json(str(tmp_path / "export" / "export.json"), export)
    return str(tmp_path / "export")


def test_import_of_an_export_without_a_class_writes_what_is_not_an_ad(
    export_uri, tmp_path
):
    said = ["[not an ad]", "[Not an ad]", "Other"]
    lines = [f"{number:016x};{answer}" for number, answer in enumerate(said, start=1)]
    answers = tmp_path / "answers.csv"
    answers.write_text("\n".join(["key;answer", *lines]))
    settings = ImportAnnotateSettings(
        export_uri=export_uri,
        answers_uri=str(answers),
        output_uri=str(tmp_path / "labelled.parquet"),
        not_ads_uri=str(tmp_path / "not_ads.parquet"),
    )
    with pytest.raises(InputError, match=r"\(2 are not ads, 1 of no class\)"):
        import_annotate(settings)
    assert not (tmp_path / "labelled.parquet").exists()
    texts = pq.read_table(tmp_path / "not_ads.parquet")["text"].to_pylist()
    assert texts == ["новости дня 1", "новости дня 2"]
