import pytest

from rubert_ood.operating.ray_jobs import ADDRESS_VARIABLE
from rubert_ood.settings import SubmitSettings
from tests.unit.operating.jobs_server import cluster

DAY = "2026-11-27"


@pytest.fixture
def ray_cluster(monkeypatch):
    monkeypatch.setenv(ADDRESS_VARIABLE, "http://127.0.0.1:1")  # put back afterwards
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with cluster() as state:
        yield state


@pytest.fixture
def settings_of(ray_cluster):
    """Return settings for the local cluster, with others given."""
    fixed = {"address": ray_cluster.url, "working_dir": "none"}
    fixed |= {"run_date": DAY, "poll_s": 0.01}
    return lambda **given: SubmitSettings(**fixed | given)
