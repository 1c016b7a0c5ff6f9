"""The index on S3: put with conditions, fetched once to this node, mended."""

from datetime import date

import pytest

from rubert_ood import storage
from rubert_ood.errors import VerificationError
from rubert_ood.publishing import reused
from rubert_ood.reuse.document import index_uri
from rubert_ood.runs.manifest import Manifest
from rubert_ood.settings import GateSettings, ScoreSettings, VerifySettings
from rubert_ood.storage import folders
from rubert_ood.storage.listing import list_below
from rubert_ood.workflows.score import score
from rubert_ood.workflows.verify import verify
from tests.conftest import write_parquet


def test_score_reuses_a_run_on_s3_and_mends_its_index(
    s3, ads, bundle, monkeypatch, tmp_path
):
    monkeypatch.setattr(reused, "MIN_CHECKED", 20)
    monkeypatch.setattr(folders, "CACHE_DIR", str(tmp_path / "cache"))
    write_parquet(f"{s3}/in/a.parquet", ads.slice(0, 150))

    def night(day: int) -> Manifest:
        settings = ScoreSettings(
            input_uri=f"{s3}/in",
            bundle_uri=bundle.uri,
            output_uri=f"{s3}/out",
            run_date=date(2026, 11, day),
            gate=GateSettings(max_ood_rate=1, max_other_rate=1),
            shard_rows=50,
            executor="local",
            report_changes=False,
        )
        return score(settings)

    first = night(1)
    second = night(2)
    assert second.reuse.run_uri == first.run_uri
    assert second.counts.rows_reused > 100
    assert second.counts.shards_without_index == 0
    verify(VerifySettings(run_uri=second.run_uri))
    files = list_below(index_uri(second.run_uri)).files
    (texts,) = [file.uri for file in files if "/texts-" in file.uri]
    data = storage.read_bytes(texts)
    storage.put_bytes(texts, data[:-50])
    night(2)
    assert storage.read_bytes(texts) == data
    storage.put_bytes(texts, data[:-50])
    third = night(3)
    assert third.counts.rows_reused == 0
    assert third.counts.shards_without_index == 3
    with pytest.raises(VerificationError, match="damaged"):
        verify(VerifySettings(run_uri=second.run_uri))
