import pytest
import ray

from rubert_ood.errors import InputError
from rubert_ood.training.ray_tasks import results, run_tasks

pytestmark = pytest.mark.usefixtures("ray_local")


def _halves(number: int) -> tuple[int, int]:
    return number // 2, number - number // 2


def test_run_tasks_gives_the_references_of_each_result():
    lower, upper = run_tasks(_halves, [3, ray.put(8)], num_returns=2)
    assert (list(results(lower)), list(results(upper))) == ([1, 4], [2, 4])
    (texts,) = run_tasks(str, range(4))
    assert list(results(texts)) == ["0", "1", "2", "3"]


def _refuse(number: int) -> int:
    if number == 2:
        raise InputError("a.csv: no such file")
    return 1 // number


def test_results_raise_errors_of_the_package_as_they_are():
    (found,) = run_tasks(_refuse, [1, 2])
    with pytest.raises(InputError) as caught:
        list(results(found))
    assert type(caught.value) is InputError
    assert str(caught.value) == "a.csv: no such file"


def test_results_raise_other_errors_as_ray_does():
    (found,) = run_tasks(_refuse, [0])
    with pytest.raises(ZeroDivisionError):
        list(results(found))
