import json

import pytest

from rubert_ood.settings import SubmitSettings, load_settings, with_job


@pytest.mark.parametrize(
    ("words", "own", "job", "given"),
    [
        (["score"], [], "score", []),
        (["--stop", "score", "--x", "1"], ["--stop"], "score", ["--x", "1"]),
        (["--name", "score", "train"], ["--name", "score"], "train", []),
        (["--poll_s=3", "plan", "--a"], ["--poll_s=3"], "plan", ["--a"]),
    ],
)
def test_with_job_splits_at_the_name_of_the_job(words, own, job, given):
    assert with_job(words) == [*own, "--job", job, "--job_words", json.dumps(given)]


def test_with_job_of_flags_alone_changes_nothing():
    assert with_job(["--poll_s", "3"]) == ["--poll_s", "3"]


@pytest.mark.parametrize(
    "flags", [["--run_date", "2026-11-24"], ["--run_date=2026-11-24"]]
)
def test_with_job_takes_the_day_of_the_job(flags):
    words = with_job(["--poll_s", "3", "score", "--config", "a,b.yaml", *flags])
    read = load_settings(SubmitSettings, words, program="submit")
    assert (read.job, str(read.run_date), read.poll_s) == ("score", "2026-11-24", 3)
    assert read.job_words == ("--config", "a,b.yaml", *flags)
