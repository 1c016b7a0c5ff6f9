"""The shuffle through Ray against the one in this process, on random runs."""

import pytest

from rubert_ood.comparing import ray_shuffle, whole_run
from rubert_ood.comparing.compare import compare
from rubert_ood.errors import InputError
from tests.unit.comparing.runs import random_run

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ray_and_this_process_count_the_same_on_random_runs(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(whole_run, "PARTITION_ROWS", 37)
    monkeypatch.setattr(ray_shuffle, "READ_ROWS", 90)
    runs = [random_run(tmp_path / name, seed=2 * seed + n) for n, name in enumerate("ab")]
    here, on_ray = compare(*runs, executor="local"), compare(*runs, executor="ray")
    for name in ("mean_a", "mean_b"):
        expected = pytest.approx(getattr(here.confidence, name), rel=1e-12)
        assert getattr(on_ray.confidence, name) == expected
    assert here.model_copy(update={"confidence": on_ray.confidence}) == on_ray
    assert on_ray.changed > 0


def test_a_part_that_is_missing_keeps_its_error_on_the_way_through_ray(tmp_path):
    a, b = random_run(tmp_path / "a", seed=1), random_run(tmp_path / "b", seed=2)
    b.files[2] = (str(tmp_path / "gone.parquet"), 40)
    with pytest.raises(InputError, match=r"gone\.parquet"):
        compare(a, b, executor="ray")
