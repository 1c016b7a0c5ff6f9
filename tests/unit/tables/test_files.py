import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rubert_ood.errors import InputError
from rubert_ood.tables.files import with_sizes
from tests.unit.tables.published_runs import put_run


def test_with_sizes_of_parts_looks_them_up(tmp_path):
    manifest = put_run(str(tmp_path), "r1", num_rows=4, num_parts=3)
    folder = Path(manifest.run_uri)
    files = with_sizes(manifest.run_uri, manifest.files)
    assert [file.path for file in files] == sorted(
        p.name for p in folder.glob("*.parquet")
    )
    for file in files:
        data = (folder / file.path).read_bytes()
        assert file.bytes == len(data)
        assert file.sha256 == hashlib.sha256(data).hexdigest()
        assert file.rows == pq.read_metadata(folder / file.path).num_rows == 4


def test_with_sizes_names_a_file_that_is_gone(tmp_path):
    manifest = put_run(str(tmp_path), "r1")
    Path(manifest.run_uri, "part-r1-1.parquet").unlink()
    with pytest.raises(InputError, match=r"r1/part-r1-1\.parquet: no such file"):
        with_sizes(manifest.run_uri, manifest.files)
