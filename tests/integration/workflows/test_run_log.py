"""What `_run/log/` of a run has after each end of it, one process without Ray."""

import json
import logging
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rubert_ood.errors import (
    ErrorRateError,
    PartialRunError,
)
from rubert_ood.interrupts import Terminated
from rubert_ood.reports import run_page
from rubert_ood.scoring import executor
from rubert_ood.settings import GateSettings, ScoreSettings, VerifySettings
from rubert_ood.workflows.score import score
from rubert_ood.workflows.verify import verify

WIDE_OPEN = GateSettings(
    max_error_rate=1,
    max_ood_rate=1,
    max_other_rate=1,
    max_quarantined_share=1,
    max_duplicate_rate=1,
    max_class_shift=1,
)
PHONE = "8 912 345-67-89"


@pytest.fixture(autouse=True)
def quick(monkeypatch, caplog):
    monkeypatch.setattr(run_page, "run_html", lambda manifest, *_: manifest.outcome)
    caplog.set_level(logging.INFO, "rubert_ood")


@pytest.fixture
def settings(ads, bundle, tmp_path) -> ScoreSettings:
    source = tmp_path / "in"
    source.mkdir()
    pq.write_table(ads.slice(0, 40), source / "a.parquet", row_group_size=20)
    return ScoreSettings(
        input_uri=str(source),
        bundle_uri=bundle.uri,
        output_uri=str(tmp_path / "out"),
        run_date=date(2026, 11, 24),
        run_id="night",
        shard_rows=20,
        gate=WIDE_OPEN,
        executor="local",
    )


def _run_dir(settings: ScoreSettings) -> Path:
    return Path(settings.output_uri, "run_date=2026-11-24", "run_id=night")


def _logs(settings: ScoreSettings) -> list[list[dict]]:
    """Return the lines of each start, the oldest first."""
    paths = (_run_dir(settings) / "_run" / "log").glob("*.jsonl")
    texts = [path.read_text("utf-8") for path in sorted(paths, key=_written_at)]
    return [[json.loads(line) for line in text.splitlines()] for text in texts]


def _written_at(path: Path) -> int:
    return path.stat().st_mtime_ns


def _stopping(monkeypatch, error: BaseException) -> None:
    """Let the second shard of the next start meet an error outside of the stages."""
    write = executor.write
    calls = []

    def stop(item, job):
        calls.append(item)
        if len(calls) == 2:
            raise error
        return write(item, job)

    monkeypatch.setattr(executor, "write", stop)


def test_log_of_a_run_tells_it_from_its_plan_to_its_publication(settings, ads):
    manifest = score(settings)
    (lines,) = _logs(settings)
    assert lines[-1]["message"] == manifest.run_uri
    assert lines[-1]["stage"] == "published"
    assert {line["run_id"] for line in lines} == {"night"}
    assert "scores 2 shards in this process" in [line["message"] for line in lines]
    written = json.dumps(lines, ensure_ascii=False)
    for ad in ads.slice(0, 40).to_pylist():
        assert ad["title"] not in written or len(ad["title"]) < 8


def test_log_of_a_published_run_stays_through_verify_and_another_start(settings):
    score(settings)
    before = _logs(settings)
    verify(VerifySettings(run_uri=str(_run_dir(settings))))
    score(settings)  # it is published already, and nothing in it changes
    assert _logs(settings) == before


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (Terminated(), "terminated"),
        (PartialRunError("a node is gone"), "PartialRunError: a node is gone"),
    ],
)
def test_log_of_a_run_that_stops_and_of_the_start_that_ends_it_are_two_files(
    settings, monkeypatch, error, message
):
    with monkeypatch.context() as patch:
        _stopping(patch, error)
        with pytest.raises(type(error)):
            score(settings)
    (lines,) = _logs(settings)
    assert (lines[-1]["stage"], lines[-1]["message"]) == ("end", message)

    score(settings)
    first, second = _logs(settings)
    assert first == lines
    resumed = "resumes with 1 of 2 shards done"
    assert resumed in [line["message"] for line in second]
    assert second[-1]["stage"] == "published"


def test_log_of_a_run_has_the_trace_of_a_shard_and_no_word_of_an_ad(
    settings, monkeypatch
):
    """A library that quotes what it chokes on."""

    def choke(*_, **__):
        raise ValueError(f"cannot cast {PHONE}")

    monkeypatch.setattr("rubert_ood.scoring.encode.encode_rows", choke)
    with pytest.raises(ErrorRateError):  # every shard is quarantined
        score(settings)
    (lines,) = _logs(settings)
    (shard_id, *_) = sorted({line["shard"] for line in lines if line["shard"]})
    failed = [line for line in lines if line["message"].startswith("shard ")]
    traces = [line["trace"] for line in failed if line["shard"] == shard_id]
    assert traces
    assert traces[0][-1] == "ValueError: cannot cast # ### ###-##-##"
    assert " in _encode_shard" in traces[0][-3]
    assert " in choke" in traces[0][-2]
    assert PHONE not in json.dumps(lines, ensure_ascii=False)
