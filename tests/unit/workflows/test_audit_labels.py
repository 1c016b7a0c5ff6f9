"""What an audit writes for people who open it in a spreadsheet."""

import csv
import io

import pyarrow as pa

from rubert_ood.ads.csv_table import to_csv
from rubert_ood.auditing.audit import SCHEMA, Audit
from rubert_ood.workflows import audit_labels as workflow


def test_suspects_of_a_spreadsheet_have_no_cell_that_it_computes():
    table = pa.table(
        {
            "rank": [1, 2],
            "ad_id": ["=1+1", None],
            "text": ["@sum, да", "шины"],
            "margin": [-0.5, 0.25],
        }
    )
    rows = csv.DictReader(io.StringIO(to_csv(workflow._safe(table)).decode(), newline=""))
    assert list(rows) == [
        {"rank": "1", "ad_id": "'=1+1", "text": "'@sum, да", "margin": "-0.5"},
        {"rank": "2", "ad_id": "", "text": "шины", "margin": "0.25"},
    ]


def test_classes_that_cannot_be_judged_are_named_in_the_log(caplog):
    names = [f"класс {number}" for number in range(6)]
    found = Audit(9, 0, 1.0, names, SCHEMA.empty_table(), [], [])
    workflow._say(found)
    assert caplog.messages == [
        "audit     cannot judge 6 classes of too few texts: 'класс 0', 'класс 1',"
        " 'класс 2', 'класс 3', 'класс 4', ..."
    ]
