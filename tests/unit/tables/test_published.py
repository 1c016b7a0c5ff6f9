import pyarrow as pa
import pytest

from rubert_ood.errors import InputError, SchemaError
from rubert_ood.publishing.publish import publish_run
from rubert_ood.tables.published import published_run
from tests.unit.tables.published_runs import OPEN, put_run


def test_published_run_is_what_the_pointer_names(tmp_path):
    out = str(tmp_path)
    assert published_run(out) is None
    manifest = publish_run(put_run(out, "r1"), OPEN)
    first = published_run(out)
    assert first.manifest == manifest
    assert first.path == "run_date=2026-11-24/run_id=r1"
    assert published_run(out, first) is first
    publish_run(put_run(out, "r2", finished="11:00:00"), OPEN)
    assert published_run(out, first).manifest.run_id == "r2"


def test_published_run_of_other_content_has_other_marks(tmp_path):
    out = str(tmp_path)
    publish_run(put_run(out, "r1"), OPEN)
    run = published_run(out)
    again = published_run(out)
    assert again.marks == run.marks
    files = [*run.manifest.files]
    files[0] = files[0].model_copy(update={"sha256": "0" * 64})
    other = run.manifest.model_copy(update={"files": files})
    changed = type(run)(run.path, other).marks
    assert changed.keys() == run.marks.keys()
    assert [name for name in changed if changed[name] != run.marks[name]] == [
        "rubert_ood.files"
    ]


def test_published_run_has_columns_that_may_all_be_null(tmp_path):
    out = str(tmp_path)
    publish_run(put_run(out, "r1", price=pa.array([1, 2, 3])), OPEN)
    schema = published_run(out).schema
    assert all(field.nullable for field in schema)
    assert schema.field("price").type == pa.int64()
    assert schema.field("ad_id").type == pa.string()


def test_published_run_with_a_column_that_tables_lack_names_it(tmp_path):
    out = str(tmp_path)
    publish_run(put_run(out, "r1", code=pa.array([1, 2, 3], pa.uint32())), OPEN)
    with pytest.raises(SchemaError, match="column 'code' has the type uint32"):
        _ = published_run(out).schema


def test_published_run_without_a_part_is_an_input_error(tmp_path):
    out = str(tmp_path)
    publish_run(put_run(out, "r1", num_parts=0), OPEN, force="nothing to sell")
    with pytest.raises(InputError, match="no shard of this run was scored"):
        _ = published_run(out).schema
