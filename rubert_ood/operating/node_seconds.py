"""How many node-seconds a run held: the nodes of the cluster, asked again and again."""

import threading
import time
from collections.abc import Callable

INTERVAL_S = 15.0


def one_node() -> int:
    """Return 1, for a run in this process."""
    return 1


def nodes_of_ray() -> int:
    """Return how many nodes are alive; 0 while this process is connected with no cluster."""
    import ray

    if not ray.is_initialized():
        return 0
    return sum(bool(node["Alive"]) for node in ray.nodes())


class NodeSeconds:
    """Adds up the nodes that are there while it is entered, one question each 15 s.

    A node counts from the question that found it to the next one: at most 15 s too much or too
    little for each that came or went.
    """

    def __init__(
        self, num_nodes: Callable[[], int], interval_s: float = INTERVAL_S
    ) -> None:
        """Take what tells the number of nodes now."""
        self._num_nodes, self._interval_s = num_nodes, interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._seconds = 0.0
        self._nodes, self._since = 1, time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> "NodeSeconds":
        """Begin with one node, where this process runs."""
        self._since = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the questions."""
        self._ended.set()

    @property
    def total(self) -> float:
        """Node-seconds until now."""
        with self._lock:
            self._add()
            return self._seconds

    def _add(self) -> None:
        now = time.monotonic()
        self._seconds += self._nodes * (now - self._since)
        self._since = now

    def _watch(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                found = self._num_nodes()
            except Exception:  # a cluster that is going away; the last number stays
                continue
            with self._lock:
                self._add()
                self._nodes = found or self._nodes
