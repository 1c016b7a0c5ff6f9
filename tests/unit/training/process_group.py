"""Two processes of one group, as two workers of a training are."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed


def _run(function: Callable, rank: int, folder: Path, results: multiprocessing.Queue):
    torch.set_num_threads(
        1
    )  # a fork has none of the threads that its parent computed with
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2
    )
    try:
        results.put((rank, function(rank)))
    finally:
        torch.distributed.destroy_process_group()


def on_two_workers(function: Callable, folder: Path) -> list:
    """Call a function with rank 0 and 1, each in a process of its own; return what they return."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = []
    for rank in range(2):
        process = context.Process(target=_run, args=(function, rank, folder, results))
        process.start()
        processes.append(process)
    found = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    return [found[0], found[1]]
