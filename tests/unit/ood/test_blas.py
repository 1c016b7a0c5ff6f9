import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_info

from rubert_ood.ood.blas import one_blas_thread


def _threads() -> set[int]:
    np.ones(2) @ np.ones(2)
    return {
        pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
    }


def test_one_blas_thread_limits_numpy_and_gives_its_threads_back():
    before = _threads()
    with one_blas_thread():
        assert _threads() == {1}
        with one_blas_thread():
            assert _threads() == {1}
        assert _threads() == {1}
    assert _threads() == before


def test_one_blas_thread_in_several_threads_leaves_no_limit_behind():
    before = _threads()

    def limited(number: int) -> set[int]:
        with one_blas_thread():
            time.sleep(0.002 * (number % 3))
            return _threads()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(limited, range(30))) == [{1}] * 30
    assert _threads() == before
