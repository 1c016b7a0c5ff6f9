"""Small functions on many items, each where its item lies: plain Ray tasks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ray
import ray.exceptions

from rubert_ood import interrupts
from rubert_ood.errors import RubertOodError
from rubert_ood.ray_session import TASK_RETRIES

POLL_S = 1.0


def run_tasks(
    function: Callable[[Any], Any], items: Iterable[object], num_returns: int = 1
) -> list[list[ray.ObjectRef]]:
    """Start a task for each item, which may be a reference; return the references of each result.

    With num_returns of two or more, the function returns so many values, and the first list has the
    references of all first ones.
    """
    task = ray.remote(num_cpus=1, num_returns=num_returns, **TASK_RETRIES)(_call)
    shared = ray.put(function)
    started = [task.remote(shared, item) for item in items]
    if num_returns == 1:
        return [started]
    return [[refs[number] for refs in started] for number in range(num_returns)]


def _call(function: Callable[[Any], Any], item: object) -> object:
    return function(item)


def results(references: Sequence[ray.ObjectRef]) -> Iterator[Any]:
    """Yield the values of references in their order; errors of this package keep their class."""
    for reference in references:
        while not ray.wait([reference], timeout=POLL_S)[0]:
            interrupts.raise_received()
        try:
            yield ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, RubertOodError):
                raise error.cause from None
            raise
