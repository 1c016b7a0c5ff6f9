import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.ads.ad_block import ad_block
from rubert_ood.ads.dataset import load_dataset
from rubert_ood.errors import SchemaError
from rubert_ood.training.ray_workers import RayWorkers
from tests.conftest import write_parquet

pytestmark = pytest.mark.usefixtures("ray_local")


def _blocks(number: int) -> list[pa.Table]:
    rows = np.array([10 - number, 20 + number])
    first = ad_block(rows, np.array([number, 0]), [f"а{number}", f"б{number}"])
    return [first, first.slice(0, 1), first.slice(0, 0), first.slice(0, 0)]


def test_ray_workers_leave_texts_where_they_are():
    first, second, third, _ = RayWorkers().make_ads(_blocks, [0, 1, 2])
    assert first.rows_N.tolist() == [8, 9, 10, 20, 21, 22]
    assert first.labels_N.tolist() == [2, 1, 0, 0, 0, 0]
    assert first.here().texts == ["а2", "а1", "а0", "б0", "б1", "б2"]
    assert second.here().texts == ["а2", "а1", "а0"]
    assert (len(third), third.blocks) == (0, ())


def test_ray_workers_map_keeps_the_order():
    assert list(RayWorkers().map(str, [3, 1, 2])) == ["3", "1", "2"]


def test_error_of_a_shard_is_that_of_the_package(tmp_path, train_settings, labelled_ads):
    names = labelled_ads["category"].to_pylist()
    names[1_500] = None
    place = labelled_ads.schema.names.index("category")
    table = labelled_ads.set_column(place, "category", pa.array(names))
    uri = write_parquet(tmp_path / "a.parquet", table)
    settings = train_settings.model_copy(update={"input_uri": uri})
    with pytest.raises(SchemaError) as caught:
        load_dataset(settings, RayWorkers())
    assert str(caught.value) == (
        f"{uri}: row 1501 (without the header): column 'category' has no label. Fill it"
        " in, or drop the row"
    )
