import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.errors import InputError
from rubert_ood.reuse.layout import NONE, RecordWriter, key_numbers, scored_texts
from tests.unit.reuse.tables import random_rows


@pytest.mark.parametrize("subheads", [False, True])
@pytest.mark.parametrize("embedding", [False, True])
def test_records_of_rows_become_the_same_columns_again(subheads, embedding):
    rows = random_rows(50, subheads=subheads, embedding=embedding)
    more = random_rows(30, seed=1, subheads=subheads, embedding=embedding, run_id="old")
    writer = RecordWriter(rows)
    made = [writer.records(table)[1] for table in (rows, more)]
    layout = writer.layout()
    whole = pa.concat_tables([rows, more])
    table = layout.to_table(whole["text_key"].to_pylist(), np.concatenate(made))
    assert table.schema == layout.schema
    expected = whole.select(table.schema.names)
    assert table.to_pylist() == expected.to_pylist()
    assert table.cast(expected.schema).equals(expected)


def test_records_have_one_width_and_the_tail_of_the_key():
    rows = random_rows(4, embedding=True)
    writer = RecordWriter(rows)
    heads, records = writer.records(rows)
    assert records.dtype.itemsize == writer.dtype.itemsize
    for key, head, tail in zip(
        rows["text_key"].to_pylist(), heads, records["tail"], strict=True
    ):
        assert f"{head:016x}{tail:016x}" == key


def test_layout_of_no_texts_makes_an_empty_table_of_the_same_columns():
    writer = RecordWriter(random_rows(3, subheads=True))
    layout = writer.layout()
    empty = layout.to_table([], np.empty(0, layout.dtype))
    assert (empty.schema, empty.num_rows) == (layout.schema, 0)


def test_scored_texts_leave_out_empty_rows_and_name_the_run_of_older_parts():
    rows = random_rows(4)
    status = pa.array(["ok", "empty", "ok", "ok"])
    rows = rows.set_column(rows.schema.get_field_index("status"), "status", status)
    older = scored_texts(rows.drop_columns("scored_in"), "before")
    assert older["ad_id"].to_pylist() == ["0-0", "0-2", "0-3"]
    assert set(older["scored_in"].to_pylist()) == {"before"}
    assert set(scored_texts(rows, "other")["scored_in"].to_pylist()) == {"night"}


def test_records_of_more_names_than_codes_are_refused():
    rows = random_rows(1)
    writer = RecordWriter(rows)
    names = pa.array([str(number) for number in range(NONE)])
    many = pa.concat_tables([rows] * NONE)
    position = many.schema.get_field_index("label")
    with pytest.raises(InputError, match="65,535 labels"):
        writer.records(many.set_column(position, "label", names))


def test_to_table_of_a_code_without_a_name_is_refused():
    rows = random_rows(4)
    writer = RecordWriter(rows)
    _, records = writer.records(rows)
    layout, keys = writer.layout(), rows["text_key"].to_pylist()
    for code in (len(layout.names), NONE - 1):
        damaged = records.copy()
        damaged["topk_labels"][2, 1] = code
        with pytest.raises(InputError, match="has an unknown topk_labels"):
            layout.to_table(keys, damaged)
    damaged["topk_labels"][2, 1] = NONE
    assert layout.to_table(keys, damaged)["topk_labels"][2].as_py()[1] is None


def test_key_numbers_are_the_digits_of_the_keys():
    keys = ["00" * 16, "ff" * 16, "0123456789abcdef8000000000000001"]
    assert key_numbers(keys).tolist() == [
        [int(key[:16], 16), int(key[16:], 16)] for key in keys
    ]
